"""The hash of a certificate that SCRAM is bound to: `cryptography` says which it is."""

import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.binding import end_point

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
HASHES = {
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
    "sha3_256": hashes.SHA3_256(),
    "sha3_512": hashes.SHA3_512(),
}


def certificate(key, how, **options) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    made = made.not_valid_before(now).not_valid_after(now + dt.timedelta(1))
    signed = made.public_key(key.public_key()).sign(key, how, **options)
    return signed.public_bytes(Encoding.DER)


def expected(der: bytes) -> bytes:
    how = x509.load_der_x509_certificate(der).signature_hash_algorithm
    assert how is not None
    return hashlib.new(how.name.replace("-", "_"), der).digest()


@pytest.mark.parametrize("key", [RSA, EC], ids=["rsa", "ecdsa"])
@pytest.mark.parametrize("how", HASHES)
def test_the_hash_is_that_of_the_signature(key, how: str) -> None:
    der = certificate(key, HASHES[how])
    assert end_point(der) == expected(der)
    assert len(end_point(der) or b"") == HASHES[how].digest_size


@pytest.mark.parametrize("how", ["sha224", "sha256", "sha384", "sha512"])
def test_pss_says_its_hash_by_itself(how: str) -> None:
    pss = padding.PSS(padding.MGF1(HASHES[how]), HASHES[how].digest_size)
    der = certificate(RSA, HASHES[how], rsa_padding=pss)
    assert end_point(der) == expected(der)


def oid(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("signature", "weak"),
    [
        ("2a864886f70d01010b", "2a864886f70d010104"),  # MD5 with RSA
        ("2a864886f70d01010b", "2a864886f70d010105"),  # SHA-1 with RSA
    ],
)
def test_of_a_weak_hash_it_is_sha256(signature: str, weak: str) -> None:
    """Nobody signs so any more: the name of the algorithm is put in the place of another."""
    der = certificate(RSA, hashes.SHA512())
    assert end_point(der.replace(oid("2a864886f70d01010d"), oid(weak))) is not None
    changed = certificate(RSA, hashes.SHA256()).replace(oid(signature), oid(weak))
    assert end_point(changed) == hashlib.sha256(changed).digest()
    changed = der.replace(oid("2a864886f70d01010d"), oid(weak))
    assert end_point(changed) == hashlib.sha256(changed).digest()


def test_a_signature_without_a_hash_has_none() -> None:
    assert end_point(certificate(ed25519.Ed25519PrivateKey.generate(), None)) is None


@given(st.binary(max_size=200))
def test_what_is_no_certificate_has_none(data: bytes) -> None:
    assert end_point(data) is None


@given(st.data())
def test_a_broken_certificate_never_breaks_it(data) -> None:
    at = data.draw(st.integers(0, len(DER) - 1))
    end_point(DER[:at] + data.draw(st.binary(max_size=2)) + DER[at + 1 :])


def test_half_a_certificate_has_none() -> None:
    assert [at for at in range(len(DER)) if end_point(DER[:at]) is not None] == []


DER = certificate(EC, hashes.SHA256())
