"""The services by which clients ask for configuration, by their names in Envoy's API: all types over one stream, or a
service for each type; and the sockets where more is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS
from tidegate.xds.encode import KINDS

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
CSDS = "envoy.service.status.v3.ClientStatusDiscoveryService"


@dataclass(frozen=True, slots=True)
class NamespaceSocket:
    """A unix socket whose clients are of one namespace and may have its Secrets."""

    namespace: str
    path: Path


@dataclass(frozen=True, slots=True)
class DiscoveryService:
    """One service: its methods in both dialects, the one that answers once, and what it is about."""

    name: str
    sotw: str
    delta: str
    fetch: str
    kinds: Sequence[str]


def _of_one(kind: str, package: str, noun: str) -> DiscoveryService:
    plural = f"{noun}s"
    name = f"envoy.service.{package}.v3.{noun}DiscoveryService"
    return DiscoveryService(name, f"Stream{plural}", f"Delta{plural}", f"Fetch{plural}", (kind,))


SERVICES: Mapping[str, DiscoveryService] = {
    service.name: service
    for service in (
        DiscoveryService(ADS, "StreamAggregatedResources", "DeltaAggregatedResources", "", KINDS),
        _of_one(LISTENERS, "listener", "Listener"),
        _of_one(ROUTES, "route", "Route"),
        _of_one(CLUSTERS, "cluster", "Cluster"),
        _of_one(ENDPOINTS, "endpoint", "Endpoint"),
        _of_one(SECRETS, "secret", "Secret"),
    )
}
