"""Gateway after reading, and the workload that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tidegate.model.kube import NO_AGE, Age
from tidegate.model.origin import Origin


class ServerProtocol(Enum):
    """What a port of a gateway speaks. TCP is also whatever is opaque to a proxy: Mongo, Redis, MySQL, ..."""

    HTTP = "http"
    HTTPS = "https"
    TLS = "tls"
    TCP = "tcp"


class ServerTlsMode(Enum):
    """What becomes of TLS at a server."""

    PASSTHROUGH = "PASSTHROUGH"  # it is not ended here: the name that the client asks for (SNI) chooses
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"  # the client has to show a certificate
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"  # it may, and then it has to be a good one
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"

    @property
    def ends_here(self) -> bool:
        """Whether the gateway has the certificate."""
        return self not in (ServerTlsMode.PASSTHROUGH, ServerTlsMode.AUTO_PASSTHROUGH)

    @property
    def asks_client(self) -> bool:
        """Whether a client's certificate is verified."""
        return self in (ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL, ServerTlsMode.ISTIO_MUTUAL)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate as files of the gateway's own file system."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """Settings of a server that speaks TLS."""

    mode: ServerTlsMode = ServerTlsMode.PASSTHROUGH
    credentials: tuple[str, ...] = ()  # names of Secrets, in the namespace of the workload
    ca_credential: str = ""
    files: tuple[CertificateFiles, ...] = ()
    ca_file: str = ""
    crl_file: str = ""
    subject_alt_names: tuple[str, ...] = ()
    spki: tuple[str, ...] = ()  # base64 of SHA-256 of public keys, one of which a client's has to be
    hashes: tuple[str, ...] = ()  # hexadecimal SHA-256 of certificates, the same
    min_version: str = ""  # of Envoy's TlsParameters; empty = its own default
    max_version: str = ""
    ciphers: tuple[str, ...] = ()

    @property
    def every_file(self) -> tuple[str, ...]:
        """Paths of whatever of it stands in files."""
        named = (*(path for pair in self.files for path in (pair.certificate, pair.key)), self.ca_file, self.crl_file)
        return tuple(path for path in named if path)


@dataclass(frozen=True, slots=True)
class ServerHost:
    """A host that a server is for, and whose VirtualServices may have it: ``*`` = everybody's."""

    namespace: str
    host: str  # lower case; may start with "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One entry of `servers`."""

    port: int  # 0 only with a bind that is a socket's path
    port_name: str
    protocol: ServerProtocol
    hosts: tuple[ServerHost, ...]
    bind: str = ""  # an IP address or unix:PATH; empty = every address
    redirect: bool = False  # https instead of http, please
    tls: ServerTls | None = None  # of HTTPS and TLS
    name: str = ""
    line: int = 0

    @property
    def ends_tls(self) -> bool:
        return self.tls is not None and self.tls.mode.ends_here


@dataclass(frozen=True, slots=True)
class Gateway:
    namespace: str
    name: str
    selector: Mapping[str, str] = field(default_factory=dict)  # empty = every gateway workload, in any namespace
    servers: tuple[Server, ...] = ()
    age: Age = NO_AGE
    origin: Origin = Origin("Gateway", "", "")

    @property
    def ref(self) -> str:
        """NAMESPACE/NAME, as VirtualServices name it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class GatewayWorkload:
    """The pods that are one gateway: what Gateways select, and in whose name it asks for Secrets and services."""

    namespace: str
    labels: Mapping[str, str]
    ipv6: bool = True  # whether a socket of that family can be opened there


def gateway_ref(written: str, namespace: str) -> str:
    """NAMESPACE/NAME of a gateway as a rule of that namespace names it: ``name``, ``./name``, ``ns/name`` or, as Istio
    1.0 had it, ``name.ns.svc.cluster.local``. "mesh" stays as it is."""
    if written == "mesh":
        return written
    first, slash, rest = written.partition("/")
    if slash:
        return f"{namespace}/{rest}" if first == "." else written
    name, dot, rest = written.partition(".")
    return f"{rest.partition('.')[0] if dot else namespace}/{name}"
