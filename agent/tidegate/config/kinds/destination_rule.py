"""DestinationRule (networking.istio.io v1alpha3, v1beta1 and v1 are one schema)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.kinds.effect import check, looks_at
from tidegate.config.links import Topic
from tidegate.config.schema import LABEL, ApiModel, Report, listify
from tidegate.config.shapes.destination import export_to
from tidegate.config.shapes.envoy_text import is_host
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.traffic_policy import TrafficPolicyDoc
from tidegate.config.shapes.workload_selector import ClientSelectorDoc, check_labels
from tidegate.config.tree import YamlMap
from tidegate.model.hosts import resolve_host
from tidegate.model.traffic import (
    Credential,
    DestinationRule,
    Subset,
    TrafficPolicy,
    Written,
)


class SubsetDoc(ApiModel):
    name: str
    labels: dict[str, str] = {}
    traffic_policy: TrafficPolicyDoc | None = None

    def to_model(self, report: Report, namespace: str) -> Subset:
        if not LABEL.fullmatch(self.name):
            report.say(self, "name", say.NO_LABEL(name=self.name, what="subset"))
        check_labels(self, "labels", self.labels, report)
        policy = self.traffic_policy.to_model(report, namespace) if self.traffic_policy else TrafficPolicy()
        return Subset(name=self.name, labels=self.labels, policy=policy, line=self.line)


class DestinationRuleSpec(ApiModel):
    host: str = Field(min_length=1)
    traffic_policy: TrafficPolicyDoc | None = None
    subsets: list[SubsetDoc] = []
    export_to: list[str] = []
    workload_selector: ClientSelectorDoc | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "subsets", "exportTo")


class DestinationRuleDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: DestinationRuleSpec


def read(doc: DestinationRuleDoc, place: Place, report: Report) -> DestinationRule:
    """The rule."""
    spec, namespace = doc.spec, place.key.namespace
    selector = spec.workload_selector
    if not is_host(spec.host):
        report.say(spec, "host", say.NO_HOST(given=spec.host))
    names: set[str] = set()
    for subset in spec.subsets:
        if subset.name in names:
            report.say(subset, "name", say.TWICE(what=f"subset {subset.name!r}"))
        names.add(subset.name)
    return DestinationRule(
        namespace=namespace,
        name=place.key.name,
        host=resolve_host(spec.host, namespace),
        policy=spec.traffic_policy.to_model(report, namespace) if spec.traffic_policy else TrafficPolicy(),
        subsets=tuple(s.to_model(report, namespace) for s in spec.subsets),
        export_to=export_to(spec, spec.export_to, report),
        selector=selector.to_model(report) if selector else None,
        written=tuple(_all_written(spec)),
        credentials=tuple(_credentials(spec, report)),
        age=place.age,
        origin=place.origin,
    )


def _all_written(spec: DestinationRuleSpec) -> Iterator[Written]:
    if spec.traffic_policy is not None:
        yield from spec.traffic_policy.all_written(subset=False)
    for subset in spec.subsets:
        if subset.traffic_policy is not None:
            yield from subset.traffic_policy.all_written(subset=True)


def _credentials(spec: DestinationRuleSpec, report: Report) -> Iterator[Credential]:
    policies = [spec.traffic_policy, *(subset.traffic_policy for subset in spec.subsets)]
    for tls in (tls for policy in policies if policy is not None for tls in policy.all_tls()):
        if (found := tls.credential(report, of_pods=spec.workload_selector is not None)) is not None:
            yield found


def provides(rule: DestinationRule) -> Iterable[Topic]:
    return [("subsets", rule.host)]


DESTINATION_RULE = Kind(
    group="networking.istio.io",
    name="DestinationRule",
    versions=("v1alpha3", "v1beta1", "v1"),
    shape=DestinationRuleDoc,
    read=read,
    shelf="destination_rules",
    provides=provides,
    looks_at=looks_at,
    check=check,
)
