"""Who asks for configuration: what an xDS node says of itself. Pure, and nothing in it is believed to be true.

Istio's sidecars and gateways have TYPE~ADDRESS~POD.NAMESPACE~DOMAIN as their id and metadata beside it; an Envoy that
somebody started by hand has any id. A gRPC client says GENERATOR: grpc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from tidegate.compile.envoy.protojson import Json, ads
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress, parse_ip
from tidegate.model.plan.envoy import EnvoyResource

DEFAULT_NAMESPACE = "default"
XDS_CLUSTER = "xds_cluster"  # of the bootstrap in Envoy's first tutorials, and of the API document that we follow
_MOST_LABELS = 64
_MOST_ADDRESSES = 16


class Flavour(Enum):
    """What kind of data plane a client is."""

    SIDECAR = "sidecar"  # an Envoy beside a pod
    ROUTER = "router"  # a gateway's Envoy
    GRPC = "grpc"  # a gRPC channel or server


@dataclass(frozen=True, slots=True)
class Sources:
    """How a client is told to ask for what a resource refers to."""

    cluster: str = ""  # the client's name for its xDS cluster; empty: over the aggregated stream itself
    delta: bool = False

    def as_json(self) -> Json:
        """envoy.config.core.v3.ConfigSource. New each time: bodies share nothing."""
        if not self.cluster:
            return ads()
        return {
            "api_config_source": {
                "api_type": "DELTA_GRPC" if self.delta else "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": self.cluster}}],
            },
            "resource_api_version": "V3",
            "initial_fetch_timeout": "0s",
        }


def asking(sources: Sources, item: EnvoyResource) -> EnvoyResource:
    """A resource that was made for who asks over one stream, for a client that asks so."""
    if not sources.cluster:
        return item
    plain = item.plain
    body = _asking(sources, item.body)
    return replace(item, body=body, plain=None if plain is None else lambda: asking(sources, plain()))


def _asking(sources: Sources, value: Any) -> Any:
    if isinstance(value, list):
        return [_asking(sources, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "ads" in value and "resource_api_version" in value:
        waits = {key: value[key] for key in ("initial_fetch_timeout",) if key in value}
        return {**sources.as_json(), **waits}
    return {key: _asking(sources, item) for key, item in value.items()}


@dataclass(frozen=True, slots=True)
class Client:
    """Everything that the resources of a client depend on; clients that are equal share them."""

    flavour: Flavour = Flavour.SIDECAR
    pod: WorkloadId | None = None
    namespace: str = DEFAULT_NAMESPACE
    labels: tuple[tuple[str, str], ...] = ()  # sorted
    addresses: tuple[IPAddress, ...] = ()
    node: str = ""  # name of the machine; empty: not known
    captured: bool = False  # its connections come with the address that was dialled
    sources: Sources = Sources()
    known: bool = False  # to be of its namespace, whose Secrets it may have; else it only says so
    metadata: tuple[tuple[str, str], ...] = ()  # of what it says of itself, what EnvoyFilters ask for; sorted
    said: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)  # all


def client(node_id: str, metadata: Mapping[str, Any], sources: Sources = Sources(), realm: str = "") -> Client:
    """Who a node is. What is not as Istio writes it is left out: a client is never refused for what it says.

    realm: the namespace of which it is known to be, whatever it says; empty: nobody knows.
    """
    parts = node_id.split("~")
    istio = len(parts) == 4 and parts[0] in ("sidecar", "router")
    name, _, namespace = parts[2].partition(".") if istio else ("", "", "")
    name = _text(metadata, "NAME") or name
    namespace = realm or _text(metadata, "NAMESPACE") or namespace
    written = _text(metadata, "INSTANCE_IPS").split(",") or []
    addresses = [found for text in [*written, parts[1] if istio else ""] if (found := _address(text))]
    flavour = Flavour.ROUTER if istio and parts[0] == "router" else Flavour.SIDECAR
    if _text(metadata, "GENERATOR") == "grpc":
        flavour = Flavour.GRPC
    # Without Istio's id nobody has set up interception for it: it listens where clients can name it.
    captured = istio and _text(metadata, "INTERCEPTION_MODE") != "NONE"
    return Client(
        flavour,
        WorkloadId(namespace, name) if name and namespace else None,
        namespace or DEFAULT_NAMESPACE,
        _labels(metadata.get("LABELS")),
        tuple(dict.fromkeys(addresses))[:_MOST_ADDRESSES],
        _text(metadata, "NODE_NAME"),
        captured and flavour is Flavour.SIDECAR,
        Sources(_text(metadata, "XDS_CLUSTER") or sources.cluster, sources.delta) if sources.cluster else sources,
        known=bool(realm),
        said={key: value for key, value in metadata.items() if isinstance(value, str)},
    )


def _text(metadata: Mapping[str, Any], key: str) -> str:
    found = metadata.get(key)
    return found if isinstance(found, str) else ""


def _labels(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        return ()
    found = ((k, v) for k, v in value.items() if isinstance(k, str) and isinstance(v, str))
    return tuple(sorted(found))[:_MOST_LABELS]


def _address(text: str) -> IPAddress | None:
    try:
        return parse_ip(text.strip())
    except ValueError:
        return None
