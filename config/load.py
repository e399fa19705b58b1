"""A TOML file, the environment and flags -> Settings.

Flags win over variables, variables over the file.

Every refusal names where the value came from, the key, and what would be right.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from config.kinds import BadValue
from config.settings import PREFIX, ROWS, Row, Settings

DEFAULT_FILE: Final = Path("/etc/hotrollback.toml")
FILE_VARIABLE: Final = PREFIX + "CONFIG"


class ConfigError(Exception):
    """The configuration is wrong; the text says where, and what would be right."""


def load(
    file: str | Path | None = None,
    *,
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    needs: tuple[str, ...] = (),
) -> Settings:
    """`file` None: HOTROLLBACK_CONFIG, or /etc/hotrollback.toml where it exists. `flags` by the
    name of the setting; None is not given. `needs`: settings that must not be left unset."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def take(row: Row, value: Any, source: str) -> None:
        values[row.name] = _read(row, value, source)
        sources[row.name] = source

    path = _file(file, environ)
    if path is not None:
        text = _text(path)
        for key, value in _parsed(path, text).items():
            where = f"{path}{_line_of(key, text)}"
            take(_known(key, where), value, where)
    for row in ROWS.values():
        # Other HOTROLLBACK_ variables are nobody's mistake: a Kubernetes service of that name
        # brings half a dozen.
        if row.env and environ.get(row.env):
            take(row, environ[row.env], row.env)
        given = (flags or {}).get(row.name)
        if given is not None:
            take(row, given, row.flag)
    settings = Settings(**values, sources=sources)
    for name in needs:
        if getattr(settings, name) in (None, ""):
            raise ConfigError(_missing(ROWS[name]))
    return settings


def _file(file: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    named = file or environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def _line_of(key: str, text: str) -> str:
    """ ":7" for the line that sets the key; empty if it is written in some unusual way."""
    found = re.search(rf"^[ \t]*(?:\[\[?)?\"?{re.escape(key)}\"?[ \t]*(?:=|\])", text, re.MULTILINE)
    return f":{text.count(chr(10), 0, found.start()) + 1}" if found else ""


def _known(key: str, where: str) -> Row:
    row = ROWS.get(key)
    if row is None:
        near = get_close_matches(key, ROWS, n=1, cutoff=0.5)
        meant = f': did you mean "{near[0]}"?' if near else f": there are {', '.join(ROWS)}"
        raise ConfigError(f'{where}: unknown setting "{key}"{meant}')
    return row


def _read(row: Row, value: Any, source: str) -> Any:
    try:
        return row.kind.read(value)
    except BadValue as error:
        # The value of a URL may hold a password.
        shown = "" if row.name == "upstream" or str(error) else f", not {value!r}"
        why = f" ({error})" if str(error) else ""
        raise ConfigError(f"{source}: {row.name} must be {row.kind.allowed}{shown}{why}") from error


def _missing(row: Row) -> str:
    ways = [f"{row.flag} {row.metavar}"] if row.flag else []
    ways += [f"the variable {row.env}"] if row.env else []
    return f"{row.name} is not set: give {', '.join(ways)} or {row.name} in the config file"
