-- Where an error is, in texts of several lines, with letters of several bytes.
CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL, n numeric(5,2) CHECK (n > 0));
INSERT INTO t VALUES (1, 'eins', 1), (2, 'zwei', 2), (3, 'drei', 3);
UPDATE t
   SET v = 'Größe',
       nix = 1
 WHERE id = 1;
UPDATE t SET v = /* ein Wort: ключ */ ключ WHERE id = 1;
DELETE FROM t WHERE id = 'ü';
DELETE FROM t
 USING nowhere
 WHERE true;
INSERT INTO t (id, v, v) VALUES (4, 'x', 'y');
INSERT INTO t (id, v) VALUES (4, 'x'), (5);
INSERT INTO t (id, v) SELECT 4;
INSERT INTO t VALUES (4, 'x', 1, 'too many');
INSERT INTO t VALUES (4, 'x', 12345);
INSERT INTO t VALUES (4, NULL);
INSERT INTO t VALUES (4, 'x', -1);
INSERT INTO t VALUES (1, 'x');
INSERT INTO t VALUES (4, 'x') ON CONFLICT (v) DO NOTHING;
INSERT INTO t VALUES (4, 'x') ON CONFLICT (id) DO UPDATE SET w = 1;
INSERT INTO t VALUES (1, 'x'), (1, 'y') ON CONFLICT (id) DO UPDATE SET v = 'ö' || excluded.v;
UPDATE t SET id = id + 1;
UPDATE t SET (v, n) = (SELECT 'x');
UPDATE t SET n = n / (id - 2);
UPDATE t SET v = v RETURNING nix;
DELETE FROM t WHERE id = 1 RETURNING id, count(*);
UPDATE t AS old SET v = 'old' RETURNING old.v;
DELETE FROM t WHERE EXISTS (SELECT FROM t s WHERE s.id = t.id AND s.weg);
WITH gone AS (DELETE FROM t WHERE falsch RETURNING *) SELECT * FROM gone;
WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO t SELECT * FROM fort;
MERGE INTO t USING (VALUES (1)) s (id) ON s.id = t.id WHEN MATCHED THEN UPDATE SET nix = 1;
MERGE INTO t USING (VALUES (1), (1)) s (id) ON s.id = t.id WHEN MATCHED THEN UPDATE SET v = 'zweimal';
INSERT INTO t VALUES (4, 'x'); SELECT 'ö' || 1/0; INSERT INTO t VALUES (5, 'y');
INSERT INTO t VALUES (6, 'x') RETURNING;
UPDATE t SET WHERE id = 1;
UPDATE t SET v = 'never ends WHERE id = 1;
';
TABLE t ORDER BY id;
