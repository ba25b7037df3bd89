"""What clients have of their configuration, as others read it: CSDS, and Istio's istio.io/debug/syncz. Pure.

Both are an envoy.service.status.v3.ClientConfig for each client. Older readers of syncz know only its deprecated member
xds_config, so that is filled, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.admin.v3 import config_dump_shared_pb2
from envoy.config.core.v3 import base_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, TYPE_URLS
from tidegate.xds.encode import Encoded
from tidegate.xds.session import Session
from tidegate.xds.status import ClientRefusal, OthersStatus
from tidegate.xds.watch import Watch

SYNCZ = "istio.io/debug/syncz"
CONFIG_DUMP = "istio.io/debug/config_dump"
DEBUG = "istio.io/debug"  # how the types begin by which istioctl asks
KINDS = (LISTENERS, ROUTES, ENDPOINTS, CLUSTERS, SECRETS)
MOST_REFUSALS = 50  # that a status names
_DEPRECATED = {
    LISTENERS: "listener_config",
    ROUTES: "route_config",
    ENDPOINTS: "endpoint_config",
    CLUSTERS: "cluster_config",
}
_ACKED, _NACKED = 3, 4  # envoy.admin.v3.ClientResourceStatus


@dataclass(frozen=True, slots=True)
class Known:
    """One client: its node as it told it, its streams, and when each kind was last answered, in epoch seconds."""

    node: base_pb2.Node
    sessions: Sequence[Session]
    answered: dict[str, float]

    @property
    def asks(self) -> bool:
        """Whether it asked for any configuration; who only asks about others did not."""
        return any(watch.subscribed for session in self.sessions for watch in session.watches.values())

    def watches(self, kind: str) -> list[Watch]:
        """Those of its streams' watches that are about a kind."""
        return [s.watches[kind] for s in self.sessions if s.watches[kind].subscribed]


def config_status(watches: Collection[Watch]) -> Any:
    """envoy.service.status.v3.ConfigStatus of one kind."""
    if not any(watch.last_nonce for watch in watches):
        return csds_pb2.NOT_SENT
    if any(watch.withheld() for watch in watches):
        return csds_pb2.ERROR
    busy = any(watch.unanswered is not None or watch.late or watch.busy for watch in watches)
    return csds_pb2.STALE if busy else csds_pb2.SYNCED


def syncz(known: Known, version: str) -> csds_pb2.ClientConfig:
    """A client in a line of `istioctl proxy-status`: a status for each kind that it asks for."""
    config = csds_pb2.ClientConfig()
    config.node.id = shown_id(known.node)
    for key in ("CLUSTER_ID", "NAMESPACE", "ISTIO_VERSION"):
        told = known.node.metadata.fields.get(key)
        config.node.metadata.fields[key].string_value = told.string_value if told else ""
    if not config.node.metadata.fields["ISTIO_VERSION"].string_value:
        config.node.metadata.fields["ISTIO_VERSION"].string_value = version
    for kind in KINDS:
        watches = known.watches(kind)
        status = config_status(watches)
        if kind in _DEPRECATED:
            older = config.xds_config.add(status=status)
            getattr(older, _DEPRECATED[kind]).SetInParent()
        if not watches:
            continue  # istioctl counts what is named here as subscribed
        one = config.generic_xds_configs.add(type_url=TYPE_URLS[kind], config_status=status)
        _stamp(one.last_updated, known.answered.get(kind))
        refused = [rejection for watch in watches for rejection in watch.withheld()]
        if refused:
            one.error_state.details = "; ".join(f"{rejection.name}: {rejection.detail}" for rejection in refused)
    return config


def others_status(clients: Collection[Known]) -> OthersStatus:
    """How these clients do, all in all."""
    found = [
        ClientRefusal(shown_id(known.node), refusal.kind, refusal.name, refusal.detail, refusal.origins)
        for known in clients
        for kind in KINDS
        for watch in known.watches(kind)
        for refusal in watch.withheld()
    ]
    synced = sum(
        all(config_status(known.watches(kind)) == csds_pb2.SYNCED for kind in KINDS if known.watches(kind))
        for known in clients
    )
    return OthersStatus(synced=synced, refused=tuple(found[:MOST_REFUSALS]), refusals=len(found))


def client_status(known: Known, contents: bool) -> csds_pb2.ClientConfig:
    """A client resource by resource. contents: with the resources themselves, but for Secrets."""
    config = csds_pb2.ClientConfig(node=known.node)
    for kind in KINDS:
        for watch in known.watches(kind):
            _resources(config, watch, known.answered.get(kind), contents)
    return config


def config_dump(known: Known) -> list[Any]:
    """What a client should have, without Secrets: a message of Envoy's config_dump for each kind. By it
    `istioctl proxy-status POD` compares it with what the client's Envoy has."""
    clusters, routes = config_dump_shared_pb2.ClustersConfigDump(), config_dump_shared_pb2.RoutesConfigDump()
    listeners, endpoints = config_dump_shared_pb2.ListenersConfigDump(), config_dump_shared_pb2.EndpointsConfigDump()
    for encoded in _wanted(known, CLUSTERS):
        _put(clusters.dynamic_active_clusters.add(version_info=encoded.version).cluster, CLUSTERS, encoded)
    for encoded in _wanted(known, LISTENERS):
        state = listeners.dynamic_listeners.add(name=encoded.name).active_state
        state.version_info = encoded.version
        _put(state.listener, LISTENERS, encoded)
    for encoded in _wanted(known, ROUTES):
        _put(routes.dynamic_route_configs.add(version_info=encoded.version).route_config, ROUTES, encoded)
    for encoded in _wanted(known, ENDPOINTS):
        _put(endpoints.dynamic_endpoint_configs.add(version_info=encoded.version).endpoint_config, ENDPOINTS, encoded)
    return [clusters, listeners, routes, endpoints]


def _put(place: Any, kind: str, encoded: Encoded) -> None:
    place.type_url, place.value = TYPE_URLS[kind], encoded.data


def _wanted(known: Known, kind: str) -> Iterator[Encoded]:
    """The resources of a kind that a client asked for, by name."""
    for watch in known.watches(kind):
        yield from (encoded for name, encoded in sorted(watch.target.items()) if watch.covers(name))


def _resources(config: csds_pb2.ClientConfig, watch: Watch, answered: float | None, contents: bool) -> None:
    url, status = TYPE_URLS[watch.kind], config_status([watch])
    refused = {rejection.name: rejection for rejection in watch.withheld()}
    for name in sorted({*watch.held, *refused, *(watch.names & watch.target.keys())}):
        held, rejection = watch.held.get(name), refused.get(name)
        one = config.generic_xds_configs.add(type_url=url, name=name, config_status=status)
        if held is not None:
            one.version_info, one.client_status = held.version, _ACKED
            _stamp(one.last_updated, answered)
            # Whoever asks here is not who may have a key.
            if contents and held.encoded is not None and watch.kind != SECRETS:
                one.xds_config.type_url, one.xds_config.value = url, held.encoded.data
        if rejection is not None:
            one.client_status, one.config_status = _NACKED, csds_pb2.ERROR
            one.error_state.details, one.error_state.version_info = rejection.detail, rejection.version


def _stamp(field: Timestamp, seconds: float | None) -> None:
    if seconds is not None:
        field.FromNanoseconds(int(seconds * 1_000_000_000))


def shown_id(node: base_pb2.Node) -> str:
    """POD.NAMESPACE of a node with Istio's id, as istioctl names it; else the id itself."""
    parts = node.id.split("~")
    return parts[2] if len(parts) == 4 else str(node.id)


def chosen(known: Iterable[Known], names: Collection[str]) -> list[Known]:
    """Clients with these ids, in either form; all without names. By id, so that the order is nobody's."""
    found = [k for k in known if k.asks and (not names or {k.node.id, shown_id(k.node)}.intersection(names))]
    return sorted(found, key=lambda k: str(k.node.id))


def matches(known: Known, matchers: Sequence[Any]) -> bool:
    """Whether any of the NodeMatchers of a request fits by its node_id; none = everybody. Raises ValueError for a
    matcher that says anything else."""
    fitting = [_fits(known.node.id, matcher) for matcher in matchers]
    return not fitting or any(fitting)


def _fits(node_id: str, matcher: Any) -> bool:
    how = matcher.node_id.WhichOneof("match_pattern")
    if matcher.node_metadatas or how not in ("exact", "prefix", "suffix", "contains"):
        raise ValueError("clients are chosen by node_id with exact, prefix, suffix or contains")
    value, given = getattr(matcher.node_id, how), node_id
    if matcher.node_id.ignore_case:
        value, given = value.lower(), given.lower()
    return bool(
        {
            "exact": given == value,
            "prefix": given.startswith(value),
            "suffix": given.endswith(value),
            "contains": value in given,
        }[how]
    )
