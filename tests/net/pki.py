"""Certificates for a test, and addresses of a proxy that use them."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from proxy.demo.command import Serving


@dataclass(slots=True)
class Pki:
    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def issue(self, name: str, *hosts: str, by: trustme.CA | None = None) -> Path:
        """A file of key and certificate."""
        file = self.folder / f"{name}.pem"
        file.touch(0o600)
        issued = (by or self.ca).issue_cert(*hosts, common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(str(file))
        return file

    @property
    def roots(self) -> Path:
        file = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(file))
        return file

    def context(self) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.roots))
        made.set_alpn_protocols(["postgresql"])
        return made


def url(serving: Serving, **options: object) -> str:
    given = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://app@127.0.0.1:{serving.port}/postgres?{given}"


def verified(serving: Serving, pki: Pki, **options: object) -> str:
    return url(serving, sslmode="verify-full", sslrootcert=pki.roots, **options)
