"""Service: names, addresses and ports that clients dial."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field, field_validator

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.kinds.node import ZONES
from tidegate.config.limits import MOST_ROWS, too_many_rows
from tidegate.config.links import Links, Topic
from tidegate.config.named_services import dialled_first
from tidegate.config.protocols import port_protocol
from tidegate.config.schema import LABEL, ApiModel, Finding, Report, words
from tidegate.config.shapes import annotated
from tidegate.config.shapes.envoy_text import is_host
from tidegate.config.shapes.metadata import Metadata, addresses
from tidegate.model.hosts import in_cluster
from tidegate.model.kube import Near, Service, ServicePort
from tidegate.model.names import ServiceName
from tidegate.model.net import host_port

PORT = Field(ge=1, le=65535)
_PORT_NAME = re.compile(r"([a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?)?")  # RFC 6335, 5.1; nothing: the port itself
_DISTRIBUTIONS = {
    "PreferClose": Near.ZONE_FIRST,
    "PreferSameZone": Near.ZONE_FIRST,
    "PreferSameNode": Near.NODE_FIRST,
}
_AFFINITY_S = 10800  # Kubernetes' default
_BY_ZONE = (Near.ZONE_FIRST, Near.NODE_FIRST)


class ServicePortDoc(ApiModel):
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    app_protocol: str = ""
    port: int = PORT
    target_port: int | str = 0
    node_port: int = Field(default=0, ge=0, le=65535)

    @field_validator("target_port")
    @classmethod
    def _target(cls, value: int | str) -> int | str:
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:6]) or -1  # a number as a text is a mistake that is understood, but it names a port
        if (isinstance(value, int) and not 0 <= value <= 65535) or not _PORT_NAME.fullmatch(str(value)):
            raise say.Wrong(say.TARGET_PORT())
        return value or 0


class ClientIp(ApiModel):
    timeout_seconds: int = Field(default=_AFFINITY_S, ge=1, le=86400)


class AffinityConfig(ApiModel):
    client_ip: ClientIp | None = Field(default=None, alias="clientIP")


class ServiceSpec(ApiModel):
    ignored = words(
        "externalIPs loadBalancerIP loadBalancerSourceRanges loadBalancerClass externalTrafficPolicy "
        "healthCheckNodePort allocateLoadBalancerNodePorts ipFamilies ipFamilyPolicy"
    )
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    selector: dict[str, str] = Field(default_factory=dict)
    ports: list[ServicePortDoc] = Field(default_factory=list)
    cluster_ip: str = Field(default="", alias="clusterIP")
    cluster_ips: list[str] = Field(default_factory=list, max_length=2, alias="clusterIPs")  # one of each family
    external_name: str = ""
    publish_not_ready_addresses: bool = False
    session_affinity: Literal["None", "ClientIP"] = "None"
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    traffic_distribution: str = ""


class ServiceDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: ServiceSpec


def read(doc: ServiceDoc, place: Place, report: Report) -> Service:
    spec, name = doc.spec, place.key.name
    written = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    headless = "None" in written
    if not LABEL.fullmatch(name):
        report.say(doc.metadata, "name", say.NO_LABEL(name=name, what="service"))
    if spec.type == "ExternalName":
        if not spec.external_name:
            report.say(spec, None, say.NO_EXTERNAL_NAME())
        elif not is_host(spec.external_name.removesuffix(".")) or spec.external_name.startswith("*"):
            report.say(spec, "externalName", say.NO_HOST(given=spec.external_name))
    elif not spec.ports and not headless and (*spec.at.path, "ports") not in report.misspelt:
        report.say(spec, None, say.NO_PORTS())
    _check_ports(spec.ports, report)
    if (rows := max(len(written), 1) * len(spec.ports)) > MOST_ROWS:
        report.say(spec, "ports", say.OUT_OF_BOUNDS(detail=too_many_rows(rows)))
    if not place.live:  # a cluster does what they say, by hints of its slices
        annotated.tell(doc.metadata, annotated.OF_SERVICES, report)
    sticky = spec.session_affinity == "ClientIP"
    if spec.session_affinity_config is not None and not sticky:
        report.say(spec, "sessionAffinityConfig", say.NO_EFFECT(why="sessionAffinity is not ClientIP"))
    return Service(
        id=ServiceName(place.key.namespace, name),
        ports=tuple(
            ServicePort(
                port=p.port,
                name=p.name,
                protocol=port_protocol(p.protocol, p.app_protocol, p.name),
                target=p.target_port,
                node_port=p.node_port,
            )
            for p in spec.ports
        ),
        addresses=() if headless or spec.type == "ExternalName" else addresses(spec, written, report, dialled=True),
        headless=headless,
        external_name=spec.external_name,
        selector=spec.selector,
        publish_not_ready=spec.publish_not_ready_addresses,
        affinity_s=_affinity_s(spec) if sticky and not headless else 0,
        near=Near.ANY if headless else _near(doc, report),
        export_to=_export_to(doc, report),
        by_slices=place.live,
        age=place.age,
        origin=place.origin,
    )


def _export_to(doc: ServiceDoc, report: Report) -> tuple[str, ...]:
    """Istio's annotation: names with commas between them."""
    written = doc.metadata.annotations.get(annotated.EXPORT_TO, "")
    names = [name.strip() for name in written.split(",") if name.strip()]
    for name in names:
        if name not in ("*", ".", "~") and not LABEL.fullmatch(name):
            said = say.NO_LABEL(name=name, what="namespace")
            report.say(doc.metadata, ("annotations", annotated.EXPORT_TO), said)
    return tuple(sorted(set(names)))


def _affinity_s(spec: ServiceSpec) -> int:
    config = spec.session_affinity_config
    return config.client_ip.timeout_seconds if config and config.client_ip else _AFFINITY_S


def _near(doc: ServiceDoc, report: Report) -> Near:
    """Which endpoints are to be used; of what is written the stricter wins, as in kube-proxy."""
    spec, asked = doc.spec, doc.metadata.annotations.get(annotated.DISTRIBUTION, "")
    wish = spec.traffic_distribution or asked
    if wish not in ("", *_DISTRIBUTIONS):
        said = say.NO_EFFECT(why=f"{wish!r} is none of {', '.join(_DISTRIBUTIONS)}")
        if spec.traffic_distribution:
            report.say(spec, "trafficDistribution", said)
        else:
            report.say(doc.metadata, ("annotations", annotated.DISTRIBUTION), said)
    return Near.SAME_NODE if spec.internal_traffic_policy == "Local" else _DISTRIBUTIONS.get(wish, Near.ANY)


def _check_ports(ports: list[ServicePortDoc], report: Report) -> None:
    seen: set[tuple[int, str]] = set()
    names: set[str] = set()
    for port in ports:
        if (port.port, port.protocol) in seen:
            report.say(port, "port", say.TWICE(what=f"{port.port}/{port.protocol}"))
        if port.name in names or (len(ports) > 1 and not port.name):
            report.say(port, "name", say.PORT_NAME())
        seen.add((port.port, port.protocol))
        names.add(port.name)


def provides(service: Service) -> Iterable[Topic]:
    return [("service", service.id.fqdn), *(("address", str(address)) for address in service.addresses)]


def looks_at(service: Service) -> Iterable[Topic]:
    alias = _alias(service)
    at = (("address", str(address)) for address in service.addresses)
    return [*at, *([("service", alias)] if alias else []), *([ZONES] if service.near in _BY_ZONE else [])]


def check(service: Service, links: Links) -> Iterator[Finding]:
    """What leads nowhere: a preference that cannot be followed, because nobody says where nodes stand; an alias of a
    name of the cluster that nothing has; an address that an older service has. Warnings, because the other object may
    arrive later, or go."""
    if service.near in _BY_ZONE and not links.any(ZONES[0]):
        yield Finding(service.origin.line, "spec.trafficDistribution", say.NO_ZONES())
    for address in service.addresses:
        for port in service.tcp_ports:
            if (owner := dialled_first(links, address, port, service)) is not None:
                said = say.ADDRESS_TAKEN(address=host_port(str(address), port.port), owner=owner.origin)
                yield Finding(service.origin.line, "spec.clusterIP", said)
    alias = _alias(service)
    if in_cluster(alias) and next(iter(links.of("service", alias)), None) is None:
        yield Finding(service.origin.line, "spec.externalName", say.NO_SERVICE(host=alias))


def _alias(service: Service) -> str:
    return service.external_name.rstrip(".").lower()


SERVICE = Kind(
    group="",
    name="Service",
    versions=("v1",),
    shape=ServiceDoc,
    read=read,
    shelf="services",
    provides=provides,
    looks_at=looks_at,
    check=check,
)
