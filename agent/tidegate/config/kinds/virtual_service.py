"""VirtualService (networking.istio.io v1alpha3, v1beta1 and v1 are one schema)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.kinds.l4_routes import l4_targets, mixed_tunnels, tell_idle_subnets, tell_order, unused_routes
from tidegate.config.kinds.mesh_config import MESH_CONFIG, in_force
from tidegate.config.links import Links, Topic
from tidegate.config.named_services import services_of
from tidegate.config.schema import ApiModel, Finding, Report, listify
from tidegate.config.shapes.destination import export_to
from tidegate.config.shapes.envoy_text import is_host
from tidegate.config.shapes.http_route import HttpRouteDoc
from tidegate.config.shapes.l4_route import TcpRouteDoc, TlsRouteDoc
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.tree import YamlMap
from tidegate.model.gateway import Gateway, gateway_ref
from tidegate.model.hosts import in_cluster, overlap, resolve_host
from tidegate.model.routing import MESH, HttpRoute, RouteTarget, VirtualService
from tidegate.model.traffic import DestinationRule


class VirtualServiceSpec(ApiModel):
    hosts: list[str] = []
    gateways: list[str] = []
    http: list[HttpRouteDoc] = []
    tcp: list[TcpRouteDoc] = []
    tls: list[TlsRouteDoc] = []
    export_to: list[str] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "hosts", "gateways", "http", "tcp", "tls", "exportTo")
        if not any(k in data for k in ("http", "tcp", "tls")):
            report.say(data, None, say.NEEDS_ONE_OF(names="http, tls, tcp"))


class VirtualServiceDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: VirtualServiceSpec


def read(doc: VirtualServiceDoc, place: Place, report: Report) -> VirtualService:
    spec, namespace = doc.spec, place.key.namespace
    if not spec.hosts:
        _check_delegate(spec, report)
    on_mesh = not spec.gateways or MESH in spec.gateways
    hosts: list[str] = []
    for i, host in enumerate(spec.hosts):
        if not is_host(host):
            report.say(spec, ("hosts", i), say.NO_HOST(given=host))
        elif host == "*" and on_mesh:
            report.say(spec, ("hosts", i), say.GATEWAY_STAR())
        full = resolve_host(host, namespace)
        if full not in hosts:  # a short and a full name are often written side by side, and mean one host
            hosts.append(full)
    routes = [r.to_model(namespace, report) for r in spec.http]
    tcp = [r.to_model(hosts, namespace, report) for r in spec.tcp]
    tls = [r.to_model(hosts, namespace, report) for r in spec.tls]
    if not on_mesh:
        tell_idle_subnets([*spec.tcp, *spec.tls], report)
    if not report.failed:
        _tell_unreachable(spec, routes, report)
        tell_order(spec, "tcp", tcp, report)
        tell_order(spec, "tls", tls, report)
    return VirtualService(
        namespace=namespace,
        name=place.key.name,
        hosts=tuple(hosts),
        gateways=tuple(spec.gateways) or (MESH,),
        http=tuple(routes),
        tcp=tuple(tcp),
        tls=tuple(tls),
        export_to=export_to(spec, spec.export_to, report),
        age=place.age,
        origin=place.origin,
    )


def _check_delegate(spec: VirtualServiceSpec, report: Report) -> None:
    """One without hosts is there for others to delegate to, and says nothing but routes."""
    for key in ("gateways", "tcp", "tls"):
        if key in spec.at:
            report.say(spec, key, say.IN_DELEGATE(what=key))
    for i, route in enumerate(spec.http):
        if route.delegate is not None:
            report.say(spec, ("http", i, "delegate"), say.IN_DELEGATE(what="delegate"))


def _tell_unreachable(spec: VirtualServiceSpec, routes: list[HttpRoute], report: Report) -> None:
    """Routes behind one that takes every request of everybody."""
    taker = 0
    for index, route in enumerate(routes):
        if taker:
            report.say(spec, ("http", index), say.NEVER_REACHED(line=taker))
        elif route.delegate is not None:
            continue  # what it takes is said elsewhere
        elif not route.matches or any(m.catches_all and m.for_everybody for m in route.matches):
            taker = route.line


def provides(vs: VirtualService) -> Iterable[Topic]:
    hosts = [("host", host) for host in vs.hosts] if MESH in vs.gateways else []
    delegates = [("root", str(r.delegate)) for r in vs.http if r.delegate is not None]
    return [*hosts, *dict.fromkeys(delegates), ("virtual service", str(vs.id))]


def looks_at(vs: VirtualService) -> Iterable[Topic]:
    hosts = {*(target.host for target, _ in (*_targets(vs), *l4_targets(vs))), *vs.hosts}
    gateways = (("gateway", ref) for ref in _gateways(vs))
    delegates = {("virtual service", str(r.delegate)) for r in vs.http if r.delegate is not None}
    if delegates:
        delegates.add(MESH_CONFIG)
    own = [("host", host) for host in vs.hosts] if MESH in vs.gateways else []
    roots = [] if vs.hosts else [("root", str(vs.id))]
    named = ((topic, host) for topic in ("service", "subsets") for host in hosts)
    return [*named, *gateways, *own, *delegates, *roots]


def check(vs: VirtualService, links: Links) -> Iterator[Finding]:
    """Names that lead nowhere. Always warnings, because the other object may arrive later."""
    for target, path in _targets(vs):
        if (said := _nowhere(target, links)) is not None:
            yield Finding(target.line, path, said)
    for target, path in l4_targets(vs):
        if (said := _nowhere(target, links)) is not None:
            yield Finding(target.line, path, say.NOWHERE_ON_TCP(what=said.text.partition(":")[0]))
    yield from mixed_tunnels(vs, links)
    yield from _at_gateways(vs, links)
    yield from _delegated(vs, links)
    if MESH not in vs.gateways:
        return
    yield from _without_use(vs, links)
    yield from unused_routes(vs, links)
    for host in () if vs.only_l4 else vs.hosts:
        others = [o for o in links.of("host", host) if isinstance(o, VirtualService) and not o.only_l4]
        first = min(others, key=lambda other: (other.age, other.namespace, other.name))
        if first is not vs and first.export_to == vs.export_to:
            yield Finding(vs.origin.line, "spec.hosts", say.SHARED_HOST(host=host, owner=first.origin))


def _gateways(vs: VirtualService) -> list[str]:
    return [ref for name in vs.gateways if (ref := gateway_ref(name, vs.namespace)) != MESH]


def _at_gateways(vs: VirtualService, links: Links) -> Iterator[Finding]:
    """Gateways that are not there, and hosts that none of their servers is for."""
    for ref in _gateways(vs):
        found = [gateway for gateway in links.of("gateway", ref) if isinstance(gateway, Gateway)]
        if not found:
            yield Finding(vs.origin.line, "spec.gateways", say.NO_GATEWAY(gateway=ref))
            continue
        served = [h for g in found for s in g.servers for h in s.hosts if h.namespace in ("*", vs.namespace)]
        for host in vs.hosts:
            if served and not any(overlap(h.host, host) for h in served):
                yield Finding(vs.origin.line, "spec.hosts", say.NOT_AT_GATEWAY(gateway=ref, host=host))


def _delegated(vs: VirtualService, links: Links) -> Iterator[Finding]:
    """Delegates that are not there or cannot be used, and one that nobody asks for."""
    for index, route in enumerate(vs.http):
        if route.delegate is None:
            continue
        other = next((o for o in links.of("virtual service", str(route.delegate))), None)
        if not isinstance(other, VirtualService):
            said = say.NO_DELEGATE(name=route.delegate)
        elif other.hosts:
            said = say.DELEGATE_WITH_HOSTS(name=route.delegate)
        elif not other.visible_from(vs.namespace, in_force(links).virtual_services_to):
            said = say.DELEGATE_HIDDEN(name=route.delegate, namespace=vs.namespace)
        else:
            continue
        yield Finding(route.line, f"spec.http[{index}].delegate", said)
    if not vs.hosts and not any(True for _ in links.of("root", str(vs.id))):
        yield Finding(vs.origin.line, "spec", say.NOT_DELEGATED())


def _without_use(vs: VirtualService, links: Links) -> Iterator[Finding]:
    """Hosts and ports at which nothing ever asks for these routes."""
    if not vs.http:
        return
    services = [s for host in vs.hosts for s in services_of(links, host)]
    for service in services:
        host, alias = service.id.fqdn, service.external_name.rstrip(".").lower()
        if alias and not in_cluster(alias):
            yield Finding(vs.origin.line, "spec.hosts", say.ALIAS_OUTSIDE(host=host, alias=alias))
        elif not alias and service.tcp_ports and not any(p.protocol.is_http for p in service.tcp_ports):
            yield Finding(vs.origin.line, "spec.hosts", say.NO_HTTP_PORT(host=host))
    if not services or len(services) < len(vs.hosts) or any(s.external_name for s in services):
        return  # requests for other hosts come at any port
    for index, route in enumerate(vs.http):
        for i, match in enumerate(route.matches):
            if match.port and not any(s.port(match.port) for s in services):
                said = say.PORT_OF_NOBODY(host=services[0].id.fqdn, port=match.port)
                yield Finding(match.line, f"spec.http[{index}].match[{i}].port", said)


def _targets(vs: VirtualService) -> Iterator[tuple[RouteTarget, str]]:
    for index, route in enumerate(vs.http):
        for i, weighted in enumerate(route.targets):
            yield weighted.target, f"spec.http[{index}].route[{i}].destination"
        for mirror in route.mirrors:
            yield mirror.target, f"spec.http[{index}].mirror"


def _nowhere(target: RouteTarget, links: Links) -> say.Said | None:
    service = next(services_of(links, target.host), None)
    if service is None:
        return say.NO_SERVICE(host=target.host) if links.any("service") else None
    if service.external_name:
        return None  # whether there is something behind it is said of the alias itself
    if target.port and service.port(target.port) is None:
        return say.NO_SERVICE_PORT(host=target.host, port=target.port)
    rules = (r for r in links.covering("subsets", target.host) if isinstance(r, DestinationRule))
    if target.subset and not any(rule.subset(target.subset) for rule in rules):
        return say.NO_SUBSET(subset=target.subset, host=target.host)
    return None


VIRTUAL_SERVICE = Kind(
    group="networking.istio.io",
    name="VirtualService",
    versions=("v1alpha3", "v1beta1", "v1"),
    shape=VirtualServiceDoc,
    read=read,
    shelf="virtual_services",
    provides=provides,
    looks_at=looks_at,
    check=check,
)
