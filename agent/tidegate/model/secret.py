"""What a Secret of Kubernetes holds for TLS."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.model.origin import Origin

AUTHORITIES_OF = "-cacert"  # behind the name of a Secret, that of the one that rather says whom to trust


@dataclass(frozen=True, slots=True)
class Secret:
    """Certificates and a key in PEM, checked: the key is of the certificate, and Envoy can use both."""

    namespace: str
    name: str
    certificate: bytes = b""  # the leaf first, then who signed it
    key: bytes = field(default=b"", repr=False)  # there if and only if certificate is
    ca: bytes = b""  # who may have signed the other side's certificate
    crl: bytes = b""
    origin: Origin = Origin("Secret", "", "")
