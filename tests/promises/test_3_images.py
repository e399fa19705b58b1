"""Every built-in type, under any settings that a client may have: what is recorded through the proxy
reads back to the very row that was written."""

import psycopg
import pytest

from undo.image import COLUMNS_SQL, PINNED_SETTINGS, read_back, read_columns, same

VALUES = {
    "bool": ["true"], "int2": ["-32768"], "int8": ["9223372036854775807"],
    "float4": ["1.1", "'NaN'", "'-Infinity'", "'-0'", "3.4028235e38"],
    "float8": ["0.1::float8 + 0.2", "'NaN'", "'-0'", "1e-300", "2.2250738585072014e-308"],
    "numeric": ["1.10", "'NaN'", "'Infinity'", "1e100", "0.000"], "numeric(8,3)": ["1.5"],
    "text": ["''", "'ü \\ \" \n \t'", "repeat('x', 3000)", "e'\\u0001'"], "varchar(5)": ["'ab '"],
    "char(4)": ["'a'"], "name": ["'n'"], '"char"': ["'c'"], "bytea": ["'\\x00ff5c27'", "''"],
    "date": ["'2026-02-28'", "'infinity'", "'4713-01-01 BC'"], "time": ["'24:00'", "'00:00:00.000001'"],
    "timetz": ["'10:00:00+05:30'"], "timestamp": ["'2026-01-01 00:00:00.000001'", "'-infinity'"],
    "timestamptz": ["'2026-01-01 00:00:00.5+02'", "'infinity'", "'0044-03-15 BC'"],
    "interval": ["'1 mon -1 day +00:00:00.000001'", "'-1 year'", "'0'"], "uuid": ["gen_random_uuid()"],
    "json": ["'{\"a\" : 1, \"a\":2}'", "'null'"], "jsonb": ["'null'", "'{\"a\": 1.10}'", "'\"x\"'"],
    "int[]": ["'{1,NULL,3}'", "'[2:3]={1,2}'", "'{}'", "'{{1,2},{3,4}}'"], "text[]": ["'{\"\",NULL,\"a,b\"}'"],
    "timestamptz[]": ["'{2026-01-01 00:00+00}'"], "interval[]": ["'{1 day}'"], "float8[]": ["'{0.1,NaN}'"],
    "jsonb[]": ["array['null'::jsonb, '1']"], "json[]": ["array['{\"a\": 1}'::json]"], "bytea[]": ["'{\"\\\\x00ff\"}'"],
    "int4range": ["'[1,5)'", "'empty'"], "tstzrange": ["'[2026-01-01 00:00+00,)'"], "daterange": ["'[2026-01-01,)'"],
    "numrange": ["'(1.10,2.0]'"], "datemultirange": ["'{[2026-01-01,2026-02-01)}'"],
    "tsmultirange": ["'{[2026-01-01,2026-02-01),[2027-01-01,)}'"], "money": ["'-12.34'"],
    "inet": ["'10.1.2.3/8'"], "cidr": ["'10.0.0.0/8'"], "macaddr": ["'08:00:2b:01:02:03'"],
    "bit(3)": ["B'101'"], "varbit": ["B''"], "point": ["'(0.1,0.2)'"], "box": ["'(1,1),(0,0)'"],
    "polygon": ["'((0,0),(1,1),(1,0))'"], "circle": ["'<(0,0),0.1>'"], "tsvector": ["'''it''''s'':1A b'"],
    "tsquery": ["'a & !b'"], "xml": ["'<a>ü</a>'"], "jsonpath": ["'$.a[*]'"], "regclass": ["'hard.here'"],
    "regtype": ["'int4'"], "oid": ["4294967295"], "pg_lsn": ["'0/16B3748'"], "xid8": ["'12'"],
    "mood": ["'so so'"], "pair": ["row(1, 'a,\"b')::pair", "row(null, null)::pair"], "posint": ["5"],
    "mood[]": ["'{\"so so\"}'"], "pair[]": ["array[row(1, 'x')::pair]"], "textrange": ["'[a,b)'"],
}  # fmt: skip
TYPES = """
create schema hard; create table hard.here(a int);
create type mood as enum ('sad', 'so so'); create type pair as (a int, b text);
create domain posint as int check (value > 0); create type textrange as range (subtype = text);
grant usage on schema hard to app;
"""
SETTINGS = {
    "default": [],
    "german": ["DateStyle = 'German, DMY'", "TimeZone = 'Asia/Tokyo'"],
    "sql": ["IntervalStyle = sql_standard", "DateStyle = SQL", "extra_float_digits = 0", "TimeZone = 'America/St_Johns'"],
    "escape": ["bytea_output = escape", "search_path = hard, public, pg_catalog", "extra_float_digits = -3",
               "IntervalStyle = iso_8601", "xmloption = document", "quote_all_identifiers = on"],
}  # fmt: skip


def columns(version: int) -> list[tuple[str, str, list[str]]]:
    """The embedded PostgreSQL 18 is built without XML."""
    kinds = [type_ for type_ in VALUES if type_ != "xml" or version < 18]
    return [(f"c{number}", type_, VALUES[type_]) for number, type_ in enumerate(kinds)]


@pytest.mark.parametrize("under", SETTINGS)
def test_rows_read_back(between, reinstall, under):
    database = between.database
    every = columns(database.server.version)
    database.psql(TYPES)
    defined = ", ".join(f"{name} {type_}" for name, type_, _ in every)
    database.psql(
        f"create table every(id int primary key, {defined}); create table kept as table every"
    )
    database.psql("grant all on every to app")
    reinstall(database)
    database.psql("truncate hotrollback.change, hotrollback.gap")
    deepest = max(len(made) for *_, made in every)
    with between.connect() as client:
        for setting in SETTINGS[under]:
            client.execute(f"set {setting}")
        for number in range(deepest):
            values = ", ".join(made[number % len(made)] for *_, made in every)
            client.execute(f"insert into public.every values ({number}, {values})")
        client.execute(f"insert into public.every(id) values ({deepest})")
        database.psql("insert into kept table every")
        client.execute("update public.every set id = id + 100")
        client.execute("delete from public.every")
    assert between.gaps() == []
    check(database, deepest + 1)


def check(database, rows: int) -> None:
    """Each image, read back under the pinned settings, is the row that was kept."""
    with psycopg.connect(database.url(), autocommit=True) as db:
        found = db.execute(COLUMNS_SQL.replace("$1", "array['every'::regclass]")).fetchall()
        (known,) = read_columns(found).values()
        for name, value in PINNED_SETTINGS:
            db.execute(f"set {name} = '{value}'")
        for op, side in (("I", "after"), ("U", "before"), ("U", "after"), ("D", "before")):
            wanted = f"""
                select count(*) from hotrollback.change c
                 cross join lateral {read_back(known, f"c.{side}")} as was
                  join public.kept k on k.id = was.id % 100
                 where c.relid = 'public.every'::pg_catalog.regclass and c.op = '{op}' and {same(known, "was", "k", ignored=("id",))}"""
            assert db.execute(wanted).fetchone() == (rows,), (op, side)
