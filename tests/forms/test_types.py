"""Values of every type, of arrays and composites of them: written, changed, deleted, left alone."""

import pytest
from forms_bed import EVERY_WAY, PREPARED, SIMPLE, TWO_WAYS, Bed, Case
from type_values import CONTRIB, NO_INPUT, TEXTS, VALUES

AT_ONCE = 12
# Their arrays have another form than the one made here.
NO_ARRAYS = {"int2vector", "oidvector"}
Types = list[tuple[str, tuple[str, ...]]]


def columns(types: Types) -> str:
    """A column of each type, and one of arrays of it."""
    made = [
        f"c{n} {name}" + ("" if name in NO_ARRAYS else f", a{n} {name}[]")
        for n, (name, _) in enumerate(types)
    ]
    return ", ".join(("id int PRIMARY KEY", *made))


def row(types: Types, number: int, turn: int) -> str:
    """Each type's value of this turn, and an array of it with a NULL or with another lower bound."""
    cells = [str(number)]
    for name, values in types:
        value = f"CAST({values[turn % len(values)]} AS {name})"
        cells.append(value)
        if name not in NO_ARRAYS:
            shifted = f"array_fill({value}, ARRAY[2], ARRAY[-1])"
            cells.append(shifted if turn % 2 else f"ARRAY[NULL, {value}]::{name}[]")
    return f"({', '.join(cells)})"


def written(types: Types) -> tuple[str, ...]:
    """The last row keeps what it has but its key."""
    deepest = max(len(values) for _, values in types)
    names = ", ".join(
        f"c{n}" + ("" if name in NO_ARRAYS else f", a{n}") for n, (name, _) in enumerate(types)
    )
    return (
        *(
            f"UPDATE every SET (id, {names}) = ROW {row(types, n, n + 1)} WHERE id = {n}"
            for n in range(deepest)
        ),
        f"INSERT INTO every VALUES {', '.join(row(types, 100 + n, n) for n in range(deepest))}",
        "INSERT INTO every (id) VALUES (99)",
        "UPDATE every SET id = id + 1000 WHERE id >= 10 AND id % 2 = 0",
        f"UPDATE every SET ({names}) = (SELECT {names} FROM every WHERE id = 99) WHERE id IN (11, 13)",
        "DELETE FROM every WHERE id >= 10 AND id % 4 = 1",
    )


def case(types: Types, **more) -> Case:
    deepest = max(len(values) for _, values in types)
    rows = [row(types, n, n) for n in range(deepest)]
    rows += [row(types, 10 + n, n) for n in range(deepest)]
    setup = f"CREATE TABLE every ({columns(types)}); INSERT INTO every VALUES {', '.join(rows)};"
    return Case(written(types), setup + "INSERT INTO every (id) VALUES (50), (51)", **more)


def known_to(bed: Bed, types: Types) -> Types:
    """Without xml where the server was built without it."""
    return [(name, values) for name, values in types if name != "xml" or bed.version < 18]


def groups() -> list[Types]:
    """Megabytes are looked at by themselves."""
    types = [(n, tuple(v for v in values if v != TEXTS[-1])) for n, values in VALUES.items()]
    return [types[n : n + AT_ONCE] for n in range(0, len(types), AT_ONCE)]


@pytest.mark.parametrize("types", groups(), ids=lambda types: f"{types[0][0]} to {types[-1][0]}")
def test_types(bed: Bed, types: Types) -> None:
    bed.prove(case(known_to(bed, types), ways=TWO_WAYS))


def test_no_type_is_left_out(bed: Bed) -> None:
    """Base types, ranges and multiranges of the server itself."""
    found = bed.direct.execute(
        "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace"
        "   AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A'"
    ).fetchall()
    assert {name for (name,) in found} - {name.strip('"') for name in VALUES} - NO_INPUT == set()


def test_contrib_types(bed: Bed) -> None:
    types = [(f"public.{name}", CONTRIB[name]) for name in ("hstore", "citext", "ltree")]
    bed.prove(case(types, ways=TWO_WAYS))


# Types that have no order, or an order that does not tell all values apart, are no keys.
KEYS = {
    name: values
    for name, values in VALUES.items()
    if name
    not in {
        *("json", "xml", "jsonpath", "point", "lseg", "path", "box", "polygon", "line", "circle"),
        *("xid", "cid", "aclitem", "refcursor", "txid_snapshot", "pg_snapshot", "int2vector"),
        *("public.pair", "bpchar"),
    }
}


@pytest.mark.parametrize("first", range(0, len(KEYS), AT_ONCE))
def test_keys_of_every_type(bed: Bed, first: int) -> None:
    """Keys of many columns, some of which another row has, too."""
    types = [
        (n, [v for v in KEYS[n] if "repeat(" not in v]) for n in [*KEYS][first : first + AT_ONCE]
    ]
    made = ", ".join(f"k{n} {name}" for n, (name, _) in enumerate(types))
    names = ", ".join(f"k{n}" for n in range(len(types)))
    rows = [
        ", ".join(values[turn % len(values)] for _, values in types)
        for turn in range(max(len(values) for _, values in types))
    ]
    setup = f"CREATE TABLE keyed ({made}, n int, PRIMARY KEY ({names}));" + ";".join(
        f"INSERT INTO keyed VALUES ({values}, {n})" for n, values in enumerate(rows[1:])
    )
    writes = (
        "UPDATE keyed SET n = -n - 1",
        f"INSERT INTO keyed VALUES ({rows[0]}, 100)",
        f"UPDATE keyed SET (k0, n) = ({types[0][1][0]}, 50) WHERE n = -2",
        "DELETE FROM keyed WHERE n = -1",
    )
    bed.prove(Case(writes, setup, (SIMPLE, PREPARED)))


COMPOSED = """
CREATE TYPE mood AS ENUM ('sad', 'so so', 'qu"o''te'); CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE DOMAIN two AS int[] CHECK (cardinality(VALUE) <= 2); CREATE TYPE deep AS (p public.pair, m mood[], d posint);
CREATE TABLE t (id int PRIMARY KEY, m mood, ms mood[], d posint, ds posint[], w two, deep deep, deeps deep[],
  j json, jb jsonb, jbs jsonb[], a int[], x "char"[]);
INSERT INTO t VALUES
 (1, 'so so', '{sad,NULL,"qu\\"o''te"}', 5, '{1,NULL}', '[4:5]={1,2}', ROW (ROW ('-0', 'null', NULL, NULL, ''), '{}', 1),
  ARRAY[NULL, ROW (NULL, NULL, NULL)]::deep[], 'null', 'null', ARRAY['null'::jsonb, NULL, '[]'], '{{1,2},{3,NULL}}', '{}'),
 (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (3, 'sad', '{}', 1, '[-1:0]={1,2}', '{}', ROW (NULL, NULL, NULL), '{}', ' {"b" : 1, "b":2} ', '{"a": null}', '{}', '[0:0][2:3]={{1,2}}', '{NULL,a}');
"""


def test_types_of_users(bed: Bed) -> None:
    bed.prove(
        Case(
            (
                "UPDATE t SET m = 'sad', deep.d = 9, a[0][2] = 7, jb['new'] = '1' WHERE id = 3",
                "UPDATE t SET jb = NULL, j = NULL, jbs[2] = 'null', deep.p.number = 'NaN' WHERE id = 1",
                "UPDATE t SET jb = 'null', j = 'null', ds = '{}', deeps = ARRAY[deep, deep] WHERE id = 2",
                "INSERT INTO t SELECT id + 10, m, ms, d, ds, w, deep, deeps, j, jb, jbs, a, x FROM t",
                "DELETE FROM t WHERE id < 3",
            ),
            COMPOSED,
            EVERY_WAY,
        )
    )


def test_a_megabyte(bed: Bed) -> None:
    """Out of line, compressed or not, changed and left alone."""
    setup = """CREATE TABLE big (id int PRIMARY KEY, t text, b bytea, j jsonb, n int);
      ALTER TABLE big ALTER b SET STORAGE EXTERNAL;
      INSERT INTO big SELECT g, repeat(md5(g::text), 32768), decode(repeat(md5(g::text), 65536), 'hex'),
        jsonb_build_object('k', repeat(g::text, 1000000)), 0 FROM generate_series(1, 4) g"""
    writes = (
        "UPDATE big SET n = 1 WHERE id = 1",
        "UPDATE big SET t = 'small', j = 'null', b = b || b WHERE id = 2",
        "DELETE FROM big WHERE id = 3",
        "INSERT INTO big SELECT id + 10, t || t, b, j, n FROM big WHERE id = 4",
    )
    bed.prove(Case(writes, setup))
