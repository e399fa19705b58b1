"""What a password comes to: the server's own verifiers say it."""

from base64 import b64decode

import psycopg
import pytest
from fix_postgres import Server

from proxy.auth import scram, secret
from proxy.auth.saslprep import prepared
from proxy.auth.secret import Password, Verifier

PASSWORDS = {
    "ascii": "pencil",
    "with spaces": " a  b ",
    "umlaut": "Gr\u00fc\u00dfe",
    "umlaut in two": "Gru\u0308\u00dfe",
    "no-break space": "a\u00a0b",
    "ideographic space": "a\u3000b",
    "soft hyphen": "I\u00adX",
    "zero width space": "a\u200bb",
    "zero width joiner": "a\u200db",
    "nothing but nothing": "\u00ad\u200d",
    "ligature": "\ufb01sh",
    "roman nine": "\u2168",
    "feminine ordinal": "\u00aa",
    "full width": "\uff21\uff22",
    "hangul": "\u1100\u1161",
    "control": "\ufb01\u0007\u00fc",
    "del": "\ufb01\u007f",
    "control beyond ascii": "\ufb01\u0085",
    "private use": "\ufb01\ue000b",
    "not a character": "\ufb01\ufdd0b",
    "replacement": "\ufb01\ufffdb",
    "description": "\ufb01\u2ff0b",
    "line separator": "\ufb01\u2028b",
    "no control in ascii": "a\tb",
    "direction mark": "\ufb01\u200eb",
    "hebrew": "\ufb2a\u05d1",
    "hebrew with a digit at the end": "\ufb2a1",
    "hebrew with a digit at the beginning": "1\ufb2a\u05d1",
    "hebrew with latin": "\ufb2aa\u05d1",
    "hebrew with a digit inside": "\ufb2a1\u05d1",
    "arabic ligature": "\ufdfa",
    "unassigned then": "\ufb01\u0221b",
    "assigned later": "\ufb01\u20bf",
    "tag": "\ufb01\U000e0041b",
    "emoji": "\U0001f511",
    "cjk compatibility": "\U0002f868",
    "angstrom": "\u212b",
    "long": "\u00fc" * 300,
}


@pytest.mark.parametrize("name", PASSWORDS)
def test_password_is_prepared_as_the_server_does_it(server: Server, name: str) -> None:
    password = PASSWORDS[name]
    with psycopg.connect(server.url()) as connection:
        quoted = "'" + password + "'"
        connection.execute("SET password_encryption = 'scram-sha-256'")
        connection.execute(f"CREATE ROLE prepared PASSWORD {quoted}".encode())
        (kept,) = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'prepared'"
        ).fetchone()
        connection.rollback()
    verifier = secret.read(kept)
    assert isinstance(verifier, Verifier)
    assert scram.derive(Password(password).raw, verifier.salt, 4096) == verifier.keys


def test_it_matters() -> None:
    """Of these some are mapped and some are taken as they are, or nothing was compared."""
    changed = {name for name, password in PASSWORDS.items() if prepared(password) != password}
    assert {"umlaut in two", "no-break space", "ligature", "full width", "hebrew"} <= changed
    assert not {"hebrew with latin", "private use", "control", "unassigned then"} & changed


def test_a_verifier_of_the_server_is_read(server: Server) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE ROLE read PASSWORD 'pencil'")
        row = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'read'"
        ).fetchone()
        connection.rollback()
    kept = secret.read(row[0])
    assert isinstance(kept, Verifier)
    assert kept.salt == b64decode(row[0].split("$")[1].split(":")[1])
