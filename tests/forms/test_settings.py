"""Whatever a session has set: settings that change how values look and what names mean, encodings
whose bytes look like others."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import pytest
from forms_bed import EXTENDED, PREPARED, SIMPLE, TWO_WAYS, Bed, Case
from test_types import Types, case, known_to
from type_values import TEXTS, VALUES

SETTINGS = {
    "DateStyle": ("German", "SQL, DMY", "Postgres, MDY", "ISO, DMY"),
    "TimeZone": ("Asia/Kolkata", "America/St_Johns", "<-03:30>+3:30"),
    "IntervalStyle": ("sql_standard", "postgres_verbose", "iso_8601"),
    "bytea_output": ("escape",),
    "extra_float_digits": ("-15", "0"),
    "search_path": ('"Odd ""sch.ema", {}', "{}, pg_catalog", "pg_temp, {}"),
    "lc_monetary": ("C.utf8",),
    "xmloption": ("document",),
    "array_nulls": ("off",),
    "quote_all_identifiers": ("on",),
    "standard_conforming_strings": ("off",),
    "row_security": ("off",),
    "default_transaction_isolation": ("repeatable read", "serializable"),
}
TOGETHER = {
    "DateStyle": "SQL, DMY",
    "TimeZone": "Pacific/Marquesas",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    "search_path": '"Odd ""sch.ema", {}, public',
    "lc_monetary": "C.utf8",
}
# The text that looks otherwise by a setting; megabytes are looked at elsewhere.
LOOKS = [
    *("float4", "float8", "money", "bytea", "date", "timestamp", "timestamptz", "time", "timetz"),
    *("interval", "json", "jsonb", "text", "regclass", "regtype", "regproc", "point", "polygon"),
    *("daterange", "tsrange", "tstzrange", "tstzmultirange", "numrange", "oidvector", "xml"),
    *('"Odd ""sch.ema"."en um"', "public.pair", "public.many_floats", "public.amount"),
]


def looked_at(bed: Bed, settings: Iterable[str]) -> Types:
    values = {name: tuple(v for v in VALUES[name] if v != TEXTS[-1]) for name in LOOKS}
    if "xmloption" in settings:
        values["xml"] = ("'<a b=\"1\">&lt;x/></a>'",)
    if "array_nulls" in settings:
        values["public.pair"] = VALUES["public.pair"][1:]
    return known_to(bed, list(values.items()))


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(bed: Bed, name: str) -> None:
    """Each value for a part of the statements; {} is the search_path before."""
    given = case(looked_at(bed, {name}))
    steps, values = iter(given.writes), SETTINGS[name]
    size = len(given.writes) // len(values) + 1
    writes: list[str] = []
    for value in values:
        path = "current_setting('search_path')"
        new = f"SELECT set_config('{name}', replace('{value}', '{{}}', {path}), false)"
        writes += [new, *islice(steps, size)]
    bed.prove(replace(given, writes=tuple(writes)))


@pytest.mark.parametrize("way", [SIMPLE, PREPARED])
def test_settings_together(bed: Bed, way: str) -> None:
    bed.prove(case(looked_at(bed, TOGETHER), ways=(way,), options=TOGETHER))


TEXT = {
    "LATIN1": "déjà vu £ ÿ ß",
    "WIN1252": "„déjà“ € ž",
    "EUC_JP": "表ソ能力 日本",
    "EUC_KR": "한국어",
    "EUC_CN": "中文",
    "SJIS": "表ソ能 予十 ﾊﾝｶｸ ーＡ",
    "SHIFT_JIS_2004": "表ソ能 予十",
    "BIG5": "功許蓋 中文 珮豹",
    "GBK": "中文 縗乗 誠",
    "GB18030": "中文 縗 é ü",
    "UHC": "한국어 똠방",
}
NAMED = """
CREATE TABLE named (id int PRIMARY KEY, v text, n text DEFAULT 'n', "{0}" text);
INSERT INTO named VALUES (1, 'one', 'a', 'x'), (2, '{0}', 'b', '{0}'), (3, '{0}''\\{0}', 'c', NULL);
CREATE TABLE words (w text PRIMARY KEY); INSERT INTO words VALUES ('{0}'), ('x');
"""


@pytest.mark.parametrize("encoding", TEXT)
def test_encodings(bed: Bed, encoding: str) -> None:
    """Also as a name, in a key, and beside of quotes and backslashes."""
    text = TEXT[encoding]
    writes = (
        f"INSERT INTO named VALUES (4, '{text}', '''{text}', '{text}\\')",
        f"UPDATE named SET v = v || E'\\\\{text}', \"{text}\" = '{text}' WHERE v = '{text}' RETURNING *",
        f"UPDATE named SET n = $q${text}$q$ WHERE id = 1 /* {text} */ -- {text}",
        f"DELETE FROM named WHERE id = 3 AND v LIKE '%{text}'",
        f"UPDATE words SET w = '{text}{text}' WHERE w = '{text}'",
    )
    setup = NAMED.format(text)
    bed.prove(Case(writes, setup, TWO_WAYS, options={"client_encoding": encoding}))


@pytest.mark.parametrize("encoding", TEXT)
def test_encodings_of_values(bed: Bed, encoding: str) -> None:
    text = TEXT[encoding]
    writes = (
        ("INSERT INTO named VALUES ($1, $2, $2, $3)", 4, text, f"{text}'\\"),
        ("UPDATE named SET v = $1 || v WHERE v = $2 RETURNING *", f"\\{text}", text),
        ("DELETE FROM words WHERE w = $1", text),
    )
    setup = NAMED.format(text)
    bed.prove(Case(writes, setup, (EXTENDED, PREPARED), options={"client_encoding": encoding}))
