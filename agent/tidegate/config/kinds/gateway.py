"""Gateway: ports, hosts and certificates of the workloads at the mesh's edge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.links import Links, Topic
from tidegate.config.schema import LABEL, ApiModel, Finding, Report, listify
from tidegate.config.shapes.envoy_text import is_host, is_partial
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.server_tls import MODES, ServerTlsDoc
from tidegate.config.tree import YamlMap
from tidegate.model.gateway import Gateway, Server, ServerHost, ServerProtocol
from tidegate.model.hosts import is_address
from tidegate.model.net import parse_ip
from tidegate.model.sockets import too_long

_PROTOCOLS = {
    **dict.fromkeys(("HTTP", "HTTP2", "GRPC", "GRPC-WEB"), ServerProtocol.HTTP),
    "HTTPS": ServerProtocol.HTTPS,
    "TLS": ServerProtocol.TLS,
    **dict.fromkeys(("TCP", "MONGO", "REDIS", "MYSQL"), ServerProtocol.TCP),
}
_UNIX = re.compile(r"unix://(/|@).+")


def _protocol(text: object) -> object:
    return text.upper() if isinstance(text, str) else text


ServerWord = Annotated[
    Literal["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO", "REDIS", "MYSQL"],
    BeforeValidator(_protocol),
]


class ServerPortDoc(ApiModel):
    ignored = frozenset({"targetPort"})
    number: int = Field(default=0, ge=0, le=65535)
    protocol: ServerWord
    name: str

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if "targetPort" in data:
            report.say(data, "targetPort", say.NO_EFFECT(why="the Service of the gateway says which port of the pod"))


class ServerDoc(ApiModel):
    ignored = frozenset({"defaultEndpoint"})
    port: ServerPortDoc
    bind: str = ""
    hosts: list[str] = []
    tls: ServerTlsDoc | None = None
    name: str = ""

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "hosts")

    def to_model(self, namespace: str, report: Report) -> Server | None:
        """The server, or None when it does nothing that we can do yet."""
        protocol = _PROTOCOLS[self.port.protocol]
        if not self.hosts:
            report.say(self, None, say.NEEDS_ONE_OF(names="hosts"))
        self._check_bind(report)
        self._check_tls(protocol, report)
        tls = self.tls.to_model(report) if self.tls is not None and protocol in _WITH_TLS else None
        if self.tls is not None and self.tls.mode in MODES.later:
            return None
        return Server(
            port=self.port.number,
            port_name=self.port.name,
            protocol=protocol,
            hosts=tuple(_host(self, i, text, namespace, report) for i, text in enumerate(self.hosts)),
            bind=self.bind.replace("unix://", "unix:", 1),
            redirect=self.tls is not None and self.tls.https_redirect,
            tls=tls,
            name=self.name,
            line=self.line,
        )

    def _check_bind(self, report: Report) -> None:
        path = self.bind.startswith("unix:")
        socket = _UNIX.fullmatch(self.bind) and not too_long(self.bind.removeprefix("unix://"))
        if self.bind and not (socket if path else is_address(self.bind)):
            report.say(self, "bind", say.NO_BIND(given=self.bind))
        if not self.port.number and not path:
            report.say(self.port, "number" if "number" in self.port.at else None, say.NO_SERVER_PORT())

    def _check_tls(self, protocol: ServerProtocol, report: Report) -> None:
        if protocol in _WITH_TLS:
            if self.tls is None:
                report.say(self, "port", say.NEEDS_TLS(protocol=self.port.protocol))
            elif self.tls.https_redirect:
                report.say(
                    self.tls, "httpsRedirect", say.NO_EFFECT(why="only servers of HTTP can send people to HTTPS")
                )
        elif self.tls is not None:
            if protocol is ServerProtocol.TCP:
                report.say(self, "tls", say.TLS_OF_PLAIN(protocol=self.port.protocol))
            elif self.tls.says_more_than_redirect:
                report.say(self, "tls", say.TLS_OF_HTTP())


_WITH_TLS = (ServerProtocol.HTTPS, ServerProtocol.TLS)


def _host(at: ServerDoc, index: int, text: str, namespace: str, report: Report) -> ServerHost:
    first, slash, host = text.partition("/")
    if not slash:
        first, host = "*", text
    if slash and first not in ("*", ".") and not LABEL.fullmatch(first):
        report.say(at, ("hosts", index), say.NO_LABEL(name=first, what="namespace"))
    if not is_host(host) or is_partial(host):
        report.say(at, ("hosts", index), say.NO_HOST(given=host))
    elif "." not in host and host != "*" and not is_address(host):
        report.say(at, ("hosts", index), say.SHORT_HOST(given=host))
    if is_address(host):
        host = str(parse_ip(host))
    return ServerHost(namespace if first == "." else first, host.lower())


class GatewaySpec(ApiModel):
    selector: dict[str, str] = Field(default_factory=dict)
    servers: list[ServerDoc] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "servers")


class GatewayDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: GatewaySpec


def read(doc: GatewayDoc, place: Place, report: Report) -> Gateway:
    spec, namespace = doc.spec, place.key.namespace
    if not spec.servers:
        report.say(spec, None, say.NEEDS_ONE_OF(names="servers"))
    seen: set[str] = set()
    for server in spec.servers:
        if not server.port.name:
            report.say(server.port, "name", say.MISSING())
        elif server.port.name in seen:
            report.say(server.port, "name", say.TWICE(what=server.port.name))
        seen.add(server.port.name)
    servers = [server.to_model(namespace, report) for server in spec.servers]
    return Gateway(
        namespace=namespace,
        name=place.key.name,
        selector=spec.selector,
        servers=tuple(server for server in servers if server is not None),
        age=place.age,
        origin=place.origin,
    )


def provides(gateway: Gateway) -> Iterable[Topic]:
    return [("gateway", gateway.ref)]


def looks_at(gateway: Gateway) -> Iterable[Topic]:
    return [("secret", name) for name in sorted({name for _, name, _ in _credentials(gateway)})]


def check(gateway: Gateway, links: Links) -> Iterator[Finding]:
    """Secrets that nobody has. Warnings, because they may arrive later, and may be where the workload is. Of a
    cluster only the gateway itself reads them, and says which it lacks."""
    if not gateway.origin.file:
        return
    for index, name, line in _credentials(gateway):
        if next(iter(links.of("secret", name)), None) is None:
            path = f"spec.servers[{index}].tls.credentialName"
            yield Finding(line, path, say.NO_SECRET(name=name))


def _credentials(gateway: Gateway) -> Iterator[tuple[int, str, int]]:
    for index, server in enumerate(gateway.servers):
        if server.tls is not None:
            for name in (*server.tls.credentials, *filter(None, [server.tls.ca_credential])):
                yield index, name, server.line


GATEWAY = Kind(
    group="networking.istio.io",
    name="Gateway",
    versions=("v1alpha3", "v1beta1", "v1"),
    shape=GatewayDoc,
    read=read,
    shelf="gateways",
    provides=provides,
    looks_at=looks_at,
    check=check,
)
