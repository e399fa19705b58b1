"""Conversations that others have a part in: they notify, lock, change, alter and cancel meanwhile.

As in traces.py. `WAITS` goes on when the conversation's session waits inside of the server,
`READS` when it waits for the rows of a COPY.
"""

from raw import (
    COPY_DONE,
    FLUSH,
    SYNC,
    bind,
    copy_data,
    describe,
    execute,
    extended,
    parse,
    query,
)
from traces import (
    CANCEL,
    DATABASE,
    DELETE,
    FAILS,
    INSERT,
    UPDATE,
    Beside,
    Conversation,
    Slowly,
    Step,
    by_name,
    first,
    hello,
    said,
)


def waits(*events: str) -> Beside:
    """Until the conversation's session is in one of these wait events of pg_stat_activity."""
    return Beside(f"""DO $$ BEGIN
        FOR turn IN 1..2000 LOOP
            PERFORM pg_stat_clear_snapshot();
            IF EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                       AND usename = 'app' AND state = 'active'
                       AND wait_event = ANY ('{{{", ".join(events)}}}')) THEN
                RETURN;
            END IF;
            PERFORM pg_sleep(0.005);
        END LOOP;
        RAISE EXCEPTION 'nothing waits';
    END $$""")


WAITS, READS = waits("PgSleep", "advisory", "relation"), waits("ClientRead")
TELL = Beside("NOTIFY a, 'news'")
LISTENING: Step = (query("LISTEN a"), "Z")
KEEP, LET = Beside("SELECT pg_advisory_lock(7)"), Beside("SELECT pg_advisory_unlock(7)")
KEPT = "pg_advisory_xact_lock(7)::text || v"
KEEP_TABLE, LET_TABLE = Beside("BEGIN; LOCK TABLE t"), Beside("COMMIT")

BEGINNING = (
    first("byte by byte", (Slowly(hello()), "Z"), (Slowly(extended(UPDATE) + query(DELETE)), "ZZ")),
    first(
        "warned",
        (Beside(f"ALTER ROLE app IN DATABASE {DATABASE} SET default_text_search_config = 'nix'"), ""),
        (hello(), "Z"),
        (Beside(f"ALTER ROLE app IN DATABASE {DATABASE} RESET ALL"), ""),
    ),
    *(first(f"cancelled with a key of {minor}", (hello((3, minor)), "Z"), (query("UPDATE t SET v = pg_sleep(60)::text"), ""),
            (WAITS, ""), (CANCEL, "Z")) for minor in (0, 2)),
)  # fmt: skip

TOLD = (
    said("when idle", LISTENING, (TELL, "A"), (query(UPDATE), "Z"), (TELL, "A"), (TELL, "A")),
    said("in a transaction", LISTENING, (query("BEGIN"), "Z"), (TELL, ""), (query(UPDATE), "Z"),
         (extended(DELETE), "Z"), (query("COMMIT"), "Z")),
    said("in one that fails", LISTENING, (query("BEGIN"), "Z"), (TELL, ""), (query(FAILS), "Z"), (query("ROLLBACK"), "Z")),
    said("in a pipeline", LISTENING, (parse(UPDATE) + bind() + execute() + FLUSH, "C"), (TELL, ""),
         (parse(DELETE) + bind() + execute() + SYNC, "Z")),
    said("copying in", LISTENING, (query("COPY t FROM STDIN"), "G"), (TELL, ""),
         (copy_data("7\ta\t1\n") + COPY_DONE, "Z")),
    said("copying out", LISTENING, (KEEP, ""), (query(f"COPY (SELECT {KEPT} FROM t) TO STDOUT"), ""),
         (WAITS, ""), (TELL, ""), (LET, "Z")),
    *(said(f"while it runs, {name}", LISTENING, (KEEP, ""), (sent, ""), (WAITS, ""), (TELL, ""), (LET, "Z"))
      for name, sent in (("simple", query(f"UPDATE t SET v = {KEPT}")), ("extended", extended(f"UPDATE t SET v = {KEPT}")),
                         ("returning", query(f"DELETE FROM t RETURNING {KEPT}")),
                         ("several", query(f"{INSERT}; UPDATE t SET v = {KEPT}; {DELETE}")),
                         ("wrong", query(f"UPDATE t SET v = {KEPT}, n = 1 / (id - 3)")))),
)  # fmt: skip

SLOW = (
    "SELECT pg_sleep(60)",
    "INSERT INTO t SELECT 20, pg_sleep(60)::text",
    "UPDATE t SET v = pg_sleep(60)::text WHERE id = 2",
    "DELETE FROM t USING pg_sleep(60) WHERE id = 1 RETURNING id",
    "WITH d AS (DELETE FROM t WHERE id = 1 RETURNING id) SELECT id, pg_sleep(60) FROM d",
    "DO $$ BEGIN UPDATE t SET n = 7; PERFORM pg_sleep(60); END $$",
    "EXPLAIN (ANALYZE, COSTS OFF) UPDATE t SET v = pg_sleep(60)::text",
)
CANCELLED = (
    *(said(f"simple {text}", (query(text), ""), (WAITS, ""), (CANCEL, "Z"), (query("TABLE t"), "Z")) for text in SLOW),
    *(said(f"extended {text}", (extended(text), ""), (WAITS, ""), (CANCEL, "Z"), (query("TABLE t"), "Z")) for text in SLOW),
    said("in a block", (query("BEGIN"), "Z"), (query(UPDATE), "Z"), (query(SLOW[2]), ""), (WAITS, ""), (CANCEL, "Z"),
         (query(UPDATE), "Z"), (query("COMMIT"), "Z"), (query("TABLE t"), "Z")),
    said("in a savepoint", (query("BEGIN"), "Z"), (query(INSERT), "Z"), (query("SAVEPOINT a"), "Z"), (extended(SLOW[1]), ""),
         (WAITS, ""), (CANCEL, "Z"), (query("ROLLBACK TO a"), "Z"), (query("COMMIT"), "Z"), (query("TABLE t"), "Z")),
    said("in a pipeline", (extended(UPDATE) + extended(SLOW[2]) + extended(DELETE), "Z"), (WAITS, ""), (CANCEL, "ZZ"),
         (query("TABLE t"), "Z")),
    said("in the middle of several", (query(f"{UPDATE}; {SLOW[2]}; {DELETE}"), ""), (WAITS, ""), (CANCEL, "Z"),
         (query("TABLE t"), "Z")),
    said("waiting for a table", (KEEP_TABLE, ""), (query(UPDATE), ""), (WAITS, ""), (CANCEL, "Z"), (LET_TABLE, ""),
         (query("TABLE t"), "Z")),
    said("waiting for a table, returning", (KEEP_TABLE, ""), (query(f"{UPDATE} RETURNING *"), ""), (WAITS, ""),
         (CANCEL, "Z"), (LET_TABLE, ""), (query("TABLE t"), "Z")),
    said("copying", (query("COPY t FROM STDIN"), "G"), (READS, ""), (CANCEL, ""), (copy_data("7\ta\t1\n") + COPY_DONE, "Z"),
         (query("TABLE t"), "Z")),
    # Too late: it hits nothing, neither what was answered nor what comes next.
    said("when idle", *((deed, awaited) for sent in (query(UPDATE), extended(UPDATE), query(f"{DELETE}; {INSERT}"),
         query("TRUNCATE child"), query("DO $$ BEGIN UPDATE t SET n = 9; END $$"), extended("VACUUM t"), query("TABLE t"))
         for deed, awaited in ((sent, "Z"), (CANCEL, "")))),
    said("when idle in a block", (query("BEGIN"), "Z"), (CANCEL, ""), (extended(UPDATE), "Z"), (CANCEL, ""),
         (query(f"{DELETE} RETURNING *"), "Z"), (CANCEL, ""), (query("COMMIT"), "Z")),
    said("between two of a pipeline", (parse(UPDATE) + bind() + execute() + FLUSH, "C"), (CANCEL, ""),
         (parse(DELETE) + bind() + execute() + SYNC, "Z"), (query("TABLE t"), "Z")),
)  # fmt: skip

WAITED = (
    *(said(f"in vain, {name}", (query("SET lock_timeout = '50ms'"), "Z"), (KEEP_TABLE, ""), (sent, "Z"), (sent, "Z"),
           (LET_TABLE, ""), (sent, "Z"))
      for name, sent in (("simple", query(UPDATE)), ("extended", extended(UPDATE)), ("returning", query(f"{UPDATE} RETURNING *")),
                         ("extended, returning", extended(f"{UPDATE} RETURNING *")), ("several", query(f"{INSERT}; {UPDATE}")),
                         ("copy", query("COPY t TO STDOUT")))),
    said("in vain in a block", (query("SET lock_timeout = '50ms'"), "Z"), (KEEP_TABLE, ""), (query("BEGIN"), "Z"),
         (query(f"{UPDATE} RETURNING *"), "Z"), (query(UPDATE), "Z"), (LET_TABLE, ""), (query("COMMIT"), "Z")),
    *(said(f"for a row that is then another, {name}", (Beside("BEGIN; UPDATE t SET v = 'theirs' WHERE id = 1"), ""),
           (sent, ""), (Beside("SELECT pg_sleep(0.05)"), ""), (Beside("COMMIT"), "Z"), (query("TABLE t"), "Z"))
      for name, sent in (("simple", query("UPDATE t SET v = v || '!' WHERE id = 1 RETURNING v")),
                         ("extended", extended("UPDATE t SET v = v || '!' WHERE v = 'one'")))),
    *(said(f"{level}", (query(f"BEGIN ISOLATION LEVEL {level}"), "Z"), (query("SELECT sum(n) FROM t"), "Z"),
           (Beside(f"BEGIN ISOLATION LEVEL {level}; SELECT sum(n) FROM t; UPDATE t SET n = 7 WHERE id = 2; COMMIT"), ""),
           (extended("UPDATE t SET n = 8 WHERE id = 1 RETURNING n"), "Z"), (query("UPDATE t SET n = 9 WHERE id = 2"), "Z"),
           (query("COMMIT"), "Z"), (query("TABLE t"), "Z")) for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")),
)  # fmt: skip

RUN = bind(name="s") + describe() + execute() + SYNC
# A column more is in nobody's way: until the proxy asks again, within a second, it is not returned.
NOTICED = ((Beside("SELECT pg_sleep(1.5)"), ""),)
ALTERED = tuple(
    # Where in the server's source that a result has changed is not known to a proxy that finds out.
    Conversation(f"{ddl} behind a Parse of {text}, run {runs}", (
        (parse(text, "s") + describe("s", "S") + SYNC, "Z"), *((RUN, "Z"),) * runs, (Beside(ddl), ""),
        *NOTICED * ("ADD COLUMN" in ddl and "*" in text), (RUN, "Z"), (RUN, "Z")), ours="RENAME v" in ddl)
    for ddl in ("ALTER TABLE t ADD COLUMN more int", "ALTER TABLE t DROP COLUMN n", "ALTER TABLE t ALTER v TYPE varchar(9)",
                "ALTER TABLE t RENAME TO u", "ALTER TABLE t RENAME v TO w", "DROP TABLE t CASCADE", "ALTER TABLE t ADD CHECK (n < 9)")
    for text in ("UPDATE t SET n = 2 WHERE id = 1 RETURNING *", "DELETE FROM t WHERE v = 'two'", "INSERT INTO t VALUES (5, 'x')")
    for runs in (0, 1)
)  # fmt: skip

ALL_BESIDE = by_name(
    ("beginning", BEGINNING),
    ("told", TOLD),
    ("cancelled", CANCELLED),
    ("waited", WAITED),
    ("altered", ALTERED),
)
