"""THE TABLE of settings: a field of Settings is a row. From it come loading, its error texts, the
flags of `hotrollback serve`, SHOW CONFIG and docs/config.md.

A new setting is a new field here, and nothing else. Not: how values are read (kinds), where they
come from (load).
"""

# ruff: noqa: RUF009, FBT003 (a row is a call, its default one of the values)

from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from config import kinds
from config.kinds import Address, Kind
from config.tags import TagRules

PREFIX: Final = "HOTROLLBACK_"


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a setting besides its value."""

    name: str
    kind: Kind
    default: Any
    doc: str
    flag: str  # of `hotrollback serve`; empty: none
    metavar: str

    @property
    def env(self) -> str:
        """Its environment variable; empty: none, as for what is not one value."""
        return "" if self.kind is kinds.TAGS else PREFIX + self.name.upper()

    def show(self, value: Any) -> str:
        """As a config file would say it; empty where it is not set."""
        return "" if value in (None, "") else self.kind.show(value)


def _row(kind: Kind, default: Any, doc: str, *, flag: str = "", metavar: str = "") -> Any:
    about = {"kind": kind, "doc": doc, "flag": flag, "metavar": metavar}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class Settings:
    upstream: str = _row(
        kinds.URL,
        "",
        "The server behind the proxy, the operator role that reads the catalog and the log and"
        " runs undos, and the database that commands mean when they name none. Clients bring their"
        " own role, password and database. The operator's password may also come from PGPASSWORD"
        " or ~/.pgpass. TLS is said as libpq says it, by sslmode, sslrootcert, sslcert, sslkey and"
        " sslnegotiation behind a question mark.",
        flag="--upstream",
        metavar="URL",
    )
    listen: Address = _row(
        kinds.ADDRESS,
        Address("127.0.0.1", 6432),
        "Where clients connect.",
        flag="--listen",
        metavar="HOST:PORT",
    )
    admin: Path | None = _row(
        kinds.PATH,
        None,
        "The directory of the admin socket, which only the user that runs the proxy may open."
        " Without it there is no admin socket. It is also where commands look for the proxy.",
        flag="--admin",
        metavar="DIR",
    )
    admin_port: int = _row(
        kinds.whole(1, 65535),
        6433,
        "The number in the admin socket's name, .s.PGSQL.6433; as in psql -h DIR -p 6433.",
    )
    socket_dir: Path | None = _row(
        kinds.PATH,
        None,
        "A directory where clients may connect through a Unix socket, too: .s.PGSQL. and the port"
        " of listen, as psql -h DIR -p PORT wants it. Not set: through the port alone.",
        flag="--socket-dir",
        metavar="DIR",
    )
    socket_mode: int = _row(
        kinds.MODE,
        0o777,
        "Who may connect through that Unix socket. As with PostgreSQL, anybody may try.",
    )
    tls: str = _row(
        kinds.one_of("off", "allow", "require", "verify-ca"),
        "allow",
        "TLS with clients. allow: whoever asks for it gets it, once there is a tls_cert. require:"
        " a login through the port without it is refused. verify-ca: it is also refused without a"
        " client certificate that leads to tls_client_ca. off: it is never offered. Unix sockets"
        " have none, and need none.",
    )
    tls_cert: Path | None = _row(
        kinds.FILE,
        None,
        "The certificate that clients are shown, in PEM, followed by those that lead to its root."
        " Read again by RELOAD and SIGHUP, as all that TLS needs.",
    )
    tls_key: Path | None = _row(
        kinds.FILE,
        None,
        "Its key, in PEM, without a passphrase, in a file that nobody else may read. Not set: it"
        " is in the file of tls_cert.",
    )
    tls_client_ca: Path | None = _row(
        kinds.FILE,
        None,
        "Roots, in PEM: a client certificate that does not lead to one of them is refused. Clients"
        ' need none, unless tls = "verify-ca".',
    )
    tls_min_version: str = _row(
        kinds.one_of("TLSv1.2", "TLSv1.3"),
        "TLSv1.2",
        "The oldest version of TLS that clients may use.",
    )
    workers: int = _row(
        kinds.whole(1, 256),
        1,
        "Processes that serve clients on the one port. One uses one processor.",
        flag="--workers",
        metavar="N",
    )
    capture: bool = _row(
        kinds.SWITCH,
        True,
        "Whether writes are recorded. CAPTURE OFF and CAPTURE ON on the admin socket change it at"
        " once, until the proxy ends.",
    )
    on_gap: str = _row(
        kinds.one_of("warn", "reject"),
        "warn",
        "What happens to a write that cannot be recorded exactly: warn lets it pass and leaves a"
        " gap record, reject refuses it before it happens.",
    )
    on_log_error: str = _row(
        kinds.one_of("pass", "fail"),
        "pass",
        "What happens to a write while the log itself cannot be written (dropped, full, without"
        " rights): pass sends it as the client wrote it and leaves a gap, fail gives the client an"
        " error.",
    )
    retention: timedelta | None = _row(
        kinds.SPAN,
        None,
        "How long changes are kept. Older ones go, a day at a time. Not set: for ever.",
    )
    max_log_size: int | None = _row(
        kinds.SIZE,
        None,
        "How big the log may grow. Beyond it the oldest partitions go. Not set: without limit.",
    )
    max_bin_size: int | None = _row(
        kinds.SIZE,
        None,
        "How big the recycle bin may grow: tables that were dropped or taken away, and values of"
        " columns. Beyond it the oldest go, but for those that are pinned; it is said in the log"
        " and in SHOW BIN before it is done. What no undo can reach any more, since the log's"
        " records of it are gone, goes likewise. Not set: without limit.",
    )
    prepare: bool = _row(
        kinds.SWITCH,
        True,
        "A write by simple query that comes again and again with other values is run as a prepared"
        " statement of the proxy's, so that the server need not plan it each time. off: each is"
        " sent as a text.",
    )
    statement_limit: int = _row(
        kinds.LENGTH,
        1 << 20,
        "Statements longer than this are not analysed: they pass, and leave a gap.",
    )
    auth_query: str | None = _row(
        kinds.QUERY,
        "SELECT rolname, rolpassword FROM pg_catalog.pg_authid"
        " WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name",
        "How the operator's role asks the server for a role's name and SCRAM verifier, which the"
        " proxy needs where the client's connection and the server's are both TLS and the client"
        " binds its login to the certificate. $1 is the role's name; no row means that nobody can"
        " log in so as this role. Names need their schema, for the search_path is empty.",
    )
    auth_file: Path | None = _row(
        kinds.FILE,
        None,
        "A list of such verifiers, or of passwords, in the form of PgBouncer's userlist.txt: a"
        ' line "role" "secret" for each. It is asked before auth_query, and read when the proxy'
        " starts and on reload.",
    )
    login_timeout: float = _row(
        kinds.SECONDS,
        60.0,
        "How long a client may take from connecting to being logged in.",
    )
    client_idle_timeout: float = _row(
        kinds.SECONDS,
        0.0,
        "How long a session may be idle, in no transaction, before it is ended, with the error of"
        " PostgreSQL's idle_session_timeout. 0: for ever.",
    )
    max_clients: int | None = _row(
        kinds.whole(1, 1_000_000),
        None,
        "How many clients may be connected, to all workers together; one more is told that there"
        " are too many. Each has a connection of its own to the server, whose max_connections is a"
        " limit, too. Not set: no other.",
    )
    tcp_keepalives_idle: float = _row(
        kinds.TCP_TIMER,
        0.0,
        "How long a connection is silent until the system asks whether the other side is still"
        " there, as PostgreSQL's setting of that name does it, here for clients and for the server."
        " 0: as the system has it, two hours on Linux.",
    )
    tcp_keepalives_interval: float = _row(
        kinds.TCP_TIMER,
        0.0,
        "How long until it asks again. 0: as the system has it, 75 seconds on Linux.",
    )
    tcp_keepalives_count: int = _row(
        kinds.whole(0, 127),
        0,
        "How often it asks until the connection counts as lost. 0: as the system has it, 9 times on"
        " Linux.",
    )
    tcp_user_timeout: float = _row(
        kinds.TCP_TIMER,
        0.0,
        "How long what was sent may wait to be acknowledged before the connection counts as lost; a"
        " client that does not read what it asked for is ended by it, too. 0: as the system has it,"
        " some 15 minutes on Linux.",
    )
    grace: float = _row(
        kinds.SECONDS,
        10.0,
        "How long busy sessions may go on after the proxy was told to stop.",
    )
    log_level: str = _row(
        kinds.one_of("debug", "info", "warning", "error"),
        "info",
        "The least severity that is logged, on standard error, a JSON object a line.",
    )
    tags: TagRules = _row(
        kinds.TAGS,
        TagRules(),
        "Rules that tag the sessions that bring no tag of their own; see below.",
    )
    # Where each value came from, for SHOW CONFIG: name -> "default", a file, a variable or a flag.
    sources: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def listen_host(self) -> str:
        return self.listen.host

    @property
    def listen_port(self) -> int:
        return self.listen.port


ROWS: Final = {
    f.name: Row(name=f.name, default=f.default, **f.metadata)
    for f in fields(Settings)
    if f.metadata
}
