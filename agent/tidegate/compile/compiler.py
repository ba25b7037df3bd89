"""compile_plan: facts -> everything that must be true on this node. Pure and deterministic.

Order of the work is the table of contents of this room: index (registry, rules) -> destinations -> pods -> routes ->
listeners -> clusters and endpoints.
"""

from __future__ import annotations

from tidegate.compile.clusters import PASSTHROUGH, passthrough_cluster, service_clusters
from tidegate.compile.destinations import Claim, find_destinations
from tidegate.compile.facts import Facts
from tidegate.compile.listeners import chain_matcher, filter_chain, listener_name, pod_listener
from tidegate.compile.protojson import Json
from tidegate.compile.registry import Registry
from tidegate.compile.routes import ClusterKey, RouteCompiler
from tidegate.compile.rules import Rules, Source
from tidegate.model.kube import Pod
from tidegate.model.origin import Origin
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, EnvoyResource
from tidegate.model.plan.pods import PodPlan
from tidegate.model.tier import Tier
from tidegate.model.workload import Sandbox

Resources = dict[str, dict[str, EnvoyResource]]


def compile_plan(facts: Facts, generation: int = 0) -> Plan:
    """What must be true on the node of these facts."""
    registry, rules = Registry(facts), facts.rules
    found = find_destinations(registry, rules)
    http = [c for c in found.claims if c.tier is Tier.ENVOY]
    plans = tuple(_plan(facts, s, bool(http)) for s in facts.sandboxes)
    with_envoy = [s for s, p in zip(facts.sandboxes, plans, strict=True) if p.needs_envoy]
    envoy = _envoy(registry, rules, http, with_envoy)
    return Plan(
        generation=generation,
        pods=plans,
        destinations=found.rows,
        l4=found.l4,
        services=dict(sorted(found.numbers.items())),
        envoy=envoy,
    )


def _plan(facts: Facts, sandbox: Sandbox, any_http: bool) -> PodPlan:
    enrolled, reason = facts.enrolment(sandbox.id)
    wanted = enrolled and any_http
    name = listener_name(sandbox) if wanted else ""
    return PodPlan(sandbox.id, enrolled, reason, wanted, name, sandbox.netns_cookie)


def _envoy(registry: Registry, rules: Rules, http: list[Claim], sandboxes: list[Sandbox]) -> Resources:
    out: Resources = {LISTENERS: {}, ROUTES: {}, CLUSTERS: {}, ENDPOINTS: {}, SECRETS: {}}
    if not sandboxes:
        return out
    routes = RouteCompiler(registry, rules)
    chains: dict[tuple[str, str], Json] = {}
    matcher = chain_matcher(http)
    used: set[ClusterKey] = {ClusterKey(c.service.id.fqdn, c.port.port, "") for c in http}
    for sandbox in sandboxes:
        pod = registry.pods[sandbox.id]
        listed = []
        for claim in http:
            compiled = routes.compile(claim.service, claim.port, Source(pod.id.namespace, pod.labels))
            name = compiled.resource.name
            out[ROUTES][name] = compiled.resource
            used |= compiled.uses
            key = (claim.name, name)
            if key not in chains:
                chains[key] = filter_chain(claim, name)
            listed.append(chains[key])
        if sandbox.capture.envoy4:
            listener = pod_listener(sandbox, listed, matcher, _pod_origins(registry, pod))
            out[LISTENERS][listener.name] = listener
    _add_clusters(out, registry, rules, used)
    return {kind: dict(sorted(resources.items())) for kind, resources in out.items()}


def _add_clusters(out: Resources, registry: Registry, rules: Rules, used: set[ClusterKey]) -> None:
    out[CLUSTERS][PASSTHROUGH] = passthrough_cluster()
    for key in sorted(used, key=lambda k: (k.fqdn, k.port, k.scope, k.chosen)):
        service = registry.services[key.fqdn]
        port = service.port(key.port)
        if port is None:
            continue
        clusters, endpoints = service_clusters(registry, rules, service, port, key.scope, key.chosen)
        out[CLUSTERS].update(clusters)
        out[ENDPOINTS].update(endpoints)


def _pod_origins(registry: Registry, pod: Pod) -> tuple[Origin, ...]:
    namespace = registry.namespaces.get(pod.id.namespace)
    return (pod.origin, *((namespace.origin,) if namespace else ()))
