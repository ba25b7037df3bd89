"""Node: where it stands, by which a Service or a DestinationRule may ask for endpoints that are near."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.links import Topic
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.model import kube
from tidegate.model.locality import REGION, SUBZONE, ZONE

ZONES: Final[Topic] = ("zone", "zone")  # somebody says where a node stands


class NodeDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "spec", "status"})
    metadata: Metadata


def read(doc: NodeDoc, place: Place, _report: Report) -> kube.Node:
    labels = doc.metadata.labels
    region, subzone = labels.get(REGION, ""), labels.get(SUBZONE, "")
    return kube.Node(place.key.name, labels.get(ZONE, ""), place.origin, region, subzone)


def provides(node: kube.Node) -> Iterable[Topic]:
    return [ZONES] if node.zone else ()


NODE = Kind(
    group="",
    name="Node",
    versions=("v1",),
    shape=NodeDoc,
    read=read,
    shelf="nodes",
    namespaced=False,
    provides=provides,
)
