"""Pod: its addresses, ports, labels and whether it is ready. What has no effect on a mesh is named in `ignored`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.schema import ApiModel, Report, words
from tidegate.config.shapes import annotated
from tidegate.config.shapes.metadata import Metadata, addresses
from tidegate.model.kube import ContainerPort, Pod
from tidegate.model.names import WorkloadId

LAST_PORT = 65535
PORT = Field(ge=1, le=LAST_PORT)


class ContainerPortDoc(ApiModel):
    ignored = frozenset({"hostIP", "hostPort"})
    container_port: int = PORT
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class ProbedDoc(ApiModel):
    """Of a probe: which port it asks, by number or by the container's name for it."""

    ignored = words("path scheme httpHeaders service")
    port: int | str = 0
    host: str = ""  # somebody else's: then the pod is not asked


class ProbeDoc(ApiModel):
    ignored = words(
        "exec initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold "
        "terminationGracePeriodSeconds"
    )
    http_get: ProbedDoc | None = None
    tcp_socket: ProbedDoc | None = None
    grpc: ProbedDoc | None = None


class ContainerDoc(ApiModel):
    ignored = words(
        "image imagePullPolicy command args env envFrom workingDir resources resizePolicy "
        "lifecycle securityContext volumeMounts volumeDevices stdin stdinOnce tty "
        "terminationMessagePath terminationMessagePolicy restartPolicyRules"
    )
    name: str = ""
    ports: list[ContainerPortDoc] = Field(default_factory=list)
    restart_policy: str = ""
    liveness_probe: ProbeDoc | None = None
    readiness_probe: ProbeDoc | None = None
    startup_probe: ProbeDoc | None = None

    @property
    def probed(self) -> Iterator[int]:
        """Ports that the kubelet asks."""
        named = {port.name: port.container_port for port in self.ports}
        for probe in (self.liveness_probe, self.readiness_probe, self.startup_probe):
            for asked in (probe.http_get, probe.tcp_socket, probe.grpc) if probe else ():
                if asked is None or asked.host:
                    continue
                if isinstance(asked.port, int):
                    yield asked.port
                elif asked.port in named or asked.port.isdecimal():
                    yield named.get(asked.port) or int(asked.port)

    @property
    def is_sidecar(self) -> bool:
        """Of an init container: whether it goes on running beside the others."""
        return self.restart_policy == "Always"


class PodSpec(ApiModel):
    ignored = words(
        "volumes ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy "
        "nodeSelector serviceAccount automountServiceAccountToken hostPID hostIPC hostUsers shareProcessNamespace "
        "securityContext imagePullSecrets hostnameOverride affinity schedulerName tolerations "
        "hostAliases priorityClassName priority dnsConfig readinessGates runtimeClassName enableServiceLinks "
        "preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os schedulingGates resourceClaims "
        "resources evictionResponders schedulingGroup"
    )
    containers: list[ContainerDoc]
    init_containers: list[ContainerDoc] = Field(default_factory=list)
    node_name: str = ""
    service_account_name: str = "default"
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""

    @property
    def running(self) -> tuple[ContainerDoc, ...]:
        """Containers before sidecars; init containers that end are neither."""
        return (*self.containers, *(c for c in self.init_containers if c.is_sidecar))

    def ports(self) -> tuple[ContainerPort, ...]:
        """TCP ports, in the order in which a name is looked up."""
        found = ((c, p) for c in self.running for p in c.ports)
        return tuple(ContainerPort(p.container_port, p.name) for _, p in found if p.protocol == "TCP")

    def probe_ports(self) -> tuple[int, ...]:
        """What the kubelet asks of it by TCP, each once."""
        asked = {port for container in self.running for port in container.probed}
        return tuple(sorted(port for port in asked if 0 < port <= LAST_PORT))


class Condition(ApiModel):
    open_ended = True
    type: str
    status: str


class PodStatusDoc(ApiModel):
    open_ended = True
    phase: str = ""
    pod_ip: str = Field(default="", alias="podIP")
    pod_ips: list[dict[str, str]] = Field(default_factory=list, alias="podIPs")
    conditions: list[Condition] = Field(default_factory=list)

    @property
    def addresses(self) -> list[str]:
        return [a["ip"] for a in self.pod_ips if "ip" in a] or ([self.pod_ip] if self.pod_ip else [])

    @property
    def ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def ready(self) -> bool:
        """By the Ready condition; a hand-written status without conditions is ready once it has an address."""
        if self.ended:
            return False
        for condition in self.conditions:
            if condition.type == "Ready":
                return condition.status == "True"
        return bool(self.addresses)


class PodDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind"})
    metadata: Metadata
    spec: PodSpec
    status: PodStatusDoc | None = None


def read(doc: PodDoc, place: Place, report: Report) -> Pod:
    spec, status, metadata = doc.spec, doc.status or PodStatusDoc(), doc.metadata
    annotated.tell(metadata, annotated.OF_PODS, report)
    return Pod(
        id=WorkloadId(place.key.namespace, place.key.name),
        labels=metadata.labels,
        annotations=metadata.annotations,
        ips=addresses(status, status.addresses, report),
        ready=status.ready and not metadata.deletion_timestamp,
        draining=status.ready and bool(metadata.deletion_timestamp),
        has_status=doc.status is not None,
        ending=status.ended or bool(metadata.deletion_timestamp),
        node=spec.node_name,
        service_account=spec.service_account_name,
        ports=spec.ports(),
        probe_ports=spec.probe_ports(),
        host_network=spec.host_network,
        hostname=spec.hostname or place.key.name,
        subdomain=spec.subdomain,
        origin=place.origin,
    )


POD = Kind(group="", name="Pod", versions=("v1",), shape=PodDoc, read=read, shelf="pods")
