"""An image reads back to the very row, whatever the settings were of the session that made it."""

import math
import struct
from collections.abc import Iterable, Sequence

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from type_values import CONTRIB, NO_INPUT, OBJECTS, TEXTS, VALUES

from undo.image import (
    COLUMNS_SQL,
    PINNED_SETTINGS,
    Column,
    image,
    quote_ident,
    quote_literal,
    read_back,
    read_columns,
    same,
)

# Names that a careless expression would find first, and settings under which text looks otherwise.
EVIL = """
CREATE SCHEMA evil;
CREATE FUNCTION evil.row_to_json(record) RETURNS json LANGUAGE plpgsql
    AS 'BEGIN RETURN pg_catalog.to_json(0); END';
CREATE FUNCTION evil.format(pg_catalog.text, anyelement) RETURNS pg_catalog.text LANGUAGE sql
    AS 'SELECT NULL::pg_catalog.text';
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
CREATE DOMAIN evil.int4 AS pg_catalog.int4 CHECK (false);
"""
HOSTILE = (
    {
        "search_path": "evil, public, pg_catalog",
        "DateStyle": "German",
        "IntervalStyle": "sql_standard",
        "TimeZone": "Pacific/Marquesas",
        "extra_float_digits": "-15",
        "bytea_output": "escape",
        "xmloption": "document",
        "quote_all_identifiers": "on",
        "array_nulls": "off",
    },
    {
        "search_path": '"Odd ""sch.ema", public',
        "DateStyle": "SQL, DMY",
        "IntervalStyle": "iso_8601",
        "TimeZone": "America/St_Johns",
        "extra_float_digits": "0",
        "standard_conforming_strings": "off",
        "escape_string_warning": "off",
        "row_security": "off",
    },
    {
        "search_path": "",
        "DateStyle": "Postgres, MDY",
        "IntervalStyle": "postgres_verbose",
        "TimeZone": "<-03:30>+3:30",
    },
)
# What a session must have for `safe_settings` (proxy.catalog.identity); the rest is anything.
SAFE = {
    **HOSTILE[0],
    "DateStyle": "ISO, DMY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "3",
}


async def columns_of(db: asyncpg.Connection, table: str) -> tuple[Column, ...]:
    oid = await db.fetchval("SELECT $1::regclass::oid", table)
    return read_columns(await db.fetch(COLUMNS_SQL, [oid])).get(oid, ())


async def put(db: asyncpg.Connection, values: dict[str, str]) -> None:
    """As a simple query, like all that runs under such settings: drivers look types up by name."""
    await db.execute(
        ";".join(
            f"SELECT pg_catalog.set_config('{name}', {quote_literal(value)}, false)"
            for name, value in values.items()
        )
    )


async def not_same(
    db: asyncpg.Connection, table: str, columns: Sequence[Column], images: str
) -> list[str]:
    """What does not read back, of `images`: a query of id, how and image."""
    written = [column for column in columns if not column.virtual]
    async with db.transaction():
        for name, value in PINNED_SETTINGS:
            await db.execute(f"SELECT set_config('{name}', $1, true)", value)
        exact = [", ".join(f"{row}.{quote_ident(c.name)}" for c in written) for row in "tr"]
        rows = await db.fetch(
            f"SELECT i.id, i.how, i.image::text, {same(columns, 't', 'r')} AS same,"
            f" record_image_eq(ROW({exact[0]}), ROW({exact[1]})) AS exact"
            f" FROM ({images}) i JOIN {table} t ON t.id = i.id"
            f" CROSS JOIN LATERAL {read_back(columns, 'i.image')} r"
        )
    assert rows
    return [
        f"{table} {row['how']}: {row['image'][:200]}"
        for row in rows
        if not (row["same"] and row["exact"])
    ]


async def images_of_all_makers(db: asyncpg.Connection, table: str) -> str:
    """Take every row's image in every way: the text of a query of them."""
    columns = await columns_of(db, table)
    await db.execute("TRUNCATE public.taken")
    for number, hostile in enumerate((*HOSTILE, SAFE)):
        await put(db, hostile)
        safe = hostile is SAFE
        made = image(columns, "t", safe_settings=safe)
        await db.execute(
            f"INSERT INTO public.taken SELECT t.id, '{'safe' if safe else number}', {made}"
            f" FROM {table} t"
        )
        # The capture trigger: rows are written again, as they are.
        await db.execute(f"UPDATE {table} SET id = id")
        await db.execute("RESET ALL")
        await db.execute(
            "INSERT INTO public.taken"
            f" SELECT (image ->> 'id')::integer, how || ' of trigger {number}', image"
            "   FROM hotrollback.change,"
            "        LATERAL (VALUES ('before', before), ('after', after)) v(how, image)"
            f" WHERE relid = '{table}'::regclass AND op = 'U'"
        )
        await db.execute("DELETE FROM hotrollback.change")
    return "SELECT * FROM public.taken"


async def ready(db: asyncpg.Connection) -> dict[str, tuple[str, ...]]:
    """Types and values; without xml where the server was built without it."""
    await db.execute(OBJECTS + EVIL)
    await db.execute("CREATE UNLOGGED TABLE public.taken (id integer, how text, image json)")
    try:
        await db.execute("SELECT ''::xml")
    except asyncpg.FeatureNotSupportedError:
        return {name: values for name, values in VALUES.items() if name != "xml"}
    return VALUES


async def filled(db: asyncpg.Connection, number: int, column: str, values: Iterable[str]) -> str:
    """A table with these values of one column, and a capture trigger."""
    table = f"public.t{number}"
    await db.execute(f"CREATE TABLE {table} (id integer, v {column}, w integer)")
    rows = ", ".join(f"({n}, {value}, {n})" for n, value in enumerate(["NULL", *values]))
    await db.execute(f"INSERT INTO {table} VALUES {rows}")
    await db.execute("SELECT hotrollback.attach_v1($1::text::regclass)", table)
    await db.execute("DELETE FROM hotrollback.change")
    return table


async def wrong(db: asyncpg.Connection, cases: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    found = []
    for number, (column, values) in enumerate(cases):
        table = await filled(db, number, column, values)
        images = await images_of_all_makers(db, table)
        found += await not_same(db, table, await columns_of(db, table), images)
    return found


async def test_every_type_has_values(log: asyncpg.Connection) -> None:
    types = await log.fetchval(
        "SELECT array_agg(typname::text) FROM pg_type"
        " WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')"
        "   AND typelem = 0 OR typname IN ('point', 'lseg', 'box', 'line', 'name')"
    )
    known = {name.strip('"') for name in VALUES} | NO_INPUT
    assert set(types) - known == set()


async def test_every_type(log: asyncpg.Connection) -> None:
    types = await ready(log)
    assert await wrong(log, types.items()) == []


# All values but the megabyte, where values are put together.
MOST = len(TEXTS) - 1


async def test_arrays_of_every_type(log: asyncpg.Connection) -> None:
    """Other lower bounds, NULLs, empty ones, two dimensions."""
    types = await ready(log)
    cases = []
    for name, values in types.items():
        if name in {"int2vector", "oidvector"}:
            continue
        of = [f"CAST({value} AS {name})" for value in values[:MOST]]
        listed = f"ARRAY[{', '.join(of)}, NULL]::{name}[]"
        shifted = f"shifted({listed})"
        cases.append((f"{name}[]", ["'{}'", listed, f"ARRAY[{listed}, {listed}]", shifted]))
    await log.execute(
        "CREATE FUNCTION public.shifted(given anyarray) RETURNS anyarray LANGUAGE plpgsql AS"
        " 'DECLARE made given%TYPE; BEGIN FOR n IN 1..cardinality(given) LOOP"
        "  made[n - 3] := given[n]; END LOOP; RETURN made; END'"
    )
    assert await wrong(log, cases) == []


async def test_composites_of_every_type(log: asyncpg.Connection) -> None:
    types = await ready(log)
    cases = []
    for number, (name, values) in enumerate(types.items()):
        of = f"public.c{number}"
        await log.execute(f"CREATE TYPE {of} AS (before integer, v {name}, after {name}[])")
        rows = [f"ROW(1, {value}, ARRAY[NULL, {value}]::{name}[])::{of}" for value in values[:MOST]]
        cases.append((of, [*rows, f"ROW(NULL, NULL, NULL)::{of}"]))
    assert await wrong(log, cases) == []


async def test_domains_over_every_type(log: asyncpg.Connection) -> None:
    """But aclitem: the server itself cannot read a domain of it from JSON."""
    types = await ready(log)
    types = {name: values for name, values in types.items() if name != "aclitem"}
    cases = []
    for number, (name, values) in enumerate(types.items()):
        await log.execute(
            f"CREATE DOMAIN public.d{number} AS {name};"
            f"CREATE DOMAIN public.e{number} AS public.d{number}"
        )
        cases.append((f"public.e{number}", list(values)))
    assert await wrong(log, cases) == []


async def test_contrib_types(log: asyncpg.Connection) -> None:
    await ready(log)
    cases = []
    for name, values in CONTRIB.items():
        await log.execute(f"CREATE EXTENSION {name} SCHEMA public")
        if values:
            cases += [(f"public.{name}", list(values))]
            cases += [(f"public.{name}[]", [f"ARRAY[{', '.join(values)}]::public.{name}[]"])]
    assert await wrong(log, cases) == []


async def test_casts_of_users_are_not_called(log: asyncpg.Connection) -> None:
    await ready(log)
    await log.execute(
        "CREATE TYPE public.mood AS ENUM ('good', 'bad');"
        "CREATE FUNCTION public.as_json(public.mood) RETURNS json LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''called''; END';"
        "CREATE CAST (public.mood AS json) WITH FUNCTION public.as_json(public.mood);"
    )
    assert await wrong(log, [("public.mood", ["'good'"]), ("public.mood[]", ["'{bad}'"])]) == []


ODD_NAMES = (
    *("select", "Upper", "a.b", 'quo"te', "old", "new", "t", "r", "hotrollback_x", "n" * 63),
    *("ü", "%s %I $1 {}", "back\\slash", "it's", "tableoid_", "row"),
)


@pytest.mark.parametrize("last", ["public.pair", "integer"])
async def test_odd_columns(log: asyncpg.Connection, last: str) -> None:
    """Names that are key words or need quoting, dropped columns, generated ones; with a column that
    makes the image name its columns, and without."""
    await ready(log)
    names = ", ".join(f"{quote_ident(name)} text" for name in ODD_NAMES)
    virtual = ", double bigint GENERATED ALWAYS AS (id * 2) VIRTUAL"
    await log.execute(
        f"CREATE TABLE public.odd (gone text, id integer, {names}, last {last},"
        " stored bigint GENERATED ALWAYS AS (id + 1) STORED"
        f"{virtual if log.get_server_version().major >= 18 else ''});"
        "ALTER TABLE public.odd DROP COLUMN gone;"
        'INSERT INTO public.odd (id, "select", "Upper", "t", "r") VALUES'
        " (1, 's', 'u', 't', 'r'), (2, NULL, '', NULL, NULL);"
        "SELECT hotrollback.attach_v1('public.odd'::regclass);"
        "DELETE FROM hotrollback.change"
    )
    columns = await columns_of(log, "public.odd")
    images = await images_of_all_makers(log, "public.odd")
    assert await not_same(log, "public.odd", columns, images) == []


async def test_no_columns(log: asyncpg.Connection) -> None:
    await log.execute("CREATE TABLE public.none (); SELECT hotrollback.attach_v1('none'::regclass)")
    await log.execute("INSERT INTO public.none DEFAULT VALUES; DELETE FROM public.none")
    rows = await log.fetch("SELECT op, before, after FROM hotrollback.change ORDER BY lsn")
    assert [tuple(row) for row in rows] == [
        (b"C", None, None),
        (b"I", None, "{}"),
        (b"D", "{}", None),
    ]


async def test_sql_and_python_make_the_same_text(log: asyncpg.Connection) -> None:
    """hotrollback.image_v1 and undo.image.image are one thing in two places."""
    types = await ready(log)
    for number, name in enumerate(types):
        table = await filled(log, number, name, ())
        await log.execute(f'ALTER TABLE {table} ADD "o\'d""d\\ 5%s" {name}[]')
        columns = await columns_of(log, table)
        made = await log.fetchval(
            "SELECT format(hotrollback.image_v1($1::text::regclass), 'x')", table
        )
        assert made == image(columns, "x", safe_settings=True), name


FLOATS = st.one_of(
    st.floats(width=64),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("d", struct.pack("Q", bits))[0]),
).map(lambda number: math.nan if math.isnan(number) else number)  # one NaN: its sign is not text
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(
        st.tuples(
            st.none() | FLOATS,
            st.none() | TEXT,
            st.none() | st.lists(st.none() | TEXT, max_size=4),
            st.none() | st.binary(max_size=40),
            st.none() | st.decimals(allow_nan=False, allow_infinity=False),
        ),
        min_size=1,
        max_size=6,
    ),
    hostile=st.sampled_from(HOSTILE),
)
async def test_values_at_random(log: asyncpg.Connection, rows: list, hostile: dict) -> None:
    if await log.fetchval("SELECT to_regclass('public.random') IS NULL"):
        await log.execute('CREATE SCHEMA evil; CREATE SCHEMA "Odd ""sch.ema"')
        await log.execute(
            "CREATE TABLE public.random (id serial, f float8, t text, a text[], b bytea, n numeric)"
        )
    await log.execute("TRUNCATE public.random")
    await log.executemany(
        "INSERT INTO public.random (f, t, a, b, n) VALUES ($1, $2, $3, $4, $5)",
        rows,
    )
    columns = await columns_of(log, "public.random")
    await put(log, hostile)
    made = image(columns, "t", safe_settings=False)
    await log.execute(
        "DROP TABLE IF EXISTS pg_temp.kept; CREATE TEMPORARY TABLE kept AS"
        f" SELECT t.id, 'x' AS how, {made} AS image FROM public.random t"
    )
    await log.execute("RESET ALL")
    images = "SELECT * FROM pg_temp.kept"
    assert await not_same(log, "public.random", columns, images) == []
