"""Namespace: its labels decide about enrolment."""

from __future__ import annotations

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.model.kube import Namespace


class NamespaceDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "spec", "status"})
    metadata: Metadata


def read(doc: NamespaceDoc, place: Place, _report: Report) -> Namespace:
    return Namespace(place.key.name, doc.metadata.labels, place.origin)


NAMESPACE = Kind(
    group="", name="Namespace", versions=("v1",), shape=NamespaceDoc, read=read, shelf="namespaces", namespaced=False
)
