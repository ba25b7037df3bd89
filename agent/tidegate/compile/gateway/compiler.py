"""compile_gateway: facts -> everything that the Envoy of a gateway workload needs. Pure and deterministic.

The table of contents of this room: ports (which server has which) -> listeners (with tls) -> routes; clusters and their
endpoints are those of pods (compile/envoy/clusters.py), made when Envoy is led to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tidegate.compile.envoy.clusters import ClusterKey, cluster, endpoints
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.facts import Facts
from tidegate.compile.gateway.listeners import Around, Made, make_listeners
from tidegate.compile.gateway.ports import GatewayPort, LeftOut, gateways_of, ports_of
from tidegate.compile.gateway.routes import GatewayRoutes, RulesByGateway, by_gateway
from tidegate.compile.gateway.tls import Materials
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.model.gateway import Gateway, GatewayWorkload
from tidegate.model.plan.envoy import (
    CHECKS,
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    SCOPES,
    SECRETS,
    EnvoyResource,
    MadeOnDemand,
    Resources,
)


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """One frozen image of what a gateway workload should be."""

    gateways: tuple[Gateway, ...] = ()  # the oldest first
    ports: tuple[GatewayPort, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    envoy: Resources = field(default_factory=dict)


def compile_gateway(facts: Facts, workload: GatewayWorkload, files: Materials | None = None) -> GatewayPlan:
    """What must be true at this workload. files: what stands in files that Gateways name."""
    ports, left_out = ports_of(facts, workload)
    secrets = {s.name: s for s in facts.mesh.secrets if s.namespace == workload.namespace}
    materials = replace(files or Materials(), secrets=secrets)
    registry, rules, visible = Registry(facts.read), Rules(facts.read), visible_rules(facts, workload)
    compiler = GatewayRoutes(registry, rules, visible, workload)
    made = make_listeners(ports, Around(workload, materials, visible, compiler.cluster_key))
    routes = {name: compiler.compile(name, port, servers) for name, (port, servers) in made.routes.items()}
    return GatewayPlan(
        gateways=tuple(gateways_of(facts, workload)),
        ports=tuple(ports),
        left_out=(*left_out, *made.left_out),
        envoy=_resources(made, routes, registry, rules),
    )


def visible_rules(facts: Facts, workload: GatewayWorkload) -> RulesByGateway:
    """VirtualServices that exportTo shows to the workload, with the routes of those that they delegate to."""
    default = facts.mesh.config.virtual_services_to
    known = {id(vs): vs for group in facts.virtual_services.values() for vs in group}
    found = (vs for vs in known.values() if vs.visible_from(workload.namespace, default))
    return by_gateway(sorted(found, key=lambda vs: (vs.age, vs.name, vs.namespace)))


def _resources(made: Made, routes: dict[str, EnvoyResource], registry: Registry, rules: Rules) -> Resources:
    used = {name for resource in (*made.listeners.values(), *routes.values()) for name in resource.needs(CLUSTERS)}

    def by_key(make: Callable[[Registry, Rules, ClusterKey], EnvoyResource | None]) -> MadeOnDemand:
        def one(name: str) -> EnvoyResource | None:
            key = ClusterKey.parse(name)
            return make(registry, rules, key) if key else None

        return MadeOnDemand(one, lambda: used)

    return {
        LISTENERS: made.listeners,
        SCOPES: {},
        ROUTES: _on_demand(routes),
        CLUSTERS: by_key(lambda registry, rules, key: _own(cluster(registry, rules, key))),
        ENDPOINTS: by_key(endpoints),
        SECRETS: made.secrets,
        CHECKS: {},
    }


def _on_demand(resources: dict[str, EnvoyResource]) -> MadeOnDemand:
    return MadeOnDemand(resources.get, lambda: resources)


def _own(found: EnvoyResource | None) -> EnvoyResource | None:
    return None if found is None else _of_this_workload(found)


def _of_this_workload(resource: EnvoyResource) -> EnvoyResource:
    """As of a pod, but for two things. Sockets are opened in the gateway's own network namespace. And what a client
    speaks says nothing of the server: browsers speak HTTP/2 to whoever ends their TLS."""
    body = {key: value for key, value in resource.body.items() if key != "upstream_bind_config"}
    options = body.get("typed_extension_protocol_options")
    if options is not None:
        body["typed_extension_protocol_options"] = {key: _own_protocol(value) for key, value in options.items()}
    plain = resource.plain
    inner = None if plain is None else lambda: _of_this_workload(plain())
    return replace(resource, body=body, plain=inner)


def _own_protocol(options: Json) -> Json:
    """HttpProtocolOptions that follow the client -> those of HTTP/1.1."""
    follows = options.get("use_downstream_protocol_config")
    if follows is None:
        return options
    kept = {key: value for key, value in options.items() if key != "use_downstream_protocol_config"}
    return {**kept, "explicit_http_config": {"http_protocol_options": follows["http_protocol_options"]}}
