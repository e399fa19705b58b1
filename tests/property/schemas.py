"""Schemas of a few tables: what is drawn, and its DDL."""

from dataclasses import dataclass, replace

from columns import KEYS, VALUES
from hypothesis import strategies as st

SCHEMA = "made"


def literal(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    default: str | None = None
    needed: bool = False  # NOT NULL
    identity: str = ""  # ALWAYS or BY DEFAULT
    generated: str = ""  # its expression
    virtual: bool = False  # where the server can

    def ddl(self, version: int) -> str:
        parts = [ident(self.name), self.type]
        if self.default is not None:
            parts.append(f"DEFAULT {literal(self.default)}::{self.type}")
        if self.needed:
            parts.append("NOT NULL")
        if self.identity:
            parts.append(f"GENERATED {self.identity} AS IDENTITY")
        if self.generated:
            kept = "VIRTUAL" if self.virtual and version >= 18 else "STORED"
            parts.append(f"GENERATED ALWAYS AS ({self.generated}) {kept}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str
    on_update: str
    deferrable: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    unique: str = ""  # a constraint, or an index, on column u
    partitioned: str = ""  # LIST or HASH
    heir: bool = False
    row_security: bool = False
    triggers: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()

    def __str__(self) -> str:
        return f"{SCHEMA}.{ident(self.name)}"

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    @property
    def given(self) -> tuple[Column, ...]:
        """Columns that a statement may write."""
        return tuple(c for c in self.columns if not c.generated)

    @property
    def kept(self) -> tuple[Column, ...]:
        """Columns that mean nothing to any constraint."""
        return tuple(c for c in self.given if c.name not in {"a", "b", "u"} and c.name[0] != "r")

    def ddl(self, version: int) -> str:
        parts = [c.ddl(version) for c in self.columns]
        if self.key:
            parts.append(f"PRIMARY KEY ({', '.join(self.key)})")
        found = f"CREATE TABLE {self} ({', '.join(parts)})"
        if self.partitioned:
            found += f" PARTITION BY {self.partitioned} (a)"
        return f"{found};{self._parts(version)}{self._uniques()}{self._heir()}"

    def _parts(self, version: int) -> str:
        """The second part has its columns in another order."""
        if not self.partitioned:
            return ""
        first, second = f"{SCHEMA}.{self.name}_1", f"{SCHEMA}.{self.name}_2"
        values = [literal(v) for v in KEYS[self.column("a").type]]
        of_first, of_second = {
            "LIST": (f"IN ({', '.join(values[:2])})", "DEFAULT"),
            "HASH": ("WITH (MODULUS 2, REMAINDER 0)", "WITH (MODULUS 2, REMAINDER 1)"),
        }[self.partitioned]
        columns = ", ".join(c.ddl(version) for c in reversed(self.columns))
        for_second = "DEFAULT" if of_second == "DEFAULT" else f"FOR VALUES {of_second}"
        return (
            f"CREATE TABLE {first} PARTITION OF {self} FOR VALUES {of_first};"
            f"CREATE TABLE {second} ({columns});"
            f"ALTER TABLE {self} ATTACH PARTITION {second} {for_second};"
        )

    def _uniques(self) -> str:
        if not self.unique:
            return ""
        if self.unique.startswith("INDEX"):
            return f"CREATE UNIQUE {self.unique.format(f'ON {self}')};"
        return f"ALTER TABLE {self} ADD {self.unique};"

    def _heir(self) -> str:
        return f"CREATE TABLE {SCHEMA}.{self.name}_heir () INHERITS ({self});" if self.heir else ""

    def links(self) -> str:
        return "".join(
            f"ALTER TABLE {self} ADD FOREIGN KEY ({', '.join(key.columns)})"
            f" REFERENCES {SCHEMA}.{key.parent} ({', '.join(key.parent_columns)})"
            f" ON DELETE {key.on_delete} ON UPDATE {key.on_update} {key.deferrable};"
            for key in self.foreign_keys
        )

    def code(self) -> str:
        """Triggers, a function that writes, policies."""
        function = (
            f"CREATE FUNCTION {SCHEMA}.put_{self.name}(k {self.column('a').type}, v text)"
            f" RETURNS int LANGUAGE plpgsql AS $$ DECLARE n int; BEGIN UPDATE {self} SET"
            f" {ident(self.kept[0].name)} = v::{self.kept[0].type} WHERE a = k;"
            f" GET DIAGNOSTICS n = ROW_COUNT; RETURN n; END $$;"
        )
        security = (
            f"ALTER TABLE {self} ENABLE ROW LEVEL SECURITY;"
            f"CREATE POLICY p ON {self} USING (a <> {literal(KEYS[self.column('a').type][1])});"
            # What a role may not read is not copied when it truncates: that is a gap.
            f"REVOKE TRUNCATE ON {self} FROM app;"
        )
        triggers = "".join(self._trigger(kind) for kind in self.triggers)
        return function + triggers + (security if self.row_security else "")

    def _trigger(self, kind: str) -> str:
        name = f"{kind}_{self.name}"
        kept = self.kept[0]
        key = literal(KEYS[self.column("a").type][0])
        when, body = TRIGGERS[kind]
        changed = f"NEW.{ident(kept.name)} := {literal(VALUES[kept.type][-1])}"
        body = body.format(key=key, changed=changed, name=self.name, schema=SCHEMA)
        constraint = "CONSTRAINT" if "DEFERRABLE" in when else ""
        return (
            f"CREATE FUNCTION {SCHEMA}.{name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {body} END $$;"
            f"CREATE {constraint} TRIGGER {name} {when.format(table=self)}"
            f" EXECUTE FUNCTION {SCHEMA}.{name}();"
        )


_ROW = "CASE TG_OP WHEN 'DELETE' THEN OLD::text ELSE NEW::text END"
# When they fire, and what they do: what they write is well defined by the row alone.
TRIGGERS = {
    "change": (
        "BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW",
        "IF NEW.a = {key} THEN {changed}; END IF; RETURN NEW;",
    ),
    "skip": (
        "BEFORE INSERT ON {table} FOR EACH ROW",
        "IF NEW.a = {key} THEN RETURN NULL; END IF; RETURN NEW;",
    ),
    "audit": (
        "AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW",
        f"INSERT INTO {{schema}}.audit VALUES ('{{name}}', TG_OP, {_ROW}); RETURN NULL;",
    ),
    "late": (
        "AFTER INSERT OR UPDATE OR DELETE ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
        f"INSERT INTO {{schema}}.audit VALUES ('{{name}}', 'late', {_ROW}); RETURN NULL;",
    ),
    "count": (
        "AFTER INSERT OR DELETE ON {table} FOR EACH ROW",
        "INSERT INTO {schema}.counter VALUES ('{name}', 1)"
        " ON CONFLICT (t) DO UPDATE SET n = {schema}.counter.n + 1; RETURN NULL;",
    ),
    "whole": (
        "AFTER INSERT ON {table} REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
        "INSERT INTO {schema}.audit SELECT '{name}', 'all', x::text FROM added x; RETURN NULL;",
    ),
}

UNIQUES = (
    *("", "", "UNIQUE (u)", "UNIQUE NULLS NOT DISTINCT (u)", "UNIQUE (u) DEFERRABLE"),
    *("UNIQUE (u) DEFERRABLE INITIALLY DEFERRED", "EXCLUDE USING btree (u WITH =)"),
    *("INDEX {} ((u::text || '!'))", "INDEX {} (u) WHERE u IS NOT NULL"),
)
ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "CASCADE", "SET NULL", "SET DEFAULT")
DEFERRABLE = ("", "", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED")
NAMES = ("v", 'od d"', "old", "order", "é")

_SOME_KEY = st.sampled_from(sorted(KEYS))
_ANY_TYPE = st.one_of(_SOME_KEY, *[st.sampled_from(sorted(VALUES))] * 3)


@st.composite
def _tables(draw: st.DrawFn, name: str) -> Table:
    partitioned = draw(st.sampled_from(["", "", "", "LIST", "HASH"]))
    key = draw(st.sampled_from([(), ("a",), ("a",), ("a", "b"), ("b", "a")]))
    first = Column("a", draw(_SOME_KEY), needed="a" in key)
    if first.type == "public.mood" and partitioned:
        partitioned = "LIST"  # the hash of an enum is of oids, which the twin has others of
    if not partitioned and first.type in {"int", "bigint"} and key:
        first = replace(first, identity=draw(st.sampled_from(["", "ALWAYS", "BY DEFAULT"])))
    columns = [first]
    if "b" in key or draw(st.booleans()):
        columns.append(Column("b", draw(_SOME_KEY), needed="b" in key))
    unique = "" if partitioned else draw(st.sampled_from(UNIQUES))
    if unique:
        # An index takes only what is immutable, and the text of few types is.
        columns.append(Column("u", draw(st.sampled_from(["int", "text", "uuid"]))))
    for column in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)):
        kind = draw(_ANY_TYPE)
        default = draw(st.one_of(st.none(), st.sampled_from(VALUES[kind])))
        columns.append(Column(column, kind, default))
    if draw(st.booleans()):
        made = {"int": "a * 2", "text": "a || '!'"}.get(first.type, "a IS NULL")
        kind = {"int": "int", "text": "text"}.get(first.type, "bool")
        # A virtual column may not read what users' types are in.
        virtual = draw(st.booleans()) and not first.type.startswith("public.")
        columns.append(Column("g", kind, generated=made, virtual=virtual))
    kinds = st.lists(st.sampled_from(sorted(TRIGGERS)), max_size=2, unique=True)
    return Table(
        name,
        tuple(draw(st.permutations(columns))),
        key,
        unique,
        partitioned,
        heir=not partitioned and draw(st.integers(0, 9)) == 9,
        row_security=draw(st.integers(0, 7)) == 7,
        triggers=tuple(draw(kinds)),
    )


@st.composite
def _linked(draw: st.DrawFn, table: Table, parents: list[Table], position: int) -> Table:
    """With one more foreign key, to any table that has a key, itself among them."""
    parent = draw(st.sampled_from(parents))
    of_parent = parent.key
    names = tuple(f"r{position}{column}" for column in of_parent)
    added = []
    for name, referred in zip(names, of_parent, strict=True):
        kind = parent.column(referred).type
        default = draw(st.one_of(st.none(), st.sampled_from(KEYS[kind])))
        added.append(Column(name, kind, default))
    key = ForeignKey(
        names,
        parent.name,
        of_parent,
        draw(st.sampled_from(ACTIONS)),
        draw(st.sampled_from(ACTIONS)),
        draw(st.sampled_from(DEFERRABLE)),
    )
    return replace(
        table,
        columns=(*table.columns, *added),
        foreign_keys=(*table.foreign_keys, key),
    )


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, ...]:
    found = [draw(_tables(f"t{n}")) for n in range(draw(st.integers(2, 4)))]
    parents = [table for table in found if table.key]
    for n in range(len(found)):
        for position in range(draw(st.integers(0, 2)) if parents else 0):
            found[n] = draw(_linked(found[n], parents, position))
    return tuple(found)


BESIDE = f"""
CREATE TABLE {SCHEMA}.audit (t text, op text, content text);
CREATE TABLE {SCHEMA}.counter (t text PRIMARY KEY, n int);
"""


def script(found: tuple[Table, ...], rows: tuple[str, ...], version: int) -> str:
    """All of a schema. Rows are those of the statements that do not fail."""
    tries = "".join(f"BEGIN {row}; EXCEPTION WHEN OTHERS THEN NULL; END;" for row in rows)
    return (
        f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA};"
        f"GRANT ALL ON SCHEMA {SCHEMA} TO app;{BESIDE}"
        + "".join(table.ddl(version) for table in found)
        + "".join(table.links() for table in found)
        + f"DO $rows$ BEGIN SET CONSTRAINTS ALL IMMEDIATE;{tries} END $rows$;"
        + f"GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO app;"
        + "".join(table.code() for table in found)
    )
