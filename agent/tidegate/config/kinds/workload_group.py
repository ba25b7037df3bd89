"""WorkloadGroup (networking.istio.io): what Istio's control plane makes WorkloadEntries of. Those are what serves."""

from __future__ import annotations

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.metadata import Metadata


class WorkloadGroupSpec(ApiModel):
    ignored = frozenset({"metadata", "template", "probe"})


class WorkloadGroupDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: WorkloadGroupSpec


def read(_doc: WorkloadGroupDoc, _place: Place, _report: Report) -> None:
    return None


WORKLOAD_GROUP = Kind(
    group="networking.istio.io",
    name="WorkloadGroup",
    versions=("v1alpha3", "v1beta1", "v1"),
    shape=WorkloadGroupDoc,
    read=read,
)
