"""Objects of users that bear the names which our SQL uses: none of them is ever called, and what the
client wrote is recorded as if they were not there."""

import pytest
from fix_postgres import Database, install_into
from fix_session import Inside, inside

from proxy.catalog import identity, relation
from undo.image import COLUMNS_SQL

TABLES = """
create table t(id int primary key, v text, j json, f float8, d date, o regclass, a int[]);
insert into t values (1, 'one', '{"a": 1}', 0.1, '2020-01-01', 'pg_class', '{1,2}'), (2, null, null, null, null, null, null);
create table other(id int primary key, t int references t on delete cascade); insert into other values (7, 2);
grant all on all tables in schema public to app;
"""
# Everything in our texts that a search_path could lead elsewhere.
TYPES = (
    "int8",
    "int4",
    "oid",
    "text",
    "bool",
    "json",
    "tid",
    "name",
    "regclass",
    "regrole",
    "xid8",
)
SIGNS = ("=", "<>", "<", ">=", "~", "~*", "!~", "||", "->>", "->", "&")


def evil(database: Database) -> str:
    """A schema in which every function of pg_catalog and of ours that our texts may call, every
    operator and every type has a namesake that raises."""
    own = database.psql("""
        select distinct p.proname, pg_get_function_identity_arguments(p.oid)
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where n.nspname = 'hotrollback' and p.prokind = 'f' and prorettype <> 'event_trigger'::regtype
           and prorettype <> 'trigger'::regtype""")
    built_in = database.psql("""
        select distinct on (1, 2) p.proname, pg_get_function_identity_arguments(p.oid)
          from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f'
           and p.proname ~ '^(row_to_json|to_json|to_jsonb|json_.*|array_.*|current_setting|set_config|quote_ident|hash.*'
               '|has_.*_privilege|pg_table_is_visible|unnest|timezone|to_char|concat|pg_.*xact_id.*|nextval|string_agg|coalesce)$'
           and not proisstrict is null and p.prorettype <> 'internal'::regtype
           and not 'internal'::regtype = any(p.proargtypes::oid[]) and not 'cstring'::regtype = any(p.proargtypes::oid[])
           and not 'anyarray'::regtype = any(p.proargtypes::oid[])""")
    made = ["create schema evil", "create function evil.bad() returns int language plpgsql as"
            " $$ begin raise exception 'captured'; end $$"]  # fmt: skip
    for name, arguments in (*own, *built_in):
        plain = ", ".join(
            part.removeprefix("VARIADIC ").removeprefix("OUT ") for part in arguments.split(", ")
        )
        made.append(
            f"""do $do$ begin create function evil."{name}"({plain}) returns int language sql volatile as
            'select evil.bad()'; exception when others then null; end $do$"""
        )
    for type_ in ("int4", "int8", "oid", "text", "bool", "name", "tid", "json"):
        made += [f"""do $do$ begin
            create function evil.sign_{type_}(pg_catalog.{type_}, pg_catalog.{type_}) returns pg_catalog.bool language sql volatile as
              'select evil.bad() is null';
            {"".join(f"create operator evil.{sign} (leftarg = pg_catalog.{type_}, rightarg = pg_catalog.{type_}, function = evil.sign_{type_});" for sign in SIGNS)}
            end $do$"""]  # fmt: skip
    made += [
        f"create domain evil.{name} as pg_catalog.text check (evil.bad() is null)" for name in TYPES
    ]
    made += [f"create table evil.{name}(x pg_catalog.int4)" for name in
             ("change", "gap", "pg_class", "pg_namespace", "pg_trigger", "hotrollback_w", "hotrollback_l")]  # fmt: skip
    made += [
        "grant usage on schema evil to public",
        "grant all on all tables in schema evil to public",
    ]
    return "; ".join(made)


@pytest.fixture(params=[False, True], ids=["rewritten", "by triggers"])
def shadowed(request: pytest.FixtureRequest, database: Database, with_log: None) -> Inside:
    database.psql(TABLES)
    install_into(database, all_tables=request.param)
    database.psql(evil(database))
    with inside(database) as between:
        yield between


PATH = "set search_path = evil, pg_catalog, public"
WRITES = [
    "update public.t set v = 'new' where id operator(pg_catalog.=) 1",
    "insert into public.t (id, v) values (3, 'three')",
    "delete from public.t where id operator(pg_catalog.=) 2",
]
RECORDED = [("U", "one", "new"), ("I", None, "three"), ("D", None, None)]


@pytest.mark.parametrize("prepare", [None, True], ids=["simple", "extended"])
def test_no_name_of_a_user_is_taken_for_one_of_ours(shadowed, prepare):
    with shadowed.connect() as client:
        client.execute(PATH)
        with pytest.raises(Exception, match="captured"):
            client.execute("select 1 = 2")
        for write in WRITES:
            client.execute(write, prepare=prepare)
        returned = client.execute(
            "update public.t set f = 0.5 where id operator(pg_catalog.=) 3 returning v, f",
            prepare=prepare,
        ).fetchall()
        assert returned == [("three", 0.5)]
    table = shadowed.changes("tag = 'case' AND relid = 't'::regclass")
    found = [
        (op, (before or {}).get("v"), (after or {}).get("v")) for op, _, before, after in table
    ]
    assert found == [*RECORDED, ("U", "three", "three")]
    assert ("trigger_missing", "t") not in shadowed.gaps()
    assert not shadowed.unrecorded


@pytest.mark.parametrize("question", [identity.IDENTITY_SQL, relation.RELATIONS_SQL, COLUMNS_SQL])
def test_questions_mean_what_they_say(shadowed, question):
    text = question if isinstance(question, str) else question.decode()
    given = {"relations": '\'[["public", "t"]]\'', "columns": "'{1259}'"}
    for word, value in given.items():
        if f"{word}_v1" in text:
            text = text.replace("$1", value)
    direct = shadowed.database.psql(text, "app")
    assert shadowed.database.psql(f"{PATH}; {text}", "app")[0][3:] == direct[0][3:]
