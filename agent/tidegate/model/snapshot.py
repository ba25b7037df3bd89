"""What compile() promises to the appliers: one frozen image of everything that must be true on this node.

Values only. Two compilations of equal inputs give equal snapshots, so appliers diff by equality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress


class Tier(IntEnum):
    """Who serves a destination; values equal enum tg_tier (a test compares them)."""

    DIRECT = 1
    FASTPATH = 2
    ENVOY = 3


class LoadBalancing(IntEnum):
    """L4 balancing of the fast path; values equal enum fp_lb (a test compares them)."""

    LEAST_REQUEST = 0
    ROUND_ROBIN = 1
    RANDOM = 2


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where a resource was written, for errors, NACKs and explain."""

    kind: str
    namespace: str
    name: str
    file: str = ""
    line: int = 0  # 1-based; 0 = unknown

    def __str__(self) -> str:
        where = f" ({self.file}:{self.line})" if self.file else ""
        return f"{self.kind} {self.namespace}/{self.name}{where}"


@dataclass(frozen=True, slots=True)
class Destination:
    """A row of kernel map tg_dests. port 0 = any port of the address."""

    address: IPAddress
    port: int
    tier: Tier
    service: int  # number of the service (Snapshot.services), 0 = none


@dataclass(frozen=True, slots=True)
class L4Endpoint:
    address: IPAddress
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class L4Service:
    """A service port served by the fast path."""

    number: int
    name: str  # FQDN:port
    addresses: tuple[tuple[IPAddress, int], ...]  # VIPs with the service port
    balancing: LoadBalancing
    endpoints: tuple[L4Endpoint, ...]


@dataclass(frozen=True, slots=True)
class EnvoyResource:
    """One xDS resource as proto-JSON, with the objects that it was made from."""

    name: str
    body: Mapping[str, Any]  # without @type
    origins: tuple[Origin, ...] = ()


# Short names used as keys of Snapshot.envoy and in `tidegate compile`.
LISTENERS = "listeners"
ROUTES = "routes"
CLUSTERS = "clusters"
ENDPOINTS = "endpoints"
SECRETS = "secrets"
TYPE_URLS: Mapping[str, str] = {
    LISTENERS: "type.googleapis.com/envoy.config.listener.v3.Listener",
    ROUTES: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    CLUSTERS: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    ENDPOINTS: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    SECRETS: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}


@dataclass(frozen=True, slots=True)
class PodPlan:
    """What one sandbox of this node should be."""

    id: WorkloadId
    enrolled: bool
    reason: str  # why (not), one phrase for `tidegate status`
    needs_envoy: bool  # a listener resource for it is in the snapshot
    listener: str = ""  # name of that resource


@dataclass(frozen=True, slots=True)
class Snapshot:
    generation: int
    pods: tuple[PodPlan, ...] = ()
    destinations: tuple[Destination, ...] = ()
    l4: tuple[L4Service, ...] = ()
    services: Mapping[int, str] = field(default_factory=dict)  # number -> FQDN:port
    envoy: Mapping[str, Mapping[str, EnvoyResource]] = field(default_factory=dict)  # LISTENERS.. -> name -> resource
