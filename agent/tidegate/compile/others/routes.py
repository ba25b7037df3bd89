"""Route configurations of an Envoy beside a pod: one per port number, a virtual host for each service. Pure.

Who dialled what is not known here: the request's host says which service is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.others.clusters import PASSTHROUGH
from tidegate.compile.others.view import ClientView
from tidegate.compile.outbound.routes import SeenRoutes, foreign_hosts
from tidegate.model.kube import Service, ServicePort
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef
from tidegate.model.routing import LONGEST_BODY

PortServices = list[tuple[Service, ServicePort]]


def by_port(view: ClientView) -> dict[int, PortServices]:
    """HTTP service ports by number, the oldest service first."""
    out: dict[int, PortServices] = {}
    for service, port in view.ports():
        if port.protocol.is_http:
            out.setdefault(port.port, []).append((service, port))
    return out


def route_configuration(view: ClientView, number: int, served: PortServices) -> EnvoyResource:
    """Everything that requests to one port number may be meant for."""
    taken: set[str] = {"*"}
    hosts: list[Json] = []
    refs: set[ResourceRef] = set()
    origins: dict[Origin, None] = {}

    def add(name: str, domains: Iterable[str], seen: SeenRoutes) -> None:
        free = [domain for domain in dict.fromkeys(domains) if domain not in taken]
        if free and seen.routes:
            taken.update(free)
            hosts.append({"name": name, "domains": free, "routes": shown_routes(view, seen.routes, refs)})
            origins.update({seen.owner.origin: None} if seen.owner else {})

    for service, port in served:
        origins[service.origin] = None
        seen = view.routes.for_client(service, port, view.source)
        add(f"{service.id.fqdn}:{number}", _domains(view, service), seen)
    first = served[0]
    for host in foreign_hosts(view.registry, view.rules):
        add(f"{host}:{number}", (_authority(host),), view.routes.for_client(*first, view.source, host))
    hosts.append(_rest(view, first if len(served) == 1 else None, refs))
    body = {
        "name": str(number),
        "virtual_hosts": hosts,
        "validate_clusters": False,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": LONGEST_BODY,
    }
    return EnvoyResource(str(number), body, tuple(origins), frozenset(refs))


def _domains(view: ClientView, service: Service) -> Iterator[str]:
    yield from view.hosts(service)
    if service.headless:
        for host in view.hosts(service):
            yield f"*.{host}"  # of its pods
    for address in service.addresses:
        yield _authority(str(address))


def _authority(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _rest(view: ClientView, only: tuple[Service, ServicePort] | None, refs: set[ResourceRef]) -> Json:
    """What is for none of the hosts: on to where it was dialled, unless the mesh allows only what it knows; who dialled
    the proxy itself gets the port's only service, or is told that nobody is meant."""
    if view.client.captured and not view.registry_only:
        route = {"match": {"prefix": "/"}, "route": {"cluster": PASSTHROUGH, "timeout": "0s"}}
        return {"name": "allow_any", "domains": ["*"], "routes": [{"name": "allow_any", **route}]}
    if only is not None and not view.client.captured:
        seen = view.routes.for_client(*only, view.source)
        return {"name": "only_service", "domains": ["*"], "routes": shown_routes(view, seen.routes, refs)}
    everything: tuple[Json, ...] = ({"prefix": "/"}, {"connect_matcher": {}})
    blocked = [{"name": "block_all", "match": match, "direct_response": {"status": 502}} for match in everything]
    return {"name": "block_all", "domains": ["*"], "routes": blocked}


def shown_routes(view: ClientView, routes: list[Json], refs: set[ResourceRef]) -> list[Json]:
    """Routes with the names by which the client knows clusters. refs: gets those clusters."""

    def shown(name: str) -> str:
        key = ClusterKey.parse(name)
        told = view.shown(key) if key else name
        if key is not None:
            refs.add(ResourceRef(CLUSTERS, told))
        return told

    return [{**route, "route": _renamed(route["route"], shown)} if "route" in route else route for route in routes]


def _renamed(action: Mapping[str, Any], shown: Any) -> Json:
    out = dict(action)
    if "cluster" in out:
        out["cluster"] = shown(out["cluster"])
    if "weighted_clusters" in out:
        weighted = out["weighted_clusters"]
        out["weighted_clusters"] = {
            **weighted,
            "clusters": [{**entry, "name": shown(entry["name"])} for entry in weighted["clusters"]],
        }
    if "request_mirror_policies" in out:
        out["request_mirror_policies"] = [
            {**policy, "cluster": shown(policy["cluster"])} for policy in out["request_mirror_policies"]
        ]
    return out
