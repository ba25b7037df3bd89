"""Deployment: a template of pods that somebody else will make."""

from __future__ import annotations

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.kinds.pod import POD, PodSpec
from tidegate.config.limits import INT32
from tidegate.config.schema import ApiModel, Report, words
from tidegate.config.shapes import annotated
from tidegate.config.shapes.metadata import Metadata
from tidegate.model.kube import Pod, PodTemplate
from tidegate.model.names import WorkloadId
from tidegate.model.origin import Origin


class LabelSelector(ApiModel):
    unsupported = frozenset({"matchExpressions"})
    match_labels: dict[str, str] = {}


class TemplateMetadata(Metadata):
    namespace: str = ""


class Template(ApiModel):
    metadata: TemplateMetadata = Field(default_factory=TemplateMetadata)
    spec: PodSpec


class DeploymentSpec(ApiModel):
    ignored = words("strategy minReadySeconds revisionHistoryLimit paused progressDeadlineSeconds")
    replicas: int = Field(default=1, ge=0, le=INT32)
    selector: LabelSelector
    template: Template


class DeploymentDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: DeploymentSpec


def read(doc: DeploymentDoc, place: Place, report: Report) -> PodTemplate:
    spec, template, key = doc.spec, doc.spec.template, place.key
    for label, value in spec.selector.match_labels.items():
        if template.metadata.labels.get(label) != value:
            report.say(spec, "selector", say.SELECTOR(label=label, value=value))
    annotated.tell(template.metadata, annotated.OF_PODS, report)
    pod = Pod(
        id=WorkloadId(key.namespace, key.name),
        labels=template.metadata.labels,
        annotations=template.metadata.annotations,
        node=template.spec.node_name,
        service_account=template.spec.service_account_name,
        ports=template.spec.ports(),
        probe_ports=template.spec.probe_ports(),
        host_network=template.spec.host_network,
        origin=Origin.at(POD.key(key.namespace, key.name), place.file, place.line),
    )
    return PodTemplate(namespace=key.namespace, name=key.name, replicas=spec.replicas, pod=pod, origin=place.origin)


DEPLOYMENT = Kind(group="apps", name="Deployment", versions=("v1",), shape=DeploymentDoc, read=read, shelf="templates")
