"""Service ports -> Envoy clusters and endpoints, named as Istio names them: outbound|PORT|SUBSET|FQDN."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.compile.facts import Endpoint
from tidegate.compile.protojson import ADS, Json, duration, socket_address, typed
from tidegate.compile.registry import Registry
from tidegate.compile.rules import DestinationPolicy, Rules
from tidegate.model.kube import Service, ServicePort
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.selectors import selects
from tidegate.model.traffic import Balancing, ConnectionPool, Outlier, Subset, TrafficPolicy

PASSTHROUGH = "PassthroughCluster"
_UNLIMITED = 2**32 - 1
_CONNECT_TIMEOUT_MS = 10_000
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_name(fqdn: str, port: int, subset: str = "", scope: str = "", chosen: bool = False) -> str:
    """Istio's name; scope is the client namespace of a policy that is not everybody's.

    chosen: the cluster of a headless service for clients that dialled another one, see goes_where_dialled().
    """
    return f"outbound{'_chosen' if chosen else ''}|{port}|{subset}|{fqdn}" + (f"@{scope}" if scope else "")


def passthrough_cluster() -> EnvoyResource:
    """Where a connection goes that reached Envoy for a service which is gone by now: what the application dialled."""
    body = {
        "name": PASSTHROUGH,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": duration(_CONNECT_TIMEOUT_MS),
        "circuit_breakers": _breakers(ConnectionPool()),
    }
    return EnvoyResource(PASSTHROUGH, body)


def service_clusters(
    registry: Registry, rules: Rules, service: Service, port: ServicePort, scope: str = "", chosen: bool = False
) -> tuple[dict[str, EnvoyResource], dict[str, EnvoyResource]]:
    """(clusters, endpoints) of a service port: all of it, and each of its subsets; with chosen only all of it."""
    client = scope or service.id.namespace
    policy = rules.policy(service.id, client)
    found = registry.endpoints(service, port)
    clusters: dict[str, EnvoyResource] = {}
    endpoints: dict[str, EnvoyResource] = {}
    origins = (service.origin, *policy.origins)
    for subset in (None, *(() if chosen else policy.subsets)):
        name = cluster_name(service.id.fqdn, port.port, subset.name if subset else "", scope, chosen)
        body = _cluster(name, service, port, policy, subset, chosen)
        clusters[name] = EnvoyResource(name, body, origins)
        if body["type"] == "EDS":
            members = _in_subset(found, subset)
            endpoints[name] = EnvoyResource(name, _assignment(name, service, members), origins)
    return clusters, endpoints


def in_family(service: Service, found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """One address per pod: in the family of the service's first address when the pod has one, else its primary."""
    version = service.addresses[0].version if service.addresses else 0
    best: dict[tuple[str, str], Endpoint] = {}
    for endpoint in found:
        key = (endpoint.pod.id.namespace, endpoint.pod.id.name)
        if key not in best or (best[key].address.version != version and endpoint.address.version == version):
            best[key] = endpoint
    return tuple(sorted(best.values(), key=lambda e: (e.address.version, int(e.address), e.port)))


def subset_endpoints(
    registry: Registry, service: Service, port: ServicePort, policy: DestinationPolicy, subset: str
) -> tuple[Endpoint, ...] | None:
    """The endpoints of a subset ("" = all), as Envoy gets them; None if no rule defines the subset."""
    defined = policy.subset(subset) if subset else None
    if subset and defined is None:
        return None
    return in_family(service, _in_subset(registry.endpoints(service, port), defined))


def _in_subset(found: tuple[Endpoint, ...], subset: Subset | None) -> tuple[Endpoint, ...]:
    if subset is None:
        return found
    return tuple(e for e in found if selects(subset.labels, e.pod.labels))


def _cluster(
    name: str, service: Service, port: ServicePort, policy: DestinationPolicy, subset: Subset | None, chosen: bool
) -> Json:
    settings = policy.for_port(port.port, subset.name if subset else "")
    pool = settings.connection_pool or ConnectionPool()
    body: Json = {
        "name": name,
        "connect_timeout": duration(pool.connect_timeout_ms or _CONNECT_TIMEOUT_MS),
        "circuit_breakers": _breakers(pool),
        "metadata": {
            "filter_metadata": {
                "istio": {
                    "services": [{"host": service.id.fqdn, "name": service.id.name, "namespace": service.id.namespace}],
                    **({"subset": subset.name} if subset else {}),
                }
            }
        },
    }
    body.update(_balancing(name, service, settings, subset, chosen))
    options = _http_options(port, pool)
    if options:
        body["typed_extension_protocol_options"] = {_HTTP_OPTIONS: options}
    if pool.keepalive_probes or pool.keepalive_time_ms or pool.keepalive_interval_ms:
        body["upstream_connection_options"] = {"tcp_keepalive": _keepalive(pool)}
    if settings.outlier is not None:
        body["outlier_detection"] = _outlier(settings.outlier)
        body.setdefault("common_lb_config", {})["healthy_panic_threshold"] = {
            "value": settings.outlier.min_health_percent
        }
    return body


def goes_where_dialled(service: Service, settings: TrafficPolicy, subset: str, chosen: bool = False) -> bool:
    """Whether the address that the application dialled is the endpoint, instead of one that Envoy chooses.

    A name of a headless service resolves to pods, and the client chose one of them. A subset is our choice again, and
    so is a pod for those who dialled another service, or another port, and are only routed here (chosen).
    """
    balancer = settings.load_balancer
    passthrough = balancer is not None and balancer.balancing is Balancing.PASSTHROUGH
    return passthrough or (service.headless and not subset and not chosen)


def _balancing(name: str, service: Service, settings: TrafficPolicy, subset: Subset | None, chosen: bool) -> Json:
    balancer = settings.load_balancer
    balancing = balancer.balancing if balancer else Balancing.LEAST_REQUEST
    if goes_where_dialled(service, settings, subset.name if subset else "", chosen):
        return {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    out: Json = {"type": "EDS", "eds_cluster_config": {"eds_config": ADS, "service_name": name}}
    if balancer is not None and balancer.hash is not None:
        if balancer.hash.maglev_table is not None:
            out["lb_policy"] = "MAGLEV"
            if balancer.hash.maglev_table:
                out["maglev_lb_config"] = {"table_size": str(balancer.hash.maglev_table)}
        else:
            out["lb_policy"] = "RING_HASH"
            out["ring_hash_lb_config"] = {"minimum_ring_size": str(balancer.hash.ring_size)}
    else:
        out["lb_policy"] = balancing.value
    return out


def _breakers(pool: ConnectionPool) -> Json:
    return {
        "thresholds": [
            {
                "max_connections": pool.max_connections or _UNLIMITED,
                "max_pending_requests": pool.max_pending or _UNLIMITED,
                "max_requests": pool.max_requests or _UNLIMITED,
                "max_retries": pool.max_retries or _UNLIMITED,
                "track_remaining": True,
            }
        ]
    }


def _http_options(port: ServicePort, pool: ConnectionPool) -> Json:
    http2 = port.protocol.is_http2 if pool.h2_upgrade is None else pool.h2_upgrade or port.protocol.is_http2
    common: Json = {}
    if pool.max_requests_per_connection:
        common["max_requests_per_connection"] = pool.max_requests_per_connection
    if pool.idle_timeout_ms is not None:
        common["idle_timeout"] = duration(pool.idle_timeout_ms)
    if not http2 and not common:
        return {}
    explicit: Json = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    out = typed(_HTTP_OPTIONS, explicit_http_config=explicit)
    if common:
        out["common_http_protocol_options"] = common
    return out


def _keepalive(pool: ConnectionPool) -> Mapping[str, int]:
    out = {
        "keepalive_probes": pool.keepalive_probes,
        "keepalive_time": pool.keepalive_time_ms // 1000,
        "keepalive_interval": pool.keepalive_interval_ms // 1000,
    }
    return {key: value for key, value in out.items() if value}


def _outlier(outlier: Outlier) -> Json:
    out: Json = {"enforcing_success_rate": 0}
    for key, value in (
        ("consecutive_5xx", outlier.consecutive_5xx),
        ("consecutive_gateway_failure", outlier.consecutive_gateway),
    ):
        if value is not None:
            out[f"enforcing_{key}"] = 100 if value else 0
            if value:
                out[key] = value
    if outlier.interval_ms:
        out["interval"] = duration(outlier.interval_ms)
    if outlier.base_ejection_ms:
        out["base_ejection_time"] = duration(outlier.base_ejection_ms)
        # Envoy's own ceiling is 300 s; a longer base needs a ceiling at least as high.
        out["max_ejection_time"] = duration(max(outlier.base_ejection_ms, 300_000))
    if outlier.max_ejection_percent:
        out["max_ejection_percent"] = outlier.max_ejection_percent
    return out


def _assignment(name: str, service: Service, found: tuple[Endpoint, ...]) -> Json:
    chosen = in_family(service, found)
    if not chosen:
        return {"cluster_name": name, "endpoints": []}
    hosts = [
        {
            "endpoint": {"address": socket_address(e.address, e.port)},
            "load_balancing_weight": 1,
            "metadata": {"filter_metadata": {"istio": {"workload": str(e.pod.id)}}},
        }
        for e in chosen
    ]
    # A locality needs a weight for clients that insist on one (gRPC without a proxy).
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts, "load_balancing_weight": len(hosts)}]}
