"""Names, parsed once; afterwards the type is the proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tidegate.errors import Rejected

# Settings of the mesh that are Istio's defaults, each named here only.
CLUSTER_DOMAIN = "cluster.local"  # of names of services
TRUST_DOMAIN = "cluster.local"  # of identities
ROOT_NAMESPACE = "istio-system"  # whose rules are everybody's


@dataclass(frozen=True, slots=True, order=True)
class WorkloadId:
    """A pod by its namespace and name."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str, default_namespace: str = "default") -> WorkloadId:
        """Read ``ns/name`` or ``name``. Raises Rejected if either part is empty or there is more than one slash."""
        namespace, slash, name = text.rpartition("/")
        if not slash:
            namespace = default_namespace
        if not name or not namespace or "/" in namespace:
            raise Rejected(f"pod {text!r}", "is not NAMESPACE/NAME", "write for example default/productpage")
        return cls(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class ServiceName:
    """A Kubernetes Service; str() is its FQDN, which is also its host in the Istio API."""

    namespace: str
    name: str

    @property
    def fqdn(self) -> str:
        return f"{self.name}.{self.namespace}.svc.{CLUSTER_DOMAIN}"

    def __str__(self) -> str:
        return self.fqdn


class ObjectKey(NamedTuple):
    """The one identity of an API object, whatever version of its group it was written in."""

    group: str  # empty: Kubernetes' core
    kind: str
    namespace: str  # empty: an object of the whole cluster
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"
