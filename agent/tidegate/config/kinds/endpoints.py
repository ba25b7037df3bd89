"""Endpoints (core v1): from which a cluster makes EndpointSlices; here it is read as it is written."""

from __future__ import annotations

from pydantic import Field

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.kinds.endpoint_slice import SlicePortDoc, TargetRef, check, looks_at, pod_of, ports, usable
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.model.kube import EndpointSlice, SliceEndpoint
from tidegate.model.names import ServiceName


class AddressDoc(ApiModel):
    ip: str
    hostname: str = ""
    target_ref: TargetRef | None = None
    node_name: str = ""


class EndpointSubsetDoc(ApiModel):
    addresses: list[AddressDoc] = Field(default_factory=list)
    not_ready_addresses: list[AddressDoc] = Field(default_factory=list)
    ports: list[SlicePortDoc] = Field(default_factory=list)


class EndpointsDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind"})
    metadata: Metadata
    subsets: list[EndpointSubsetDoc] = Field(default_factory=list)


def read(doc: EndpointsDoc, place: Place, report: Report) -> EndpointSlice:
    """The same as slices of the Service of this name. A cluster makes slices of it only where there is no selector."""
    namespace, name = place.key.namespace, place.key.name
    found = []
    for subset in doc.subsets:
        numbers = tuple(ports(subset.ports, report))
        for ready, written in ((True, subset.addresses), (False, subset.not_ready_addresses)):
            for item in written:
                address = usable(item.ip, report, item, ("ip",))
                if address is not None:
                    pod = pod_of(item.target_ref, namespace)
                    found.append(
                        SliceEndpoint(address, numbers, ready, pod=pod, node=item.node_name, hostname=item.hostname)
                    )
    return EndpointSlice(
        namespace=namespace,
        name=name,
        service=ServiceName(namespace, name),
        endpoints=tuple(found),
        of_selector=True,
        origin=place.origin,
    )


ENDPOINTS = Kind(
    group="",
    name="Endpoints",
    versions=("v1",),
    shape=EndpointsDoc,
    read=read,
    shelf="endpoint_slices",
    looks_at=looks_at,
    check=check,
)
