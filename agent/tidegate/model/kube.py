"""Pods, namespaces and services as the mesh sees them: what is left of a Kubernetes object after it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tidegate.model.entry import External, Resolution
from tidegate.model.names import ServiceName, WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.origin import Origin


class Age(NamedTuple):
    """Sorts older objects first: by creationTimestamp, those without one last and by where they were written."""

    undated: bool = True
    created: str = ""  # RFC 3339, in UTC
    file: str = ""
    line: int = 0


NO_AGE = Age()


class Protocol(Enum):
    """What a service port speaks, by its declaration."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    TLS = "tls"  # also https: TLS that is not opened, so that all that shows is the name asked for
    TCP = "tcp"  # also everything undeclared or opaque (mongo, redis, ...)
    UDP = "udp"  # never captured

    @property
    def is_http(self) -> bool:
        """True when the port is served by an HTTP proxy."""
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        """True when the server is spoken to in HTTP/2 (prior knowledge)."""
        return self in (Protocol.HTTP2, Protocol.GRPC)


_HTTP = frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = Origin("Namespace", "", "")


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    zone: str = ""  # empty: nobody says
    origin: Origin = Origin("Node", "", "")
    region: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A TCP port: two containers may give one name to a TCP and to a UDP port, and only the former is ever served."""

    port: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of any node."""

    id: WorkloadId
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    ips: tuple[IPAddress, ...] = ()  # first = primary
    ready: bool = False
    draining: bool = False  # it ends, and serves still
    has_status: bool = True  # False: a hand-written document; ready while its container runs on this node
    node: str = ""
    service_account: str = "default"
    ports: tuple[ContainerPort, ...] = ()
    probe_ports: tuple[int, ...] = ()  # where the node's kubelet looks whether it is well
    host_network: bool = False
    ending: bool = False  # it has ended, or somebody has deleted it, so that its namespace goes any time
    hostname: str = ""  # with subdomain: its own name under a headless service, as pods of a StatefulSet have one
    subdomain: str = ""
    origin: Origin = Origin("Pod", "", "")


@dataclass(frozen=True, slots=True)
class ServicePort:
    port: int
    name: str = ""
    protocol: Protocol = Protocol.TCP
    target: int | str = 0  # number, or name of a container port; 0 = the same number as port
    node_port: int = 0


class Near(Enum):
    """Which endpoints of a Service a client may, or would rather, use."""

    ANY = "any"
    SAME_NODE = "same node"  # and no others
    NODE_FIRST = "same node first"  # then the zone, then all
    ZONE_FIRST = "same zone first"  # then all


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the registry: a Kubernetes Service, or a host of a ServiceEntry (external)."""

    id: ServiceName
    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[IPAddress, ...] = ()  # virtual addresses; empty for headless and ExternalName
    headless: bool = False
    external_name: str = ""
    selector: Mapping[str, str] = field(default_factory=dict)
    publish_not_ready: bool = False
    affinity_s: int = 0  # a client that comes again within so many seconds gets the endpoint that it had; 0 = need not
    near: Near = Near.ANY
    external: External | None = None  # None: Kubernetes'
    export_to: tuple[str, ...] = ()  # none: as MeshConfig says
    by_slices: bool = False  # its cluster writes down who is behind it: the selector is not followed here
    age: Age = NO_AGE
    origin: Origin = Origin("Service", "", "")

    def port(self, number: int) -> ServicePort | None:
        """The TCP port of that number, or None."""
        return next((p for p in self.ports if p.port == number and p.protocol is not Protocol.UDP), None)

    @property
    def tcp_ports(self) -> tuple[ServicePort, ...]:
        """Every port that the mesh can serve."""
        return tuple(p for p in self.ports if p.protocol is not Protocol.UDP)

    @property
    def precedence(self) -> tuple[bool, Age, ServiceName]:
        """Of several with one name or address that with the least has it: Kubernetes', to which its cluster gave it,
        before one to which somebody only wrote it down, then the oldest."""
        return self.external is not None, self.age, self.id

    @property
    def as_dialled(self) -> bool:
        """Whether the address that a client dialled is the endpoint, because nobody says another."""
        return self.external is not None and self.external.resolution is Resolution.NONE


@dataclass(frozen=True, slots=True)
class SlicePort:
    """A TCP port of an endpoint that somebody wrote down; a service's port of the same name leads to it."""

    port: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """One endpoint that somebody wrote down, instead of a selector finding it."""

    address: IPAddress
    ports: tuple[SlicePort, ...] = ()
    ready: bool = True
    draining: bool = False  # it ends and serves still: taken while nothing is ready
    pod: WorkloadId | None = None  # targetRef; most have none
    node: str = ""
    zone: str = ""
    hostname: str = ""  # its own name under the service
    for_zones: tuple[str, ...] = ()  # hints: clients of these zones should use it; none: nobody says
    for_nodes: tuple[str, ...] = ()

    def port(self, name: str) -> int:
        """The number of the port of that name; 0 if there is none."""
        return next((p.port for p in self.ports if p.name == name), 0)


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """An EndpointSlice, or an Endpoints object, which says the same in an older form."""

    namespace: str
    name: str
    service: ServiceName
    endpoints: tuple[SliceEndpoint, ...] = ()
    of_selector: bool = False  # says nothing of a Service with a selector that the selector does not say
    origin: Origin = Origin("EndpointSlice", "", "")

    def speaks_for(self, service: Service) -> bool:
        """Whether it says who is behind the Service that it names, or repeats what we know by the selector."""
        return service.by_slices or not (self.of_selector and service.selector)


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A Deployment: pods that somebody else (the lab, a cluster) will make."""

    namespace: str
    name: str
    replicas: int
    pod: Pod  # id.name is the workload's name
    origin: Origin
