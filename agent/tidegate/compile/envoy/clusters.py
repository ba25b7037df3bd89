"""Service ports -> Envoy clusters and endpoints, named as Istio names them. Pure, one key at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tidegate.compile.envoy import bounds, http_options, pools, private
from tidegate.compile.envoy.assignment import assignment
from tidegate.compile.envoy.identities import names_in, protocols, server_name
from tidegate.compile.envoy.named import Found, found_by_envoy, named_in_subset
from tidegate.compile.envoy.protojson import Json, ads, duration, named
from tidegate.compile.envoy.upstream_tls import of_connections, secret_names, transport_socket
from tidegate.compile.facts import Endpoint
from tidegate.compile.localities import is_weighted
from tidegate.compile.registry import Registry
from tidegate.compile.rules import LABELS, DestinationPolicy, Rules, balancer
from tidegate.model.kube import Protocol, Service, ServicePort
from tidegate.model.mesh_config import MeshConfig
from tidegate.model.plan.envoy import ENDPOINTS, SECRETS, EnvoyResource, ResourceRef
from tidegate.model.selectors import selects
from tidegate.model.traffic import Balancing, ClientTls, ConnectionPool, Subset, TlsMode, TrafficPolicy, Warmup

_CONNECT_TIMEOUT_MS = 10_000
_NO_RUNTIME = "("  # Envoy wants the name of a key; nobody sets this one
_LB_HEADLESS = "+lb"
_PATCHED = "~"
# Where a proxy that is not ours has what the mesh gave to its workload, as Istio's had them before it asked for them.
OWN_CHAIN, OWN_KEY, OWN_ROOTS = "/etc/certs/cert-chain.pem", "/etc/certs/key.pem", "/etc/certs/root-cert.pem"


@dataclass(frozen=True, slots=True, order=True)
class ClusterKey:
    """What one cluster is for; str() is its name, in the four fields of Istio's: outbound|PORT|SUBSET|FQDN.

    What Istio has no field for stands behind the subset, where no name of a subset can be mistaken for it: matches by
    port and host (EnvoyFilter, dashboards, alerts) then still find the cluster.
    """

    fqdn: str
    port: int
    subset: str = ""
    client: str = ""  # Rules.policy_scope() of the clients, if their policy is not everybody's: SUBSET@CLIENT
    lb_headless: bool = False  # Envoy chooses a pod of a headless service, see goes_where_dialled(): SUBSET+lb
    patches: str = ""  # which patches of EnvoyFilters it has, see patches/selection.py: SUBSET~PATCHES

    @property
    def variant(self) -> str:
        """The third field: SUBSET[@CLIENT][+lb][~PATCHES]."""
        client = f"@{self.client}" if self.client else ""
        patched = f"{_PATCHED}{self.patches}" if self.patches else ""
        return f"{self.subset}{client}{_LB_HEADLESS if self.lb_headless else ''}{patched}"

    @property
    def client_labels(self) -> Mapping[str, str]:
        """Labels of the clients by which their endpoints are put in order."""
        return dict(word.split("=", 1) for word in self.client.split(";")[1:])

    def __str__(self) -> str:
        return f"outbound|{self.port}|{self.variant}|{self.fqdn}"

    @classmethod
    def parse(cls, name: str) -> ClusterKey | None:
        """The key that a name is of; None if it is no such name."""
        direction, _, rest = name.partition("|")
        port, _, rest = rest.partition("|")
        variant, _, fqdn = rest.partition("|")
        if direction != "outbound" or not port.isdecimal() or not fqdn:
            return None
        variant, _, patches = variant.partition(_PATCHED)
        lb_headless = variant.endswith(_LB_HEADLESS)
        subset, _, client = variant.removesuffix(_LB_HEADLESS).partition("@")
        return cls(fqdn, int(port), subset, client, lb_headless, patches)


def cluster(
    registry: Registry,
    rules: Rules,
    key: ClusterKey,
    *,
    credentials: bool = False,
    of_pods: bool = True,
    own: str = "",
) -> EnvoyResource | None:
    """The cluster of a key; None if there is no such service port or no rule defines the subset.

    credentials: whether Secrets are those of one namespace, by their names, as at a gateway. of_pods: whether pods'
    Secrets can be asked for. own: the Secret of the one client's certificate of the mesh; "" = each pod shows its own.
    """
    found = _found(registry, rules, key)
    if found is None:
        return None
    service, port, policy, _ = found
    name = str(key)
    origins = (service.origin, *policy.origins)
    itself = named_in_subset(registry, service, port, policy.subset(key.subset))

    def made(policy: DestinationPolicy, plain: Callable[[], EnvoyResource] | None) -> EnvoyResource:
        said = policy.for_port(key.port, key.subset)
        named = said.tls.credential if credentials and said.tls else credential(said, key.client) if of_pods else ""
        settings = of_the_mesh(as_told(said, service, named), registry, rules.mesh, service, key, own, of_pods)
        body = _cluster(name, service, port, settings, policy.subset(key.subset), key.lb_headless, itself, rules.mesh)
        refs = {ResourceRef(SECRETS, secret) for secret in secret_names(settings)}
        if body["type"] == "EDS":
            refs.add(ResourceRef(ENDPOINTS, name))
        return EnvoyResource(name, body, origins, frozenset(refs), plain=plain)

    return made(policy, (lambda: made(policy.plain, None)) if policy.origins else None)


def endpoints(registry: Registry, rules: Rules, key: ClusterKey) -> EnvoyResource | None:
    """The endpoints of the cluster of a key; None if there is none, or if it goes where the client dialled."""
    found = _found(registry, rules, key)
    if found is None:
        return None
    service, port, policy, subset = found
    settings = policy.for_port(port.port, key.subset)
    if service.external_name or goes_where_dialled(service, settings, key.subset, key.lb_headless):
        return None
    if named_in_subset(registry, service, port, subset) is not None:
        return None
    name = str(key)
    members = registry.near(service, in_family(service, _in_subset(registry.endpoints(service, port), subset)))
    groups = registry.spread(settings, members, key.client_labels)
    return EnvoyResource(name, assignment(name, groups), (service.origin, *policy.origins))


def _found(
    registry: Registry, rules: Rules, key: ClusterKey
) -> tuple[Service, ServicePort, DestinationPolicy, Subset | None] | None:
    service = registry.services.get(key.fqdn)
    port = service.port(key.port) if service else None
    if service is not None and service.external_name:
        port = port or ServicePort(key.port, protocol=Protocol.HTTP)  # its ports say nothing about what is behind it
    if service is None or port is None:
        return None
    policy = rules.policy(service.id, key.client or service.id.namespace)
    subset = policy.subset(key.subset) if key.subset else None
    return None if key.subset and subset is None else (service, port, policy, subset)


def in_family(service: Service, found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """One address per pod and port (several where somebody wrote them down): in the family of the service's first
    address when the pod has one, else its primary."""
    version = service.addresses[0].version if service.addresses else 0
    best: dict[object, Endpoint] = {}
    for endpoint in found:
        key = (endpoint.pod.id if endpoint.pod else endpoint.address, endpoint.port)
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
    return registry.near(service, in_family(service, _in_subset(registry.endpoints(service, port), defined)))


def _in_subset(found: tuple[Endpoint, ...], subset: Subset | None) -> tuple[Endpoint, ...]:
    if subset is None:
        return found
    return tuple(e for e in found if selects(subset.labels, e.labels))


def _cluster(
    name: str,
    service: Service,
    port: ServicePort,
    settings: TrafficPolicy,
    subset: Subset | None,
    lb_headless: bool,
    itself: Found,
    mesh: MeshConfig,
) -> Json:
    pool = _pool(settings, port)
    body: Json = {
        "name": name,
        "connect_timeout": duration(pool.connect_timeout_ms or mesh.connect_timeout_ms or _CONNECT_TIMEOUT_MS),
        "circuit_breakers": pools.breakers(pool, settings.retry_budget, mesh.compat),
        "upstream_bind_config": _bound_in_the_pod(),
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
        "metadata": {
            "filter_metadata": {
                "istio": {
                    "services": [{"host": service.id.fqdn, "name": service.id.name, "namespace": service.id.namespace}],
                    **({"subset": subset.name} if subset else {}),
                    # As upstream tells filters, and those who read access logs, of hosts outside of the mesh.
                    **({"external": True} if service.external and not service.external.in_mesh else {}),
                }
            }
        },
    }
    if service.external_name:
        body.update(_resolved(name, service.external_name.rstrip("."), port.port, mesh.dns_refresh_ms))
    else:
        body.update(_balancing(name, service, settings, subset, lb_headless, mesh))
        found_by_envoy(body, service, port, itself, mesh.dns_refresh_ms)
    body["typed_extension_protocol_options"] = {
        http_options.UPSTREAM_OPTIONS: http_options.upstream(port, pool, settings.outlier, settings.tls)
    }
    if keepalive := pools.keepalive(pool):
        body["upstream_connection_options"] = {"tcp_keepalive": keepalive}
    # A request that comes to such a port after all says its host itself.
    opened = settings if port.protocol.is_http else of_connections(settings, service.id.fqdn)
    if (socket := transport_socket(opened)) is not None:
        body["transport_socket"] = socket
    if body["type"] == "EDS" and is_weighted(settings):
        body["common_lb_config"] = {"locality_weighted_lb_config": {}}
    if settings.outlier is not None:
        body["outlier_detection"] = pools.outlier_detection(settings.outlier, mesh.compat)
        body.setdefault("common_lb_config", {})["healthy_panic_threshold"] = {
            "value": settings.outlier.min_health_percent
        }
    return body


def _pool(settings: TrafficPolicy, port: ServicePort) -> ConnectionPool:
    """Nobody says what a proxy speaks to whom connections are handed in a request, if h2UpgradePolicy does not."""
    pool = settings.connection_pool or ConnectionPool()
    if settings.tunnel is None or port.protocol.is_http:
        return pool
    return replace(pool, h2_upgrade=bool(pool.h2_upgrade), client_protocol=False)


def settings_of(registry: Registry, rules: Rules, key: ClusterKey) -> TrafficPolicy:
    """What holds at the cluster of a key; nothing if there is no such service."""
    service = registry.services.get(key.fqdn)
    if service is None:
        return TrafficPolicy()
    return rules.policy(service.id, key.client or service.id.namespace).for_port(key.port, key.subset)


def passthrough(mesh: MeshConfig) -> EnvoyResource:
    """Where a client dialled whom nobody in the registry has."""
    name = private.PASSTHROUGH
    body: Json = {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": duration(mesh.connect_timeout_ms or _CONNECT_TIMEOUT_MS),
        "circuit_breakers": pools.breakers(ConnectionPool(), None, mesh.compat),
        "upstream_bind_config": _bound_in_the_pod(),
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
        "typed_extension_protocol_options": {
            http_options.UPSTREAM_OPTIONS: http_options.upstream(
                ServicePort(80, protocol=Protocol.HTTP), ConnectionPool()
            )
        },
    }
    return EnvoyResource(name, body)


def follows_client(rules: Rules, service: Service, key: ClusterKey) -> bool:
    """Whether a rule says that the protocol of a client is spoken to the server."""
    policy = rules.policy(service.id, key.client or service.id.namespace)
    pool = policy.for_port(key.port, key.subset).connection_pool
    return pool is not None and pool.client_protocol


def credential(settings: TrafficPolicy, client: str) -> str:
    """The Secret by which pods begin TLS, NAMESPACE/NAME; empty if there is none for them.

    client: as Rules.policy_scope() has it. Upstream's rule: it is for the pods that a rule selects, which are of its
    own namespace. Else whoever may write a rule for others would use keys of theirs.
    """
    namespace, _, rule = client.partition(LABELS)[0].partition("/")
    return f"{namespace}/{settings.tls.credential}" if rule and settings.tls and settings.tls.credential else ""


def as_told(settings: TrafficPolicy, service: Service, credential: str) -> TrafficPolicy:
    """The policy with the names that a ServiceEntry says of its servers' certificates, where the rule says none, and
    with the name under which Envoy asks for the Secret; empty where there is none for it."""
    tls = settings.tls
    if tls is None:
        return settings
    names = tls.names or (service.external.subject_alt_names if service.external else ())
    same = (names, credential) == (tls.names, tls.credential)
    return settings if same else replace(settings, tls=replace(tls, names=names, credential=credential))


def of_the_mesh(
    settings: TrafficPolicy,
    registry: Registry,
    mesh: MeshConfig,
    service: Service,
    key: ClusterKey,
    own: str = "",
    of_pods: bool = True,
) -> TrafficPolicy:
    """The policy with what mutual TLS of the mesh says by itself where neither the rule nor a ServiceEntry does: the
    name that is asked for, and that the server has to be who serves there. own, of_pods: see cluster()."""
    tls = settings.tls
    if tls is None or tls.mode is not TlsMode.ISTIO_MUTUAL:
        return settings
    port = service.port(key.port) or ServicePort(key.port)
    made = replace(
        tls,
        names=tls.names or names_in(mesh.trust_domains, registry.identities(service)),
        sni=tls.sni or server_name(key.port, key.subset, service.id.fqdn),
        protocols=protocols(port, settings.connection_pool or ConnectionPool()),
        own=own,
    )
    return replace(settings, tls=made if of_pods else in_one_container(made))


def in_one_container(tls: ClientTls) -> ClientTls:
    """Mutual TLS of the mesh for a proxy that is not ours, by the files that the mesh gave to its workload."""
    return replace(tls, mode=TlsMode.MUTUAL, certificate=OWN_CHAIN, key=OWN_KEY, ca=OWN_ROOTS)


def _resolved(name: str, host: str, port: int, refresh_ms: int) -> Json:
    """A name outside of the mesh, which Envoy resolves as the node does."""
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    return {
        "type": "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "dns_refresh_rate": duration(refresh_ms),
        "respect_dns_ttl": True,
        "wait_for_warm_on_init": False,  # nobody else waits for a name server
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def goes_where_dialled(service: Service, settings: TrafficPolicy, subset: str, lb_headless: bool = False) -> bool:
    """Whether the address that the application dialled is the endpoint, instead of one that Envoy chooses.

    A name of a headless service resolves to pods, and the client chose one of them. A subset is our choice again, and
    so is a pod for those who dialled another service, or another port, and are only routed here (lb_headless).
    """
    chosen = settings.load_balancer
    if chosen is not None and chosen.balancing is Balancing.PASSTHROUGH:
        return True
    return not lb_headless and (service.as_dialled or (service.headless and not subset))


def _balancing(
    name: str, service: Service, settings: TrafficPolicy, subset: Subset | None, lb_headless: bool, mesh: MeshConfig
) -> Json:
    chosen = balancer(service, settings, mesh)
    if goes_where_dialled(service, settings, subset.name if subset else "", lb_headless):
        return {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    out: Json = {"type": "EDS", "eds_cluster_config": {"eds_config": ads(), "service_name": name}}
    if chosen is not None and chosen.hash is not None:
        if chosen.hash.maglev_table is not None:
            out["lb_policy"] = "MAGLEV"
            if chosen.hash.maglev_table:
                out["maglev_lb_config"] = {"table_size": str(chosen.hash.maglev_table)}
        else:
            out["lb_policy"] = "RING_HASH"
            out["ring_hash_lb_config"] = {"minimum_ring_size": str(chosen.hash.ring_size)}
    else:
        policy = (chosen.balancing if chosen else Balancing.LEAST_REQUEST).value
        out["lb_policy"] = policy
        if chosen is not None and chosen.warmup is not None:
            out[f"{policy.lower()}_lb_config"] = {"slow_start_config": _slow_start(chosen.warmup)}
    return out


def _slow_start(warmup: Warmup) -> Json:
    out: Json = {"slow_start_window": duration(warmup.window_ms)}
    if warmup.aggression is not None:
        out["aggression"] = {"default_value": warmup.aggression, "runtime_key": _NO_RUNTIME}
    if warmup.minimum_percent is not None:
        out["min_weight_percent"] = {"value": warmup.minimum_percent}
    return out


def _bound_in_the_pod() -> Json:
    """Sockets are opened where filters.pod_sockets() says, with whatever address the namespace has on that way."""
    selector = "envoy.extensions.local_address_selectors.filter_state_override.v3.Config"
    return {
        "source_address": {"address": "0.0.0.0", "port_value": 0},
        "extra_source_addresses": [{"address": {"address": "::", "port_value": 0}}],
        "local_address_selector": named("envoy.upstream.local_address_selector.filter_state_override", selector),
    }
