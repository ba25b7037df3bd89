"""WorkloadEntry (networking.istio.io): a server that is no pod, found by labels as pods are."""

from __future__ import annotations

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.workload import WorkloadDoc
from tidegate.model.entry import WorkloadEntry


class WorkloadEntryDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: WorkloadDoc


def read(doc: WorkloadEntryDoc, place: Place, report: Report) -> WorkloadEntry | None:
    """None if it cannot be dialled."""
    workload = doc.spec.to_model(report, doc.metadata.labels)
    return WorkloadEntry(place.key.namespace, place.key.name, workload, place.origin) if workload else None


WORKLOAD_ENTRY = Kind(
    group="networking.istio.io",
    name="WorkloadEntry",
    versions=("v1alpha3", "v1beta1", "v1"),
    shape=WorkloadEntryDoc,
    read=read,
    shelf="workload_entries",
)
