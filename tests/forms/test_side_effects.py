"""What a write does besides: to other rows, to other tables, under other names, and whose rights and
rules stand in between."""

import pytest
from forms_bed import TWO_WAYS, Bed, Case, names

ALL = "GRANT ALL ON ALL TABLES IN SCHEMA {0} TO PUBLIC"
LEVELS = """
CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE b (id int PRIMARY KEY, a int DEFAULT 1 REFERENCES a {0});
CREATE TABLE c (id int PRIMARY KEY, b int DEFAULT 1 REFERENCES b {1}, note text DEFAULT 'c');
CREATE TABLE d (id int PRIMARY KEY, c int DEFAULT 1 REFERENCES c {0});
INSERT INTO a SELECT g, 'a' || g FROM generate_series(1, 5) g;
INSERT INTO b SELECT g, 1 + g % 5 FROM generate_series(1, 8) g;
INSERT INTO c (id, b) SELECT g, 1 + g % 8 FROM generate_series(1, 12) g;
INSERT INTO d SELECT g, 1 + g % 12 FROM generate_series(1, 16) g;
"""
BOTH = "ON DELETE {0} ON UPDATE {0}"
CASCADE, NULLS, DEFAULTS = (BOTH.format(x) for x in ("CASCADE", "SET NULL", "SET DEFAULT"))
KEYS = (
    "DELETE FROM a WHERE id = 3",
    "UPDATE a SET id = id + 40 WHERE id > 3",
    "DELETE FROM b WHERE id = 2",
)

FOREIGN_KEYS = {
    "cascades": Case(KEYS, LEVELS.format(CASCADE, CASCADE), TWO_WAYS),
    "cascade, then set null": Case(KEYS, LEVELS.format(CASCADE, NULLS), TWO_WAYS),
    "set default, then cascade": Case(KEYS[:2], LEVELS.format(DEFAULTS, CASCADE)),
    "deferred cascades": Case(
        ("BEGIN", *KEYS, "COMMIT"),
        LEVELS.format(f"{CASCADE} DEFERRABLE INITIALLY DEFERRED", CASCADE),
        TWO_WAYS,
    ),
    "set null of some columns": Case(
        ("DELETE FROM p WHERE id = 1",),
        "CREATE TABLE p (tenant int, id int, PRIMARY KEY (tenant, id)); CREATE TABLE q (n int, tenant int,"
        " p int, FOREIGN KEY (tenant, p) REFERENCES p ON DELETE SET NULL (p));"
        "INSERT INTO p VALUES (1, 1), (1, 2); INSERT INTO q VALUES (1, 1, 1), (1, 1, 1), (2, 1, 2)",
    ),
    "a tree of itself": Case(
        ("DELETE FROM tree WHERE id = 2", "UPDATE tree SET id = 100 WHERE id = 1"),
        "CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE);"
        "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, 1)",
        TWO_WAYS,
    ),
    "a circle": Case(
        ("BEGIN", "DELETE FROM x", "DELETE FROM y", "INSERT INTO y VALUES (2, 2)", "INSERT INTO x VALUES (2, 2)", "COMMIT"),
        "CREATE TABLE x (id int PRIMARY KEY, y int);"
        "CREATE TABLE y (id int PRIMARY KEY, x int REFERENCES x DEFERRABLE INITIALLY DEFERRED);"
        "ALTER TABLE x ADD FOREIGN KEY (y) REFERENCES y DEFERRABLE INITIALLY DEFERRED;"
        "INSERT INTO x VALUES (1, 1); INSERT INTO y VALUES (1, 1)",
    ),
    "to a partitioned table": Case(
        ("DELETE FROM p WHERE id = 1", "UPDATE p SET id = id + 10 WHERE id < 4"),
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);"
        "CREATE TABLE q (id int REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE) PARTITION BY LIST (id);"
        "CREATE TABLE q1 PARTITION OF q FOR VALUES IN (1, 2, 12); CREATE TABLE q2 PARTITION OF q DEFAULT;"
        "INSERT INTO p SELECT generate_series(1, 4); INSERT INTO q VALUES (1), (1), (2), (3)",
    ),
}  # fmt: skip

TRIGGERED = """
CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 0, at timestamptz);
CREATE TABLE audit (id serial PRIMARY KEY, what text, k int, image jsonb);
CREATE TABLE sums (n bigint); INSERT INTO sums VALUES (0);
CREATE FUNCTION before_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF new.v = 'no' THEN RETURN NULL; END IF;
  new.n := coalesce(new.n, 0) + 1; new.at := now(); RETURN new; END $$;
CREATE FUNCTION after_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO audit (what, k, image) VALUES (tg_op, coalesce(new.id, old.id), to_jsonb(old)); RETURN NULL; END $$;
CREATE FUNCTION statement_wide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE sums SET n = (SELECT sum(t.n) FROM t); RETURN NULL; END $$;
CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF pg_trigger_depth() = 1 THEN UPDATE t SET v = v || '+' || new.id WHERE id IN (new.id, new.id + 1); END IF;
  RETURN NULL; END $$;
CREATE TRIGGER a_before BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION before_it();
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 6) g;
"""
AFTER = TRIGGERED + (
    "CREATE TRIGGER a_after AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION after_it();"
    "CREATE TRIGGER z_wide AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON t EXECUTE FUNCTION statement_wide();"
    "GRANT ALL ON SEQUENCE audit_id_seq TO PUBLIC"
)
NESTED = (
    TRIGGERED
    + "CREATE TRIGGER a_nested AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nested()"
)
ROWS = (
    "UPDATE t SET v = v || '!' WHERE id <= 3",
    "INSERT INTO t VALUES (7, 'seven'), (8, 'no')",
    "INSERT INTO t VALUES (7, 'dup') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *",
    "DELETE FROM t WHERE id = 2",
    "UPDATE t SET v = 'no' WHERE id = 4",
    "MERGE INTO t USING (VALUES (1), (9)) s(id) ON s.id = t.id WHEN MATCHED THEN DELETE"
    " WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, 'merged')",
    "WITH d AS (DELETE FROM t WHERE id = 5 RETURNING *) UPDATE t SET n = d.n + 1 FROM d WHERE t.id = 6",
)
TRIGGERS = {
    "before": Case(ROWS, TRIGGERED, TWO_WAYS),
    "after": Case(ROWS, AFTER, TWO_WAYS),
    "after, truncated": Case(("TRUNCATE t",), AFTER),
    "the same rows again": Case(ROWS, NESTED, TWO_WAYS),
    "deferred": Case(
        (*ROWS, "BEGIN", "DELETE FROM t WHERE id = 3", "UPDATE t SET v = 'late'", "COMMIT"),
        TRIGGERED
        + "CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE OR DELETE ON t DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION after_it(); GRANT ALL ON SEQUENCE audit_id_seq TO PUBLIC",
        TWO_WAYS,
    ),
    "that put another row in the place": Case(
        (
            "DELETE FROM t WHERE id = 1",
            "DO $$ BEGIN DELETE FROM t WHERE id < 4; INSERT INTO t VALUES (9, 'x'); END $$",
        ),
        TRIGGERED + "CREATE FUNCTION reborn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  INSERT INTO t VALUES (old.id, 'reborn'); UPDATE t SET n = 7 WHERE id = old.id; RETURN NULL; END $$;"
        "CREATE TRIGGER a_reborn AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION reborn()",
        TWO_WAYS,
    ),
    "of transition tables": Case(
        ROWS[:4],
        TRIGGERED + "CREATE FUNCTION of_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  INSERT INTO audit (what, k) SELECT o.v, o.id FROM was o; DELETE FROM t USING was w"
        "   WHERE w.v = 'v3' AND t.id = w.id; RETURN NULL; END $$;"
        "CREATE TRIGGER of_all AFTER UPDATE ON t REFERENCING OLD TABLE AS was FOR EACH STATEMENT"
        " EXECUTE FUNCTION of_all(); GRANT ALL ON SEQUENCE audit_id_seq TO PUBLIC",
        TWO_WAYS,
    ),
    "that keep the statement": Case(
        ("UPDATE t SET v = 'x' WHERE id = 1", "DELETE FROM t WHERE id = 2"),
        "CREATE TABLE t (id int PRIMARY KEY, v text, q text DEFAULT current_query());"
        "INSERT INTO t VALUES (1, 'a', 'q'), (2, 'b', 'q')",
        TWO_WAYS,
    ),
}

VIEWED = """
CREATE TABLE t (id int PRIMARY KEY, v text, hidden int DEFAULT 7);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 8) g;
CREATE VIEW simple AS SELECT id, v FROM t WHERE id > 1;
CREATE VIEW checked AS SELECT id, v FROM simple WHERE id < 100 WITH CASCADED CHECK OPTION;
CREATE VIEW renamed (number, words) WITH (security_invoker) AS SELECT id, v FROM t;
CREATE VIEW calc AS SELECT id, v || '?' AS q FROM t;
CREATE TABLE shadow (id int, v text);
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF tg_op = 'DELETE' THEN DELETE FROM t WHERE id = old.id; RETURN old; END IF;
  IF tg_op = 'UPDATE' THEN UPDATE t SET v = 'instead of ' || new.q WHERE id = old.id; RETURN new; END IF;
  INSERT INTO t VALUES (new.id, new.q); RETURN new; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE OR DELETE ON calc FOR EACH ROW EXECUTE FUNCTION instead();
"""
RULED_VIEW = """
CREATE VIEW ruled AS SELECT id, hidden FROM t;
CREATE RULE up AS ON UPDATE TO ruled DO INSTEAD
  UPDATE t SET hidden = new.hidden WHERE id = old.id RETURNING id, hidden
"""
RULED = (
    VIEWED
    + (
        "CREATE RULE also AS ON UPDATE TO t DO ALSO INSERT INTO shadow VALUES (old.id, new.v);"
        "CREATE RULE gone AS ON DELETE TO t DO INSTEAD UPDATE t SET v = 'deleted' WHERE id = old.id;"
        "CREATE RULE none AS ON INSERT TO shadow WHERE new.id = 3 DO INSTEAD NOTHING;"
    )
    + RULED_VIEW
)
VIEWS = {
    "updatable": Case(
        (
            "UPDATE simple SET v = 'view' WHERE id = 2 RETURNING *",
            "INSERT INTO simple VALUES (50, 'new')",
            "DELETE FROM renamed WHERE number = 3 RETURNING words",
            "INSERT INTO renamed VALUES (4, 'dup') ON CONFLICT (number) DO UPDATE SET words = 'c'",
        ),
        VIEWED,
        TWO_WAYS,
    ),
    "with check option": Case(
        ("UPDATE checked SET v = 'view', id = 60 WHERE id = 2", "DELETE FROM checked WHERE id = 3"),
        VIEWED,
        TWO_WAYS,
    ),
    "instead of": Case(
        (
            "UPDATE calc SET q = 'z' WHERE id = 4 RETURNING *",
            "DELETE FROM calc WHERE id = 5",
            "INSERT INTO calc VALUES (70, 'i')",
        ),
        VIEWED,
        TWO_WAYS,
    ),
    "merged": Case(
        ("MERGE INTO simple USING (VALUES (2), (99)) s(id) ON s.id = simple.id WHEN MATCHED THEN DELETE"
         " WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'm')",),
        VIEWED,
        TWO_WAYS,
        on=(18,),
    ),
    "rules": Case(
        (
            "UPDATE t SET v = 'ruled' WHERE id IN (2, 3)",
            "DELETE FROM t WHERE id = 4",
            "UPDATE ruled SET hidden = 1 WHERE id = 5 RETURNING *",
            "INSERT INTO t VALUES (90, 'plain')",
        ),
        RULED,
        TWO_WAYS,
    ),
    "one rule beside a with": Case(
        ("WITH x AS (SELECT 2 AS id) UPDATE ruled SET hidden = 9 FROM x WHERE x.id = ruled.id",),
        VIEWED + RULED_VIEW,
        TWO_WAYS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN_KEYS)
def test_foreign_keys(bed: Bed, name: str) -> None:
    bed.prove(FOREIGN_KEYS[name])


@pytest.mark.parametrize("name", TRIGGERS)
def test_triggers(bed: Bed, name: str) -> None:
    bed.prove(TRIGGERS[name])


@pytest.mark.parametrize("name", names(VIEWS, 18, 15))
def test_views_and_rules(bed: Bed, name: str) -> None:
    bed.prove(VIEWS[name])


@pytest.mark.parametrize("server", [18], indirect=True)
@pytest.mark.parametrize("name", names(VIEWS, 18))
def test_views_and_rules_of_18(bed: Bed, name: str) -> None:
    bed.prove(VIEWS[name])
