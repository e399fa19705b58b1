"""What drivers, psql and pools send by themselves: settings, transactions, `SELECT version()`.

Enough that they log in and stay; a courtesy changes nothing but what its own session shows. What is
neither a courtesy nor a command gets the grammar's error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proxy.admin.table import BOOL, INT, TEXT, Column, Type
from undo.tokens import Is, Token

# A version that drivers know how to talk to; the rest says what this really is.
SERVER_VERSION: Final = "15.0 (Hot Rollback)"

# name -> value; those of REPORTED are sent at login and on a change.
_SETTINGS: Final = {
    "server_version": SERVER_VERSION,
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "application_name": "",
    "default_transaction_read_only": "off",
    "in_hot_standby": "off",
    "is_superuser": "on",
    "session_authorization": "",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    # Not reported, but asked for.
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "search_path": "",
    "server_version_num": "150000",
    "max_identifier_length": "63",
}
REPORTED: Final = tuple(_SETTINGS)[:13]
_SPELLED: Final = {name.lower(): name for name in _SETTINGS}
# We always speak it, whatever the client asks for, and say so.
_FIXED: Final = frozenset({"server_version", "server_encoding", "client_encoding"})
# Phrases of SQL for settings.
_PHRASES: Final = {
    "time zone": "timezone",
    "transaction isolation level": "transaction_isolation",
    "names": "client_encoding",
}


class BadSetting(Exception):
    """A value that a setting cannot have."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a command tag, and a result set where there are columns."""

    tag: str
    columns: tuple[Column, ...] = ()
    row: tuple[object, ...] = ()


@dataclass(slots=True)
class Manners:
    """What a session was told, and the state that its clients watch."""

    user: str = ""
    database: str = ""
    pid: int = 0
    settings: dict[str, str] = field(default_factory=lambda: dict(_SETTINGS))
    status: bytes = b"I"  # of the transaction: I, T, E
    changed: list[str] = field(default_factory=list)  # reported settings, to be sent
    initial: dict[str, str] = field(default_factory=dict)

    @property
    def zone(self) -> tzinfo:
        return _zone(self.settings["TimeZone"])

    def log_in(self, parameters: dict[str, str]) -> None:
        """Raises BadSetting."""
        self.user = parameters["user"]
        self.settings["session_authorization"] = self.user
        for name, value in parameters.items():
            if name.lower() in _SPELLED:
                self.set(name, value)
        self.changed.clear()
        self.initial = dict(self.settings)

    def set(self, name: str, value: str) -> None:
        spelled = _SPELLED.get(name.lower(), name.lower())
        if spelled in _FIXED:
            return
        if spelled == "TimeZone":
            _zone(value)
        if self.settings.get(spelled) != value:
            self.settings[spelled] = value
            if spelled in REPORTED:
                self.changed.append(spelled)

    def reset(self, name: str) -> None:
        spelled = _SPELLED.get(name.lower(), name.lower())
        for each in list(self.settings) if spelled == "all" else [spelled]:
            if each in self.initial:
                self.set(each, self.initial[each])
            else:
                self.settings.pop(each, None)

    def answer(self, found: Sequence[Token]) -> Reply | None:
        """None if it is no courtesy. Raises BadSetting. To be asked again for every execution."""
        words = [token.text.lower() for token in found]
        # pg_catalog. changes nothing about what is meant.
        while "pg_catalog" in words[:-1] and words[words.index("pg_catalog") + 1] == ".":
            at = words.index("pg_catalog")
            del words[at : at + 2]
            found = [*found[:at], *found[at + 2 :]]
        act = ACTS.get(words[0])
        return act(self, words, found) if act and found[0].kind is Is.WORD else None


def _zone(name: str) -> tzinfo:
    if name.upper() in {"UTC", "GMT", "DEFAULT", "LOCAL"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadSetting(f'invalid value for parameter "TimeZone": "{name}"') from error


# -- acts: first word -> what is done -----------------------------------------------------------


def _set(manners: Manners, words: list[str], found: Sequence[Token]) -> Reply | None:
    rest = list(zip(words[1:], found[1:], strict=True))
    if rest and rest[0][0] in {"session", "local"}:
        rest = rest[1:]
    said = [word for word, _ in rest]
    if not said:
        return None
    if said[0] in {"characteristics", "transaction", "role", "authorization", "constraints"}:
        return Reply("SET")
    for phrase, name in _PHRASES.items():
        parts = phrase.split()
        if said[: len(parts)] == parts:
            manners.set(name, "".join(token.text for _, token in rest[len(parts) :]) or "UTF8")
            return Reply("SET")
    name, value = said[0], rest[1:]
    while len(value) > 1 and value[0][0] == ".":
        name, value = f"{name}.{value[1][0]}", value[2:]
    if not value or value[0][0] not in {"=", "to"}:
        return None
    text = "".join(", " if token.is_sign(",") else token.text for _, token in value[1:])
    if text.lower() == "default":
        manners.reset(name)
    else:
        manners.set(name, text)
    return Reply("SET")


def _reset(manners: Manners, words: list[str], _found: Sequence[Token]) -> Reply | None:
    name = " ".join(words[1:])
    manners.reset(_PHRASES.get(name, name))
    return Reply("RESET") if name else None


def _show(manners: Manners, words: list[str], _found: Sequence[Token]) -> Reply | None:
    name = " ".join(words[1:])
    name = _PHRASES.get(name, name)
    spelled = _SPELLED.get(name, name)
    if spelled not in manners.settings:
        return None
    return Reply("SHOW", (_column(spelled, TEXT),), (manners.settings[spelled],))


def _begin(manners: Manners, words: list[str], _found: Sequence[Token]) -> Reply:
    if manners.status == b"I":
        manners.status = b"T"
    return Reply("START TRANSACTION" if words[0] == "start" else "BEGIN")


def _end(manners: Manners, words: list[str], _found: Sequence[Token]) -> Reply:
    if "to" in words:  # a savepoint: there is nothing to go back from
        manners.status = b"T"
        return Reply("ROLLBACK")
    failed = manners.status == b"E"
    manners.status = b"I"
    return Reply("ROLLBACK" if failed or words[0] in {"rollback", "abort"} else "COMMIT")


def _discard(manners: Manners, words: list[str], _found: Sequence[Token]) -> Reply:
    if words[1:] == ["all"]:
        manners.reset("all")
    return Reply(" ".join(words).upper())


def _tagged(tag: str) -> Callable[[Manners, list[str], Sequence[Token]], Reply]:
    return lambda _manners, _words, _found: Reply(tag)


def _select(manners: Manners, words: list[str], found: Sequence[Token]) -> Reply | None:
    """SELECT of one thing that we know, perhaps AS a name."""
    rest = words[1:]
    name = ""
    if len(rest) > 2 and rest[-2] == "as":
        name, rest = rest[-1], rest[:-2]
    if len(rest) == 1 and found[1].kind is Is.NUMBER and rest[0].isdigit():
        return Reply("SELECT 1", (_column(name or "?column?", INT),), (int(rest[0]),))
    asked = "".join(rest)
    if asked.startswith("current_setting(") and len(rest) in {4, 6}:
        value = manners.settings.get(_SPELLED.get(rest[2], rest[2]))
        return Reply("SELECT 1", (_column(name or "current_setting", TEXT),), (value,))
    known = _KNOWN.get(asked)
    if known is None:
        return None
    title, kind, value_of = known
    return Reply("SELECT 1", (_column(name or title, kind),), (value_of(manners),))


_KNOWN: Final[dict[str, tuple[str, Type, Callable[[Manners], object]]]] = {
    "version()": ("version", TEXT, lambda _: f"PostgreSQL {SERVER_VERSION}, the admin console"),
    "current_database()": ("current_database", TEXT, lambda m: m.database),
    "current_schema()": ("current_schema", TEXT, lambda _: None),
    "current_schema": ("current_schema", TEXT, lambda _: None),
    "current_user": ("current_user", TEXT, lambda m: m.user),
    "session_user": ("session_user", TEXT, lambda m: m.user),
    "user": ("user", TEXT, lambda m: m.user),
    "pg_backend_pid()": ("pg_backend_pid", INT, lambda m: m.pid),
    "pg_is_in_recovery()": ("pg_is_in_recovery", BOOL, lambda _: False),
    "pg_advisory_unlock_all()": ("pg_advisory_unlock_all", TEXT, lambda _: ""),
}

ACTS: Final[dict[str, Callable[[Manners, list[str], Sequence[Token]], Reply | None]]] = {
    "set": _set,
    "reset": _reset,
    "show": _show,
    "begin": _begin,
    "start": _begin,
    "commit": _end,
    "end": _end,
    "rollback": _end,
    "abort": _end,
    "savepoint": _tagged("SAVEPOINT"),
    "release": _tagged("RELEASE"),
    "select": _select,
    "discard": _discard,
    "deallocate": _tagged("DEALLOCATE"),
    "close": _tagged("CLOSE CURSOR"),
    "unlisten": _tagged("UNLISTEN"),
}
# What a failed transaction still takes.
ENDS: Final = frozenset({"commit", "end", "rollback", "abort"})


def _column(name: str, kind: Type) -> Column:
    return Column(name, kind, "")
