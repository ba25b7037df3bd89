"""The parts of Pod, Deployment and Service that the lab acts on, checked. Everything else in a document is ignored,
because real manifests are full of things (images, resources, volumes) that mean nothing without a container runtime.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from tidegate_lab.manifest import Manifest

M = TypeVar("M", bound="KubeModel")


class KubeModel(BaseModel):
    """Base: Kubernetes' camelCase names, unknown fields ignored, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class EnvVar(KubeModel):
    name: str
    value: str = ""
    value_from: dict[str, Any] | None = None


class ContainerPort(KubeModel):
    container_port: int = Field(ge=1, le=65535)
    name: str = ""
    protocol: str = "TCP"


class HttpHeader(KubeModel):
    name: str
    value: str


class HttpGet(KubeModel):
    port: int | str
    path: str = "/"
    host: str = ""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocket(KubeModel):
    port: int | str
    host: str = ""


class Exec(KubeModel):
    command: tuple[str, ...] = Field(min_length=1)


class Probe(KubeModel):
    """Times in seconds, as in Kubernetes."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    initial_delay_seconds: float = Field(0, ge=0)
    period_seconds: float = Field(10, gt=0)
    timeout_seconds: float = Field(1, gt=0)
    success_threshold: int = Field(1, ge=1)
    failure_threshold: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _one_handler(self) -> Probe:
        if sum(handler is not None for handler in (self.exec, self.http_get, self.tcp_socket)) != 1:
            raise ValueError("needs exactly one of exec, httpGet and tcpSocket")
        return self


class SecurityContext(KubeModel):
    run_as_user: int | None = None
    run_as_group: int | None = None


class Container(KubeModel):
    name: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    restart_policy: str = ""  # of an init container: Always makes a sidecar of it
    security_context: SecurityContext = SecurityContext()

    @property
    def is_sidecar(self) -> bool:
        """Of an init container: whether it goes on running beside the others."""
        return self.restart_policy == "Always"

    @model_validator(mode="after")
    def _has_command(self) -> Container:
        if not self.command:
            raise ValueError(f"container {self.name} needs a command: the lab has no images")
        return self


class PodSpec(KubeModel):
    containers: tuple[Container, ...] = Field(min_length=1)
    init_containers: tuple[Container, ...] = ()
    node_name: str = ""
    node_selector: dict[str, str] = {}
    service_account_name: str = "default"
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    termination_grace_period_seconds: float = Field(30, ge=0)
    hostname: str = ""
    subdomain: str = ""
    security_context: SecurityContext = SecurityContext()

    @property
    def long_running(self) -> tuple[Container, ...]:
        """Containers, then sidecars: the order in which the name of a port is looked up."""
        return (*self.containers, *(c for c in self.init_containers if c.is_sidecar))


class Metadata(KubeModel):
    name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Pod(KubeModel):
    metadata: Metadata
    spec: PodSpec


class PodTemplate(KubeModel):
    metadata: Metadata = Metadata()
    spec: PodSpec


class LabelSelector(KubeModel):
    match_labels: dict[str, str] = {}


class DeploymentSpec(KubeModel):
    replicas: int = Field(1, ge=0, le=500)
    selector: LabelSelector
    template: PodTemplate


class Deployment(KubeModel):
    metadata: Metadata
    spec: DeploymentSpec

    @model_validator(mode="after")
    def _selects_its_pods(self) -> Deployment:
        labels = self.spec.template.metadata.labels
        if any(labels.get(key) != value for key, value in self.spec.selector.match_labels.items()):
            raise ValueError("spec.selector.matchLabels does not match the labels of spec.template")
        return self


class ServicePort(KubeModel):
    port: int = Field(ge=1, le=65535)
    target_port: int | str | None = None
    name: str = ""
    protocol: str = "TCP"
    node_port: int | None = None


class ServiceSpec(KubeModel):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = Field("", alias="clusterIP")
    cluster_ips: tuple[str, ...] = Field((), alias="clusterIPs")
    external_name: str = ""
    ip_family_policy: str = ""
    ip_families: tuple[str, ...] = ()
    publish_not_ready_addresses: bool = False

    @property
    def headless(self) -> bool:
        return self.cluster_ip == "None"


class Service(KubeModel):
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()


def read(document: Manifest, model: type[M]) -> M:
    """The document's body as that model. Raises Rejected naming file, line and field of the first error."""
    try:
        return model.model_validate(document.body)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise document.rejected(reason, first["loc"]) from None
