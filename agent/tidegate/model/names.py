"""Names, parsed once; afterwards the type is the proof."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.errors import Rejected

ROOT_NAMESPACE = "istio-system"  # whose rules are everybody's: Istio's default
DEFAULT_CLUSTER_DOMAIN = "cluster.local"  # kubelet's and Istio's default

_DOMAIN = re.compile(r"(?=.{1,189}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_cluster_domain = DEFAULT_CLUSTER_DOMAIN


def cluster_domain() -> str:
    """What the names of the cluster's services end with; the trust domain of its identities too, as by Istio's
    defaults."""
    return _cluster_domain


def use_cluster_domain(domain: str) -> None:
    """Set it for this process, "" = the default. Once, before anything is read: a process serves one cluster, and names
    that were made before stay as they are. Raises Rejected if it is no domain name."""
    global _cluster_domain  # noqa: PLW0603 - as a process has one
    wanted = domain.lower().rstrip(".") if domain else DEFAULT_CLUSTER_DOMAIN
    if not _DOMAIN.fullmatch(wanted):
        raise Rejected(
            f"--cluster-domain {domain!r}", "is no domain name", f"write for example {DEFAULT_CLUSTER_DOMAIN}"
        )
    _cluster_domain = wanted


def search_domains(namespace: str) -> tuple[str, str, str]:
    """What a resolver in a pod of that namespace appends to a short name, in order."""
    return f"{namespace}.svc.{_cluster_domain}", f"svc.{_cluster_domain}", _cluster_domain


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
    """A service of the registry; str() is its FQDN, which is also its host in the Istio API.

    host: of a ServiceEntry, whose name says nothing of it and which may start with "*"; empty for a Kubernetes Service.
    """

    namespace: str
    name: str
    host: str = ""

    @property
    def fqdn(self) -> str:
        return self.host or f"{self.name}.{self.namespace}.svc.{_cluster_domain}"

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
