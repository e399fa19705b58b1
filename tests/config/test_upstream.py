"""The URL of the server: what it says of TLS, and what cannot be meant."""

import pytest

from config.upstream import read, without_password

HOST = "postgresql://operator:s3cret@db.example/shop"


def test_nothing_said_is_as_libpq_has_it() -> None:
    to = read(HOST)
    assert (to.sslmode, to.sslrootcert, to.direct, to.may_encrypt) == ("prefer", None, False, True)
    assert not read("postgresql://op@/shop?host=/run/postgresql&sslmode=require").may_encrypt
    assert not read(f"{HOST}?sslmode=disable").may_encrypt


def test_what_is_said_is_meant() -> None:
    to = read(f"{HOST}?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem")
    assert (to.sslmode, to.sslrootcert, to.sslcert, to.sslkey) == (
        *("verify-full", "/ca.pem", "/c.pem", "/k.pem"),
    )
    assert read(f"{HOST}?sslrootcert=system").sslmode == "verify-full"
    assert read(f"{HOST}?sslmode=require&sslnegotiation=direct").direct


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("sslmode=always", "it may be disable"),
        ("sslnegotiation=soon", "it may be postgres or direct"),
        ("sslnegotiation=direct", "too weak"),
        ("sslmode=verify-full", "no sslrootcert"),
        ("sslmode=verify-ca", "no sslrootcert"),
        ("sslmode=require&sslrootcert=system", "say sslmode=verify-full"),
        ("sslkey=/k.pem", "without its sslcert"),
        ("sslcrl=/x", "unknown parameter sslcrl"),
    ],
)
def test_what_cannot_be_meant_is_told(given: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(f"{HOST}?{given}")


def test_it_is_shown_without_its_password() -> None:
    shown = without_password(f"{HOST}?sslmode=verify-full&sslrootcert=/ca.pem")
    assert shown.startswith("postgresql://operator@db.example:5432/shop?")
    assert "sslmode=verify-full" in shown
    assert "s3cret" not in shown
