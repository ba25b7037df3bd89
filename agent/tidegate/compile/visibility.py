"""What exists for a client: Sidecars, exportTo of services, outboundTrafficPolicy. Pure.

Who may see a rule is asked in rules.py; here stands what a Sidecar makes of it, and what is left of the services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.compile.derive import Read
from tidegate.compile.tables import MESH_CONFIG, RULES_BY_TARGET, SIDECARS
from tidegate.model.exports import exported
from tidegate.model.kube import Pod, Service
from tidegate.model.mesh_config import NO_MESH_CONFIG, MeshConfig
from tidegate.model.plan.names import VIEW
from tidegate.model.routing import VirtualService
from tidegate.model.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Source:
    """Who asks: what rules may look at in a client pod, and what exists for it."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    sidecar: Sidecar | None = None  # None: everything that is exported to the namespace

    @property
    def name(self) -> str:
        """What asks for the same names as it: its namespace, with its Sidecar if it has one."""
        return f"{self.namespace}{VIEW}{self.sidecar.namespace}/{self.sidecar.name}" if self.sidecar else self.namespace

    @property
    def view(self) -> tuple[str, str, str]:
        """Key of all that decides about what exists for it: its namespace, the Sidecar's namespace and name."""
        return (self.namespace, self.sidecar.namespace, self.sidecar.name) if self.sidecar else (self.namespace, "", "")


def mesh_config(read: Read) -> MeshConfig:
    """The MeshConfig in force."""
    return read(MESH_CONFIG, "") or NO_MESH_CONFIG


def source_of(read: Read, pod: Pod) -> Source:
    """A pod as a client."""
    return Source(pod.id.namespace, pod.labels, sidecar_of(read, pod.id.namespace, pod.labels))


def sidecar_of(read: Read, namespace: str, labels: Mapping[str, str]) -> Sidecar | None:
    """The Sidecar of a workload: one of its namespace that selects it, else the namespace's, else the root namespace's;
    of several the oldest."""
    own = read(SIDECARS, namespace) or ()
    chosen = next((s for s in own if s.chooses(labels)), None) or _default(own)
    return chosen or _default(read(SIDECARS, mesh_config(read).root_namespace) or ())


def _default(sidecars: tuple[Sidecar, ...]) -> Sidecar | None:
    return next((s for s in sidecars if s.selector is None), None)


def registry_only(read: Read, sidecar: Sidecar | None) -> bool:
    """Whether what nobody in the registry has is refused."""
    if sidecar is not None and sidecar.registry_only is not None:
        return sidecar.registry_only
    return mesh_config(read).registry_only


def sees_rule(read: Read, source: Source, vs: VirtualService, port: int) -> bool:
    """Whether a VirtualService exists for a client that dials a port."""
    if not vs.visible_from(source.namespace, mesh_config(read).virtual_services_to):
        return False
    sidecar = source.sidecar
    if sidecar is None or sidecar.egress is None:
        return True
    listener = sidecar.listener(port)
    return listener is not None and listener.has_rule(vs.namespace, vs.hosts, source.namespace)


def sees_service(read: Read, source: Source, service: Service, port: int) -> bool:
    """Whether a service exists for a client that dials one of its ports. What an imported rule leads to does too."""
    config = mesh_config(read)
    if not exported(service.export_to or config.services_to, service.id.namespace, source.namespace):
        return False
    sidecar = source.sidecar
    if sidecar is None or sidecar.egress is None:
        return True
    listener = sidecar.listener(port)
    if listener is None:
        return False
    if listener.has_service(service.id.namespace, service.id.fqdn, source.namespace):
        return True
    rules = read(RULES_BY_TARGET, service.id.fqdn) or ()
    return any(
        vs.visible_from(source.namespace, config.virtual_services_to)
        and listener.has_rule(vs.namespace, vs.hosts, source.namespace)
        for vs in rules
    )
