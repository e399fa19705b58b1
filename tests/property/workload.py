"""Workloads of several clients: what they write, how it is run at once, and how a part of it is
replayed.

Statements name rows by key and give values, so that what one client's transactions would have made
without another's is well defined as long as every statement of theirs comes out the same.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from hypothesis import strategies as st
from psycopg import AsyncConnection, AsyncRawCursor

SCHEMA = """
CREATE TABLE keyed (id int PRIMARY KEY, u int UNIQUE, v text);
CREATE TABLE bare (v text, n int);
CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE, v text);
CREATE TABLE leaf (id int PRIMARY KEY, child int REFERENCES child, mate int REFERENCES leaf);
CREATE TABLE parted (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1, 2);
CREATE TABLE parted_2 (v text, id int NOT NULL, k int NOT NULL);
ALTER TABLE parted ATTACH PARTITION parted_2 DEFAULT;
CREATE TABLE made (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED
);
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
"""
TABLES = ("keyed", "bare", "parent", "child", "leaf", "parted", "made")
ROWS = """
TRUNCATE keyed, bare, parent, child, leaf, parted, made;
INSERT INTO keyed SELECT g, g, 'k' FROM generate_series(1, 4) g;
INSERT INTO bare VALUES ('a', 1), ('a', 1), ('b', NULL);
INSERT INTO parent SELECT g, 'p' FROM generate_series(1, 3) g;
INSERT INTO child SELECT g, g, 'c' FROM generate_series(1, 3) g;
INSERT INTO leaf VALUES (1, 1, NULL), (2, NULL, 1);
INSERT INTO parted SELECT g, g, 'd' FROM generate_series(1, 3) g;
INSERT INTO made OVERRIDING SYSTEM VALUE SELECT g, g FROM generate_series(1, 3) g;
"""

KEYS = st.integers(1, 5)
WORDS = st.sampled_from(["x", "y", "it's", "z\\"])
TEMPLATES = (
    ("INSERT INTO keyed VALUES ($1, $2, $3)", (KEYS, KEYS, WORDS)),
    ("INSERT INTO keyed (id, v) VALUES ($1, $2) RETURNING *", (KEYS, WORDS)),
    (
        "INSERT INTO keyed VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET u = excluded.u, v = excluded.v",
        (KEYS, KEYS, WORDS),
    ),
    (
        "INSERT INTO keyed VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id",
        (KEYS, KEYS, WORDS),
    ),
    ("UPDATE keyed SET v = $1 WHERE id = $2", (WORDS, KEYS)),
    ("UPDATE keyed SET v = $1 WHERE id IN ($2, $3) RETURNING v, id AS key", (WORDS, KEYS, KEYS)),
    ("UPDATE keyed AS k SET u = $1 WHERE k.id = $2", (KEYS, KEYS)),
    ("UPDATE keyed SET id = $1 WHERE id = $2", (KEYS, KEYS)),
    ("WITH w AS (SELECT $1::int AS id) DELETE FROM keyed USING w WHERE keyed.id = w.id", (KEYS,)),
    (
        "MERGE INTO keyed k USING (VALUES ($1::int, $2::int, $3::text)) s(id, u, v) ON k.id = s.id"
        " WHEN MATCHED THEN UPDATE SET u = s.u, v = s.v"
        " WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.u, s.v)",
        (KEYS, KEYS, WORDS),
    ),
    (
        "MERGE INTO child USING (VALUES ($1::int)) s(id) ON child.id = s.id WHEN MATCHED THEN DELETE",
        (KEYS,),
    ),
    (
        "WITH d AS (DELETE FROM leaf WHERE id = $1 RETURNING *) INSERT INTO bare SELECT 'd', id FROM d",
        (KEYS,),
    ),
    (
        "WITH u AS (UPDATE keyed SET v = $1 WHERE id = $2 RETURNING id, v AS word),"
        " i AS (INSERT INTO bare VALUES ($1, $2)) SELECT word, id FROM u",
        (WORDS, KEYS),
    ),
    ("INSERT INTO bare VALUES ($1, $2), ($1, $2)", (WORDS, KEYS)),
    ("UPDATE bare SET n = $1 WHERE v = $2", (KEYS, WORDS)),
    ("DELETE FROM bare WHERE v = $1 RETURNING n", (WORDS,)),
    ("DELETE FROM bare WHERE n IS NULL", ()),
    ("INSERT INTO parent VALUES ($1, $2)", (KEYS, WORDS)),
    ("UPDATE parent SET v = $1 WHERE id = $2", (WORDS, KEYS)),
    ("DELETE FROM parent WHERE id = $1", (KEYS,)),
    ("INSERT INTO child VALUES ($1, $2, $3)", (KEYS, KEYS, WORDS)),
    ("UPDATE child SET parent = $1 WHERE id = $2", (KEYS, KEYS)),
    ("DELETE FROM child WHERE id = $1", (KEYS,)),
    ("INSERT INTO leaf VALUES ($1, $2, $3)", (KEYS, KEYS, KEYS)),
    ("UPDATE leaf SET child = $1, mate = $2 WHERE id = $3", (KEYS, KEYS, KEYS)),
    ("DELETE FROM leaf WHERE id = $1", (KEYS,)),
    ("INSERT INTO parted VALUES ($1, $2, $3)", (KEYS, KEYS, WORDS)),
    ("UPDATE parted SET k = $1 WHERE id = $2", (KEYS, KEYS)),
    ("UPDATE parted SET v = $1 WHERE id = $2 AND k = $3", (WORDS, KEYS, KEYS)),
    ("DELETE FROM parted WHERE id = $1", (KEYS,)),
    (
        "MERGE INTO parted p USING (VALUES ($1::int, $2::int)) s(id, k) ON p.id = s.id"
        " WHEN MATCHED THEN UPDATE SET k = s.k, v = 'm'"
        " WHEN NOT MATCHED THEN INSERT (v, k, id) VALUES ('m', s.k, s.id)",
        (KEYS, KEYS),
    ),
    ("INSERT INTO made (id, a) OVERRIDING SYSTEM VALUE VALUES ($1, $2)", (KEYS, KEYS)),
    ("UPDATE made SET a = $1 WHERE id = $2", (KEYS, KEYS)),
    ("DELETE FROM made WHERE id = $1", (KEYS,)),
)
MODES = ("simple", "extended", "prepared", "binary")


def literal(value: int | str | None) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Statement:
    text: str
    values: tuple[int | str | None, ...]
    mode: str  # one of MODES, or copy: the values go in as rows of that many columns
    width: int = 0

    def whole(self) -> str:
        """The text with its values in it."""
        text = self.text
        for number, value in reversed(list(enumerate(self.values, 1))):
            text = text.replace(f"${number}", literal(value))
        return text


@dataclass(frozen=True, slots=True)
class Step:
    """What one client does next; None in place of a statement ends its transaction."""

    client: int
    action: Statement | str  # or BEGIN .., COMMIT, ROLLBACK, SAVEPOINT s, ROLLBACK TO s


@st.composite
def _statements(draw: st.DrawFn) -> Statement:
    text, values = draw(st.sampled_from(TEMPLATES))
    return Statement(text, tuple(draw(v) for v in values), draw(st.sampled_from(MODES)))


CONTROL = st.sampled_from(["BEGIN", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s"])
CLIENTS = 3
WORKLOADS = st.lists(
    st.builds(Step, st.integers(0, CLIENTS - 1), st.one_of(_statements(), _statements(), CONTROL)),
    min_size=5,
    max_size=30,
)

LEVELS = ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "REPEATABLE READ", "SERIALIZABLE")


@st.composite
def _transactions(
    draw: st.DrawFn, statement: st.SearchStrategy[Statement]
) -> list[Statement | str]:
    """One statement by itself, or some in a block."""
    level = draw(st.sampled_from(["", *LEVELS]))
    if not level:
        return [draw(statement)]
    savepoints = st.sampled_from(["SAVEPOINT s", "ROLLBACK TO s"])
    inside = draw(
        st.lists(
            st.one_of(statement, statement, statement, statement, savepoints),
            min_size=2,
            max_size=6,
        )
    )
    first = inside.index("SAVEPOINT s") if "SAVEPOINT s" in inside else len(inside)
    fits = [
        step for n, step in enumerate(inside) if step != "ROLLBACK TO s" or n > first
    ]  # it would fail, and all that comes after it
    end = draw(st.sampled_from(["COMMIT", "COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
    return [f"BEGIN ISOLATION LEVEL {level}", *fits, end]


@st.composite
def workloads(draw: st.DrawFn, statement: st.SearchStrategy[Statement]) -> list[Step]:
    """Some transactions of each client, in between of one another."""
    several = st.lists(_transactions(statement), min_size=2, max_size=4)
    queues = [[each for one in draw(several) for each in one] for _ in range(CLIENTS)]
    steps = []
    while busy := [number for number, queue in enumerate(queues) if queue]:
        number = draw(st.sampled_from(busy))
        steps.append(Step(number, queues[number].pop(0)))
    return steps


@dataclass(slots=True)
class Done:
    """A step that was run, and what came of it: the command tag, or the SQLSTATE."""

    step: Step
    outcome: str = ""


@dataclass(slots=True)
class Transaction:
    client: int
    steps: list[Done] = field(default_factory=list)
    committed: bool = False


@dataclass(slots=True)
class Client:
    number: int
    connection: AsyncConnection
    finished: list[Transaction]  # of all clients, in the order in which they ended
    queue: list[Step] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    current: Transaction | None = None

    async def work(self) -> None:
        while self.queue:
            await self._run(self.queue.pop(0))

    async def _run(self, step: Step) -> None:
        status = self.connection.info.transaction_status
        idle = status == psycopg.pq.TransactionStatus.IDLE
        if isinstance(step.action, str) and step.action.startswith("BEGIN") is not idle:
            return  # it would only warn or fail
        if self.current is None:
            self.current = Transaction(self.number)
        done = Done(step)
        self.current.steps.append(done)
        done.outcome = await execute(self.connection, step.action)
        if self.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self.current.committed = done.outcome == "COMMIT" or (
                isinstance(step.action, Statement) and not done.outcome.startswith("error")
            )
            self.finished.append(self.current)
            self.current = None


async def execute(connection: AsyncConnection, action: Statement | str) -> str:
    cursor = AsyncRawCursor(connection)
    try:
        if isinstance(action, str):
            await cursor.execute(action)
        elif action.mode == "simple":
            await cursor.execute(action.whole())
        elif action.mode == "copy":
            async with cursor.copy(action.text) as copy:
                for start in range(0, len(action.values), action.width):
                    await copy.write_row(action.values[start : start + action.width])
        else:
            await cursor.execute(
                action.text,
                action.values,
                prepare=action.mode == "prepared",
                binary=action.mode == "binary",
            )
    except psycopg.Error as error:
        return f"error {error.sqlstate}"
    return cursor.statusmessage or ""


async def run(connections: Sequence[AsyncConnection], steps: Sequence[Step]) -> list[Transaction]:
    """All at once: a client that waits for another's lock is left waiting while the others go on."""
    finished: list[Transaction] = []
    clients = [Client(n, connection, finished) for n, connection in enumerate(connections)]
    for step in [*steps, *(Step(n, "COMMIT") for n in range(len(clients)))]:
        client = clients[step.client]
        client.queue.append(step)
        if client.task is None or client.task.done():
            client.task = asyncio.create_task(client.work())
        await asyncio.wait([client.task], timeout=0.03)
    for client in clients:
        if client.task is not None:
            await client.task
    return finished


async def replay(connection: AsyncConnection, transactions: Sequence[Transaction]) -> bool:
    """One after the other; whether every statement came out as it did then."""
    for transaction in transactions:
        for done in transaction.steps:
            outcome = await execute(connection, done.step.action)
            if outcome != done.outcome:
                await connection.rollback()
                return False
    return True


def lasting(transaction: Transaction) -> Transaction:
    """Without the steps that were rolled back to a savepoint."""
    kept: list[Done] = []
    savepoints: list[int] = []
    for done in transaction.steps:
        if done.step.action == "ROLLBACK TO s" and savepoints:
            kept = kept[: savepoints[-1]]
        elif done.outcome == "SAVEPOINT":
            savepoints.append(len(kept) + 1)
        kept.append(done)
    return Transaction(transaction.client, kept, transaction.committed)


async def contents(connection: AsyncConnection) -> dict[str, list[str]]:
    found = {}
    for table in TABLES:
        cursor = await connection.execute(
            f"SELECT tableoid::regclass || ' ' || row_to_json({table})::text FROM {table} ORDER BY 1"
        )
        found[table] = [row[0] for row in await cursor.fetchall()]
    return found
