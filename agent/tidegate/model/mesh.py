"""Mesh: everything valid that the sources said, and what was wrong with the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tidegate.model.entry import WorkloadEntry
from tidegate.model.envoy_filter import EnvoyFilter, Patch
from tidegate.model.gateway import Gateway
from tidegate.model.kube import EndpointSlice, Namespace, Node, Pod, PodTemplate, Service
from tidegate.model.mesh_config import NO_MESH_CONFIG, MeshConfig
from tidegate.model.names import ROOT_NAMESPACE, ObjectKey
from tidegate.model.policy import AuthorizationPolicy, PeerAuthentication
from tidegate.model.routing import VirtualService
from tidegate.model.secret import Secret
from tidegate.model.service_entry import ServiceEntry
from tidegate.model.sidecar import Sidecar
from tidegate.model.text import printable
from tidegate.model.traffic import DestinationRule

MeshObject = (
    Namespace
    | Node
    | Pod
    | PodTemplate
    | Service
    | EndpointSlice
    | VirtualService
    | DestinationRule
    | ServiceEntry
    | WorkloadEntry
    | Gateway
    | Secret
    | MeshConfig
    | Sidecar
    | EnvoyFilter
    | PeerAuthentication
    | AuthorizationPolicy
)
NO_OBJECT = ObjectKey("", "", "", "")  # stands for what has no name


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding about one field of one document. line is 1-based; without a file the object itself is the place."""

    file: str
    line: int
    severity: Severity
    code: str  # TG0101, see docs/messages.md
    about: ObjectKey
    path: str  # spec.http[0].route[1].weight; empty = the document; can be printed
    message: str  # can be printed

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        """``FILE:LINE: severity Kind ns/name path: message``; parts that are not known are left out."""
        name = f"{self.about.namespace}/{self.about.name}" if self.about.namespace else self.about.name
        subject = " ".join(part for part in (self.severity.value, self.about.kind, name, self.path) if part)
        subject = printable(subject)
        return f"{self.file}:{self.line}: {subject}: {self.message}" if self.file else f"{subject}: {self.message}"

    def as_json(self) -> dict[str, str | int]:
        """As `tidegate validate -o json` and `/status` print it."""
        return {
            "file": self.file,
            "line": self.line,
            "severity": self.severity.value,
            "code": self.code,
            "kind": printable(self.about.kind),
            "namespace": printable(self.about.namespace),
            "name": printable(self.about.name),
            "path": self.path,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Mesh:
    """Complete and valid. Order carries no meaning: ages and names decide.

    An object that did not change is the same object in the next Mesh, and a tuple in which nothing changed the same
    tuple: who keeps what it derived compares by `is`.
    """

    revision: int = 0  # what file REVISION of the source said; 0 = no such file
    generation: int = 0  # raised by the store each time this value changes
    namespaces: tuple[Namespace, ...] = ()
    nodes: tuple[Node, ...] = ()
    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    endpoint_slices: tuple[EndpointSlice, ...] = ()  # and Endpoints
    virtual_services: tuple[VirtualService, ...] = ()
    destination_rules: tuple[DestinationRule, ...] = ()
    service_entries: tuple[ServiceEntry, ...] = ()
    workload_entries: tuple[WorkloadEntry, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    secrets: tuple[Secret, ...] = ()
    envoy_filters: tuple[EnvoyFilter, ...] = ()
    sidecars: tuple[Sidecar, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    authorization_policies: tuple[AuthorizationPolicy, ...] = ()
    mesh_configs: tuple[MeshConfig, ...] = ()
    templates: tuple[PodTemplate, ...] = ()
    refused: tuple[VirtualService, ...] = ()  # rules that Envoy refused: in force nowhere, and shown to it again
    refused_patches: tuple[Patch, ...] = ()  # of EnvoyFilters, the same; their other patches are in force
    problems: tuple[Problem, ...] = ()
    changed: frozenset[ObjectKey] = field(default=frozenset(), repr=False, compare=False)  # since generation - 1

    @property
    def config(self) -> MeshConfig:
        """The MeshConfig that is in force: there is one place where it may stand."""
        return next((c for c in self.mesh_configs if c.namespace == ROOT_NAMESPACE), NO_MESH_CONFIG)
