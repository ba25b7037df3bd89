"""EndpointSlice (discovery.k8s.io/v1): endpoints that somebody wrote down, for a Service without selector.

Fields mean what they mean to kube-proxy: a service's port leads to the slice's port of the same name and protocol, an
endpoint is its first address, a condition that is not said is good, and endpoints that end but serve still are used
while none is ready (kubernetes.io/docs/concepts/services-networking/endpoint-slices).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.links import Links, Topic
from tidegate.config.schema import ApiModel, Finding, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.tree import Path
from tidegate.model.kube import EndpointSlice, Service, SliceEndpoint, SlicePort
from tidegate.model.names import ServiceName, WorkloadId
from tidegate.model.net import IPAddress, parse_ip

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
OF_SELECTORS = "endpointslice-controller.k8s.io"  # what a cluster's own controller calls itself


class SlicePortDoc(ApiModel):
    ignored = frozenset({"appProtocol"})  # the Service's port says what is spoken
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    port: int | None = Field(default=None, ge=1, le=65535)


class Conditions(ApiModel):
    ready: bool = True
    serving: bool = True
    terminating: bool = False


class TargetRef(ApiModel):
    open_ended = True
    kind: str = ""
    name: str = ""
    namespace: str = ""


class ForDoc(ApiModel):
    name: str = ""


class HintsDoc(ApiModel):
    for_zones: list[ForDoc] = Field(default_factory=list)
    for_nodes: list[ForDoc] = Field(default_factory=list)


class EndpointDoc(ApiModel):
    ignored = frozenset({"deprecatedTopology"})
    addresses: list[str] = Field(min_length=1, max_length=100)
    conditions: Conditions = Field(default_factory=Conditions)
    target_ref: TargetRef | None = None
    node_name: str = ""
    zone: str = ""
    hostname: str = ""
    hints: HintsDoc | None = None


class EndpointSliceDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind"})
    metadata: Metadata
    address_type: Literal["IPv4", "IPv6", "FQDN"]
    endpoints: list[EndpointDoc] = Field(default_factory=list, max_length=1000)  # as the API server
    ports: list[SlicePortDoc] = Field(default_factory=list)


def read(doc: EndpointSliceDoc, place: Place, report: Report) -> EndpointSlice | None:
    """The slice; None if it can serve nobody."""
    labels = doc.metadata.labels
    service = labels.get(SERVICE_LABEL, "")
    if not service:
        report.say(doc, "metadata", say.NO_EFFECT(why=f"no label {SERVICE_LABEL} says whose endpoints these are"))
    if doc.address_type == "FQDN":
        report.say(doc, "addressType", say.NO_EFFECT(why="only addresses are dialled, IPv4 or IPv6"))
    if not service or doc.address_type == "FQDN":
        return None
    return EndpointSlice(
        namespace=place.key.namespace,
        name=place.key.name,
        service=ServiceName(place.key.namespace, service),
        endpoints=tuple(_endpoints(doc, tuple(ports(doc.ports, report)), place.key.namespace, report)),
        of_selector=labels.get(MANAGED_BY) == OF_SELECTORS,
        origin=place.origin,
    )


def ports(written: Iterable[SlicePortDoc], report: Report) -> Iterator[SlicePort]:
    """TCP ports; says which are none or come twice."""
    seen: set[tuple[str, str]] = set()
    for port in written:
        if (port.name, port.protocol) in seen:
            report.say(port, "name", say.TWICE(what=f"{port.protocol} port {port.name!r}"))
        seen.add((port.name, port.protocol))
        if port.port is None:
            report.say(port, None, say.NO_EFFECT(why="without a number it is no port that could be dialled"))
        elif port.protocol == "TCP":
            yield SlicePort(port.port, port.name)


def usable(text: str, report: Report, at: ApiModel, key: Path) -> IPAddress | None:
    """An endpoint's address. What Kubernetes refuses is refused: the relay dials inside the client's own namespace and
    Envoy in the node's, where loopback is somebody else's than the author's."""
    try:
        address = parse_ip(text)
    except ValueError:
        report.say(at, key, say.NO_ADDRESS(given=text))
        return None
    if address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast:
        report.say(at, key, say.NO_ENDPOINT_ADDRESS(given=text))
        return None
    return address


def pod_of(ref: TargetRef | None, namespace: str) -> WorkloadId | None:
    """The pod that a targetRef names."""
    return WorkloadId(ref.namespace or namespace, ref.name) if ref and ref.kind == "Pod" and ref.name else None


def _endpoints(
    doc: EndpointSliceDoc, ports: tuple[SlicePort, ...], namespace: str, report: Report
) -> Iterator[SliceEndpoint]:
    version = 4 if doc.address_type == "IPv4" else 6
    for endpoint in doc.endpoints:
        # All addresses of an endpoint are one server; the API says to take the first.
        address = usable(endpoint.addresses[0], report, endpoint, ("addresses", 0))
        if address is not None and address.version != version:
            said = say.OTHER_FAMILY(given=endpoint.addresses[0], family=doc.address_type)
            report.say(endpoint, ("addresses", 0), said)
        elif address is not None:
            conditions, hints = endpoint.conditions, endpoint.hints
            yield SliceEndpoint(
                address=address,
                ports=ports,
                ready=conditions.ready,
                draining=conditions.serving and conditions.terminating,
                pod=pod_of(endpoint.target_ref, namespace),
                node=endpoint.node_name,
                zone=endpoint.zone,
                hostname=endpoint.hostname,
                for_zones=tuple(zone.name for zone in hints.for_zones) if hints else (),
                for_nodes=tuple(node.name for node in hints.for_nodes) if hints else (),
            )


def looks_at(found: EndpointSlice) -> Iterable[Topic]:
    return [("service", found.service.fqdn)]


def check(found: EndpointSlice, links: Links) -> Iterator[Finding]:
    """Names that meet nothing. Warnings, because the Service may arrive later."""
    service = next((s for s in links.of("service", found.service.fqdn) if isinstance(s, Service)), None)
    if service is None:
        if links.any("service"):
            yield Finding(found.origin.line, "metadata", say.NO_SLICE_SERVICE(service=found.service))
    elif (
        found.endpoints
        and found.speaks_for(service)
        and not any(endpoint.port(port.name) for endpoint in found.endpoints for port in service.tcp_ports)
    ):
        names = ", ".join(repr(p.name) for p in service.tcp_ports) or "none"
        yield Finding(found.origin.line, "ports", say.NO_SLICE_PORT(service=found.service, names=names))


ENDPOINT_SLICE = Kind(
    group="discovery.k8s.io",
    name="EndpointSlice",
    versions=("v1",),
    shape=EndpointSliceDoc,
    read=read,
    shelf="endpoint_slices",
    looks_at=looks_at,
    check=check,
)
