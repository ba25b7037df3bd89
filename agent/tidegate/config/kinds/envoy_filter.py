"""EnvoyFilter: today's `configPatches`, and `filters` of Istio 1.0."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.schema import ApiModel, Report, listify
from tidegate.config.shapes.envoy_filter_legacy import LegacyFilterDoc
from tidegate.config.shapes.envoy_patch import ConfigPatchDoc
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.workload_selector import WorkloadSelectorDoc, check_labels
from tidegate.config.tree import YamlMap
from tidegate.model.envoy_filter import EnvoyFilter
from tidegate.model.names import ROOT_NAMESPACE


class EnvoyFilterSpec(ApiModel):
    ignored = frozenset({"targetRefs"})
    workload_selector: WorkloadSelectorDoc | None = None
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    config_patches: list[ConfigPatchDoc] = Field(default_factory=list)
    workload_labels: dict[str, str] | None = None
    filters: list[LegacyFilterDoc] = Field(default_factory=list)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "configPatches", "filters")


class EnvoyFilterDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: EnvoyFilterSpec = Field(default_factory=EnvoyFilterSpec)


def read(doc: EnvoyFilterDoc, place: Place, report: Report) -> EnvoyFilter | None:
    spec = doc.spec
    if spec.workload_labels is not None and spec.workload_selector is not None:
        report.say(spec, "workloadLabels", say.EXCLUSIVE(first="workloadLabels", second="workloadSelector"))
    if spec.filters and spec.config_patches:
        report.say(spec, "filters", say.EXCLUSIVE(first="filters", second="configPatches"))
    if "targetRefs" in spec.at:
        report.say(spec, "targetRefs", say.NO_EFFECT(why="objects of the Gateway API are not read yet"))
        return None
    written: Sequence[LegacyFilterDoc | ConfigPatchDoc] = spec.filters or spec.config_patches
    if spec.filters:
        _tell_age(spec, place, report)
    labels = spec.workload_selector.to_model(report) if spec.workload_selector else spec.workload_labels or {}
    if spec.workload_labels is not None:
        check_labels(spec, "workloadLabels", spec.workload_labels, report)
    made = (one.to_model(place.key, place.file, index, report) for index, one in enumerate(written))
    return EnvoyFilter(
        namespace=place.key.namespace,
        name=place.key.name,
        labels=labels,
        priority=spec.priority,
        patches=tuple(patch for patch in made if patch is not None),
        age=place.age,
        origin=place.origin,
    )


def _tell_age(spec: EnvoyFilterSpec, place: Place, report: Report) -> None:
    report.say(spec, "filters", say.READ_AS(new="configPatches, which took its place in Istio 1.3"))
    if place.key.namespace != ROOT_NAMESPACE:
        report.say(spec, "filters", say.OWN_NAMESPACE(namespace=place.key.namespace, root=ROOT_NAMESPACE))


ENVOY_FILTER = Kind(
    group="networking.istio.io",
    name="EnvoyFilter",
    versions=("v1alpha3",),
    shape=EnvoyFilterDoc,
    read=read,
    shelf="envoy_filters",
)
