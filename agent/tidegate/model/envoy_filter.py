"""EnvoyFilter after reading: changes to what Envoy is told, one after the other, each with whom and what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tidegate.model.kube import NO_AGE, Age
from tidegate.model.names import ROOT_NAMESPACE
from tidegate.model.net import IPNetwork
from tidegate.model.origin import Origin
from tidegate.model.selectors import selects

# The version of Istio's API that our proxies follow: what match.proxy.proxyVersion is held against.
PROXY_VERSION = "1.32.0"


class ApplyTo(Enum):
    """What a patch changes, by Istio's names."""

    LISTENER = "LISTENER"
    LISTENER_FILTER = "LISTENER_FILTER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"
    BOOTSTRAP = "BOOTSTRAP"


LISTENER_SIDE = frozenset(
    {
        ApplyTo.LISTENER,
        ApplyTo.LISTENER_FILTER,
        ApplyTo.FILTER_CHAIN,
        ApplyTo.NETWORK_FILTER,
        ApplyTo.HTTP_FILTER,
        ApplyTo.EXTENSION_CONFIG,
    }
)
ROUTE_SIDE = frozenset({ApplyTo.ROUTE_CONFIGURATION, ApplyTo.VIRTUAL_HOST, ApplyTo.HTTP_ROUTE})


class PatchOperation(Enum):
    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"
    MERGE_AND_REPLACE_LIST = "MERGE_AND_REPLACE_LIST"


class Context(Enum):
    """Which proxies, and which of their sides."""

    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"
    WAYPOINT = "WAYPOINT"


class ChainProtocol(Enum):
    """Which filter chains, by what they speak."""

    ALL = "ALL"
    HTTP = "HTTP"
    TCP = "TCP"


class RouteAction(Enum):
    """Which routes, by what they do."""

    ANY = "ANY"
    ROUTE = "ROUTE"
    REDIRECT = "REDIRECT"
    DIRECT_RESPONSE = "DIRECT_RESPONSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerMatch:
    """Conditions on a listener, its chains and its filters; what is empty or 0 is no condition."""

    port: int = 0  # of the service
    port_name: str = ""  # how the name of the service's port begins, in whatever case
    name: str = ""
    addresses: tuple[IPNetwork, ...] = ()  # the listener has one of them
    protocol: ChainProtocol = ChainProtocol.ALL
    listener_filter: str = ""
    chain: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    destination_port: int = 0
    filter: str = ""
    sub_filter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """Conditions on a route configuration, its virtual hosts and routes; what is empty or 0 is no condition."""

    port: int = 0
    port_name: str = ""
    gateway: str = ""
    name: str = ""
    host: str = ""  # name of a virtual host
    domain: str = ""  # one of its domains
    route: str = ""
    action: RouteAction = RouteAction.ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMatch:
    """Conditions on a cluster; what is empty or 0 is no condition."""

    port: int = 0
    service: str = ""  # full name
    subset: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One change. value: proto-JSON of the message that apply_to stands for; empty for REMOVE."""

    apply_to: ApplyTo
    operation: PatchOperation
    context: Context = Context.ANY
    value: Mapping[str, Any] = field(default_factory=dict)
    listener: ListenerMatch | None = None
    routes: RouteMatch | None = None
    cluster: ClusterMatch | None = None
    proxy_version: str = ""  # regular expression
    proxy_metadata: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = Origin("EnvoyFilter", "", "")  # the line of the patch
    index: int = 0

    @property
    def title(self) -> str:
        """How it is called in status."""
        return f"EnvoyFilter {self.origin.namespace}/{self.origin.name} patch {self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyFilter:
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)  # of the pods that it is for; empty: all
    priority: int = 0
    patches: tuple[Patch, ...] = ()
    age: Age = NO_AGE
    origin: Origin = Origin("EnvoyFilter", "", "")

    def concerns(self, namespace: str, labels: Mapping[str, str], root: str = ROOT_NAMESPACE) -> bool:
        """Whether it is for a pod: of its own namespace, or of any if it stands in the root's."""
        return self.namespace in (namespace, root) and selects(self.labels, labels)

    def order(self, root: str = ROOT_NAMESPACE) -> tuple[int, bool, Age, str, str]:
        """Who comes first: the lower priority, then the root namespace, then the older one, then by name."""
        return (self.priority, self.namespace != root, self.age, self.name, self.namespace)
