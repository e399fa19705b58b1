"""tls-server-end-point (RFC 5929): a certificate's hash, by the hash that it was signed with.

Not: certificates otherwise; of one that cannot be read there is no binding.
"""

import hashlib
from typing import Final

_RSA: Final = bytes.fromhex("2a864886f70d0101")
_ECDSA: Final = bytes.fromhex("2a8648ce3d04")
_NIST_HASH: Final = bytes.fromhex("6086480165030402")
_NIST_SIGNATURE: Final = bytes.fromhex("6086480165030403")
_RSA_PSS: Final = _RSA + b"\x0a"
# Of MD5 and SHA-1 the binding is by SHA-256.
_SIGNATURES: Final = {
    _RSA + b"\x04": "sha256",  # MD5
    _RSA + b"\x05": "sha256",  # SHA-1
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0e": "sha224",
    _ECDSA + b"\x01": "sha256",  # SHA-1
    _ECDSA + b"\x03\x01": "sha224",
    _ECDSA + b"\x03\x02": "sha256",
    _ECDSA + b"\x03\x03": "sha384",
    _ECDSA + b"\x03\x04": "sha512",
    **{
        _NIST_SIGNATURE + bytes([number]): name
        for first in (9, 13)  # ECDSA, RSA
        for number, name in enumerate(("sha3_224", "sha3_256", "sha3_384", "sha3_512"), first)
    },
}
_HASHES: Final = {
    bytes.fromhex("2b0e03021a"): "sha256",  # SHA-1
    _NIST_HASH + b"\x01": "sha256",
    _NIST_HASH + b"\x02": "sha384",
    _NIST_HASH + b"\x03": "sha512",
    _NIST_HASH + b"\x04": "sha224",
}
_SEQUENCE: Final = 0x30
_OID: Final = 0x06
_HASH_OF_PSS: Final = 0xA0


def end_point(certificate: bytes) -> bytes | None:
    """None where no hash belongs to the signature (Ed25519), or it is none that we know."""
    try:
        name = _hash_of(certificate)
    except (IndexError, ValueError):
        return None
    return hashlib.new(name, certificate).digest() if name else None


def _hash_of(certificate: bytes) -> str | None:
    whole = _opened(certificate, 0, _SEQUENCE)
    _, at = _element(whole, 0)  # what is signed
    algorithm = _opened(whole, at, _SEQUENCE)
    signature, at = _opened(algorithm, 0, _OID), _element(algorithm, 0)[1]
    if signature != _RSA_PSS:
        return _SIGNATURES.get(signature)
    parameters = _opened(algorithm, at, _SEQUENCE)
    if not parameters or parameters[0] != _HASH_OF_PSS:
        return "sha256"  # SHA-1 is what it means when it says nothing
    inner = _opened(_opened(parameters, 0, _HASH_OF_PSS), 0, _SEQUENCE)
    return _HASHES.get(_opened(inner, 0, _OID))


def _opened(data: bytes, at: int, tag: int) -> bytes:
    """What is in the element at `at`, which has to be of this kind."""
    if data[at] != tag:
        raise ValueError("not the element that belongs there")
    return _element(data, at)[0]


def _element(data: bytes, at: int) -> tuple[bytes, int]:
    """What is in the DER element at `at`, and where the next one begins."""
    length, start = data[at + 1], at + 2
    if length >= 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    end = start + length
    if end > len(data):
        raise ValueError("ends early")
    return data[start:end], end
