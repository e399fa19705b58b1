"""Moments as people write them, and the instants that they mean."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any, Final

# A time of day stands for the latest moment that had it.
Moment = datetime | time


class BadInput(Exception):
    """A value that cannot be meant; the text says what would be."""


TIMES: Final = "'2026-01-31 09:10', with seconds and a zone ('+02', 'Z') if need be, or '09:10'"


def read(text: str) -> Moment:
    """Raises BadInput."""
    text = text.strip()
    zoned = re.sub(r"([+-][0-9]{2})$", r"\1:00", text) if ":" in text else text
    try:
        if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?", text):
            return time.fromisoformat(text.zfill(len(text) + (text.index(":") == 1)))
        return datetime.fromisoformat(zoned)
    except ValueError as error:
        raise BadInput(f"{text!r} is not a time: write {TIMES}") from error


def instant(moment: Moment, zone: tzinfo | None, now: datetime) -> datetime:
    """In UTC. A moment without a zone is of `zone`; None is this machine's."""
    if isinstance(moment, time):
        local = now.astimezone(zone)
        found = datetime.combine(local.date(), moment)
        if found > local.replace(tzinfo=None):
            found -= timedelta(days=1)
        moment = found
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone) if zone else moment.astimezone()
    return moment.astimezone(UTC)


def coming(moment: Moment, zone: tzinfo | None, now: datetime) -> datetime:
    """The instant of what is to be waited for: of a time of day the next."""
    if not isinstance(moment, time):
        return instant(moment, zone, now)
    today = now.astimezone(zone).date()
    days = (datetime.combine(today + timedelta(days=ahead), moment) for ahead in (0, 1))
    return next(found for day in days if (found := instant(day, zone, now)) >= now)


def window(
    values: Mapping[str, Any], zone: tzinfo, now: datetime, tell: Callable[[str], None]
) -> dict[str, datetime]:
    """FROM and TO as instants; those that brought no zone are echoed."""
    found = {}
    for end in ("since", "until"):
        if end in values:
            found[end] = instant(values[end], zone, now)
            if values[end].tzinfo is None:
                tell(f"{'FROM' if end == 'since' else 'TO'} {found[end]:%Y-%m-%d %H:%M:%S} UTC")
    return found
