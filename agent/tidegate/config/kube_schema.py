"""Kubernetes objects: Namespace, Pod, Deployment, Service, as far as the mesh reads them.

Field lists follow the Kubernetes API (core/v1, apps/v1); what has no effect on a mesh is named in `ignored`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from tidegate.config.protocols import port_protocol
from tidegate.config.schema import LABEL, ApiModel, Report, words
from tidegate.config.tree import YamlMap
from tidegate.model.kube import Age, ContainerPort, Namespace, Pod, PodTemplate, Protocol, Service, ServicePort
from tidegate.model.names import ServiceName, WorkloadId
from tidegate.model.net import IPAddress, parse_ip
from tidegate.model.origin import Origin

PortNumber = Field(ge=1, le=65535)


class Metadata(ApiModel):
    ignored: ClassVar[frozenset[str]] = words(
        "uid resourceVersion generation generateName ownerReferences finalizers managedFields selfLink "
        "deletionGracePeriodSeconds clusterName"
    )
    name: str = ""
    namespace: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str = ""


class AnySpec(ApiModel):
    """Content that we accept unread."""

    open_ended = True


class AnyDoc(ApiModel):
    """An object of which only the name matters (ServiceAccount, ConfigMap, Secret, kinds to come)."""

    open_ended = True
    metadata: Metadata = Field(default_factory=Metadata)


class NamespaceDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "spec", "status"})
    metadata: Metadata

    def to_model(self, origin: Origin) -> Namespace:
        return Namespace(self.metadata.name, self.metadata.labels, origin)


class ContainerPortDoc(ApiModel):
    ignored = frozenset({"hostIP", "hostPort"})
    container_port: int = PortNumber
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class Container(ApiModel):
    ignored = words(
        "image imagePullPolicy command args env envFrom workingDir resources resizePolicy restartPolicy livenessProbe "
        "readinessProbe startupProbe lifecycle securityContext volumeMounts volumeDevices stdin stdinOnce tty "
        "terminationMessagePath terminationMessagePolicy"
    )
    name: str = ""
    ports: list[ContainerPortDoc] = []


class PodSpec(ApiModel):
    ignored = words(
        "volumes ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy "
        "nodeSelector serviceAccount automountServiceAccountToken hostPID hostIPC hostUsers shareProcessNamespace "
        "securityContext imagePullSecrets hostname subdomain hostnameOverride affinity schedulerName tolerations "
        "hostAliases priorityClassName priority dnsConfig readinessGates runtimeClassName enableServiceLinks "
        "preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os schedulingGates resourceClaims "
        "resources initContainers"
    )
    containers: list[Container]
    node_name: str = ""
    service_account_name: str = "default"
    host_network: bool = False

    def ports(self) -> tuple[ContainerPort, ...]:
        return tuple(ContainerPort(p.container_port, p.name) for c in self.containers for p in c.ports)


class Condition(ApiModel):
    open_ended = True
    type: str
    status: str


class PodStatus(ApiModel):
    open_ended = True
    phase: str = ""
    pod_ip: str = Field(default="", alias="podIP")
    pod_ips: list[dict[str, str]] = Field(default=[], alias="podIPs")
    conditions: list[Condition] = []

    @property
    def addresses(self) -> list[str]:
        return [a["ip"] for a in self.pod_ips if "ip" in a] or ([self.pod_ip] if self.pod_ip else [])

    @property
    def ready(self) -> bool:
        """By the Ready condition; a hand-written status without conditions is ready once it has an address."""
        if self.phase in ("Succeeded", "Failed"):
            return False
        for condition in self.conditions:
            if condition.type == "Ready":
                return condition.status == "True"
        return bool(self.addresses)


class PodDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind"})
    metadata: Metadata
    spec: PodSpec
    status: PodStatus = Field(default_factory=PodStatus)

    def to_model(self, origin: Origin, report: Report) -> Pod:
        ips = _addresses(self.status, self.status.addresses, report)
        meta = self.metadata
        return Pod(
            id=WorkloadId(meta.namespace, meta.name),
            labels=meta.labels,
            annotations=meta.annotations,
            ips=ips,
            ready=self.status.ready and not meta.deletion_timestamp,
            has_status="status" in self.model_fields_set,
            node=self.spec.node_name,
            service_account=self.spec.service_account_name,
            ports=self.spec.ports(),
            host_network=self.spec.host_network,
            origin=origin,
        )


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
    replicas: int = Field(default=1, ge=0)
    selector: LabelSelector
    template: Template


class DeploymentDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: DeploymentSpec

    def to_model(self, origin: Origin, report: Report) -> PodTemplate:
        template, meta = self.spec.template, self.metadata
        for key, value in self.spec.selector.match_labels.items():
            if template.metadata.labels.get(key) != value:
                report.error(self.spec, "selector", f"selects {key}={value}, which the template's labels do not have")
        pod = Pod(
            id=WorkloadId(meta.namespace, meta.name),
            labels=template.metadata.labels,
            annotations=template.metadata.annotations,
            node=template.spec.node_name,
            service_account=template.spec.service_account_name,
            ports=template.spec.ports(),
            host_network=template.spec.host_network,
            origin=Origin("Pod", meta.namespace, meta.name, origin.file, origin.line),
        )
        return PodTemplate(meta.namespace, meta.name, self.spec.replicas, pod, origin)


class ServicePortDoc(ApiModel):
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    app_protocol: str = ""
    port: int = PortNumber
    target_port: int | str = 0
    node_port: int = Field(default=0, ge=0, le=65535)

    @field_validator("target_port")
    @classmethod
    def _target(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 0 <= value <= 65535:
            raise ValueError("must be 1..65535 or the name of a container port")
        return int(value) if isinstance(value, str) and value.isdigit() else value


class ServiceSpec(ApiModel):
    ignored = words(
        "externalIPs sessionAffinity sessionAffinityConfig loadBalancerIP loadBalancerSourceRanges loadBalancerClass "
        "externalTrafficPolicy internalTrafficPolicy healthCheckNodePort allocateLoadBalancerNodePorts ipFamilies "
        "ipFamilyPolicy trafficDistribution"
    )
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    selector: dict[str, str] = {}
    ports: list[ServicePortDoc] = []
    cluster_ip: str = Field(default="", alias="clusterIP")
    cluster_ips: list[str] = Field(default=[], alias="clusterIPs")
    external_name: str = ""
    publish_not_ready_addresses: bool = False


class ServiceDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: ServiceSpec

    def to_model(self, origin: Origin, age: Age, report: Report) -> Service:
        spec, meta = self.spec, self.metadata
        written = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
        headless = "None" in written
        if not LABEL.fullmatch(meta.name):
            report.error(meta, "name", f"{meta.name!r} is no service name: lower-case letters, digits and '-'")
        if spec.type == "ExternalName":
            if not spec.external_name:
                report.error(spec, None, "ExternalName needs externalName")
        elif not spec.ports and not headless and (*spec.at.path, "ports") not in report.misspelt:
            report.error(spec, None, "ports are missing")
        self._check_ports(report)
        addresses = () if headless or spec.type == "ExternalName" else _addresses(spec, written, report)
        return Service(
            id=ServiceName(meta.namespace, meta.name),
            ports=tuple(
                ServicePort(
                    p.port, p.name, port_protocol(p.protocol, p.app_protocol, p.name), p.target_port, p.node_port
                )
                for p in spec.ports
            ),
            addresses=addresses,
            headless=headless,
            external_name=spec.external_name,
            selector=spec.selector,
            publish_not_ready=spec.publish_not_ready_addresses,
            age=age,
            origin=origin,
        )

    def _check_ports(self, report: Report) -> None:
        seen: set[tuple[int, str]] = set()
        names: set[str] = set()
        for port in self.spec.ports:
            if (port.port, port.protocol) in seen:
                report.error(port, "port", f"{port.port}/{port.protocol} appears twice")
            if port.name in names or (len(self.spec.ports) > 1 and not port.name):
                report.error(port, "name", "each port of a service with several needs a name of its own")
            seen.add((port.port, port.protocol))
            names.add(port.name)


def is_tcp(port: ServicePort) -> bool:
    """Whether the mesh can serve the port."""
    return port.protocol is not Protocol.UDP


def _addresses(at: ApiModel, written: list[str], report: Report) -> tuple[IPAddress, ...]:
    out: list[IPAddress] = []
    for text in written:
        try:
            out.append(parse_ip(text))
        except ValueError:
            key = next((k for k in ("clusterIPs", "clusterIP", "podIPs", "podIP") if k in at.at), None)
            report.error(at, key, f"{text!r} is no IP address")
    return tuple(out)


def plain(data: Any) -> Any:
    """A copy of a tree without marks, for messages and tests."""
    if isinstance(data, YamlMap):
        return {k: plain(v) for k, v in data.items()}
    return [plain(v) for v in data] if isinstance(data, list) else data
