"""What speaks of something by its name is known by the new one when that has got another."""

import pytest
from fix_undo import Ground

MADE = """
CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('a', 'b'); CREATE DOMAIN s.few AS int;
CREATE TYPE s.pair AS (m s.mood, n s.few);
CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION s.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
ALTER DOMAIN s.few ADD CONSTRAINT small CHECK (s.f(value) < 9);
CREATE SEQUENCE s.seq;
CREATE TABLE s.t (a int PRIMARY KEY, b int DEFAULT s.f(3), c int GENERATED ALWAYS AS (s.f(4)) STORED, d s.few,
                  m s.mood DEFAULT 'a', p s.pair, q int DEFAULT nextval('s.seq'), i int GENERATED ALWAYS AS IDENTITY,
                  CONSTRAINT k CHECK (s.f(b) > 0));
ALTER SEQUENCE s.seq OWNED BY s.t.q;
CREATE INDEX x ON s.t (s.f(b)) WHERE d > 0; CREATE STATISTICS s.st ON a, b FROM s.t;
CREATE TRIGGER g BEFORE UPDATE OF b ON s.t FOR EACH ROW WHEN (new.b > s.f(1)) EXECUTE FUNCTION s.g();
CREATE RULE r AS ON DELETE TO s.t WHERE old.b < 0 DO INSTEAD NOTHING;
ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t USING (s.f(b) > 0);
CREATE TABLE whole (t s.t); CREATE TABLE child (a int REFERENCES s.t (a), b int);
CREATE POLICY p ON child USING (a IN (SELECT b FROM s.t));
CREATE TABLE heir () INHERITS (s.t); CREATE VIEW ofheir AS SELECT b FROM heir;
CREATE TABLE parted (b int, a int) PARTITION BY RANGE (s.f(b)); CREATE TABLE part PARTITION OF parted DEFAULT;
CREATE VIEW v AS SELECT b, m FROM s.t; CREATE VIEW w AS SELECT * FROM v; CREATE MATERIALIZED VIEW mv AS SELECT b FROM w;
CREATE FUNCTION h(s.mood, s.t) RETURNS SETOF s.pair LANGUAGE sql BEGIN ATOMIC SELECT p FROM s.t WHERE b = 1; END
"""
RENAMED = [
    "ALTER TABLE s.t RENAME TO t2", "ALTER TABLE s.t RENAME b TO b2", "ALTER TABLE s.t RENAME a TO a2",
    "ALTER TABLE s.t RENAME CONSTRAINT t_pkey TO first", "ALTER TABLE s.t SET SCHEMA public",
    "ALTER FUNCTION s.f RENAME TO f2", "ALTER FUNCTION s.g RENAME TO g2", "ALTER FUNCTION s.f SET SCHEMA public",
    "ALTER TYPE s.mood RENAME TO mood2", "ALTER TYPE s.mood RENAME VALUE 'a' TO 'A'", "ALTER TYPE s.pair RENAME TO pair2",
    "ALTER TYPE s.pair RENAME ATTRIBUTE m TO m2", "ALTER DOMAIN s.few RENAME TO few2", "ALTER TYPE s.mood SET SCHEMA public",
    "ALTER DOMAIN s.few RENAME CONSTRAINT small TO tiny", "ALTER SEQUENCE s.seq RENAME TO seq2", "ALTER SCHEMA s RENAME TO s2",
    "ALTER VIEW v RENAME TO v2", "ALTER VIEW v RENAME COLUMN b TO b2", "ALTER INDEX s.x RENAME TO x2",
    "ALTER TABLE parted RENAME b TO b2", "ALTER TABLE parted RENAME TO parted2", "ALTER TRIGGER g ON s.t RENAME TO g2",
    "ALTER POLICY p ON s.t RENAME TO p2", "ALTER RULE r ON s.t RENAME TO r2",
]  # fmt: skip
KNOWN = "SELECT classid, objid, objsubid, relid, image FROM hotrollback.component"
THERE = "SELECT classid, objid, objsubid, relid, image FROM hotrollback.images_v1(NULL)"


@pytest.mark.parametrize("text", RENAMED)
@pytest.mark.given(MADE)
async def test_all_that_speaks_of_it_is_known_by_the_new_name(ground: Ground, text: str) -> None:
    await ground.write(text)
    assert await ground.rows(f"({KNOWN}) EXCEPT ({THERE})") == []
    assert await ground.rows(f"({THERE}) EXCEPT ({KNOWN})") == []
