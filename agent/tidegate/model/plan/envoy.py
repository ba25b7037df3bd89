"""xDS resources as the compiler makes them: proto-JSON with the objects that they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.model.origin import Origin

# Short names used as keys of Plan.envoy and in `tidegate compile`.
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
class EnvoyResource:
    """One xDS resource as proto-JSON, with the objects that it was made from."""

    name: str
    body: Mapping[str, Any]  # without @type
    origins: tuple[Origin, ...] = ()
