"""Who a workload is: its service account, as SPIFFE writes it, and the certificate that says so."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from tidegate.model.kube import Pod
from tidegate.model.names import cluster_domain

TRUST_DOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9._]{0,253}[a-z0-9])?")  # SPIFFE-ID 2.1; Envoy compares as written
_NAMESPACE = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"  # RFC 1123 label
_ACCOUNT = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"  # RFC 1123 subdomain
_SPIFFE = re.compile(rf"spiffe://(?P<domain>{TRUST_DOMAIN.pattern})/ns/(?P<ns>{_NAMESPACE})/sa/(?P<sa>{_ACCOUNT})")

# How Envoy asks for what the mesh vouches for: who may sign the other side's certificate; and the own certificate of a
# program that is one workload and no more. Istio's names.
ROOTS, OWN = "ROOTCA", "default"
_SCHEME, _SERVED = "identity://", "served-by://"


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A service account. Whoever runs as it is the same workload to others."""

    namespace: str
    account: str

    @property
    def secret(self) -> str:
        """The name by which Envoy asks for its certificate. The trust domain is not in it: listeners say the name, and
        whoever changes the domain wants no connection cut."""
        return f"{_SCHEME}{self.namespace}/{self.account}"

    @property
    def served_by(self) -> str:
        """The same certificate, for listeners in front of its pods. Of two ways to ask for one name, by a cluster when
        a client connects and by a listener from the start, Envoy would hear of the answer on one."""
        return f"{_SERVED}{self.namespace}/{self.account}"

    def spiffe(self, trust_domain: str) -> str:
        """spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT (ztunnel's src/identity/manager.rs has the same grammar)."""
        return f"spiffe://{trust_domain}/ns/{self.namespace}/sa/{self.account}"


def identity_of(pod: Pod) -> Identity:
    """Whose certificate a pod shows."""
    return Identity(pod.id.namespace, pod.service_account)


def is_of_the_mesh(secret: str) -> bool:
    """Whether a name of a Secret of Envoy's means a certificate of the mesh, which comes as soon as it is issued."""
    return secret in (ROOTS, OWN) or secret.startswith((_SCHEME, _SERVED))


def identity_in(spiffe: str) -> tuple[str, Identity] | None:
    """Trust domain and identity of a name, None for one of another form: nothing is read into a name that Kubernetes
    could not have given to an account."""
    found = _SPIFFE.fullmatch(spiffe)
    return (found["domain"], Identity(found["ns"], found["sa"])) if found else None


def trust_domain_or_default(said: str) -> str:
    """The trust domain that a MeshConfig says, or without a word the cluster's domain."""
    return said or cluster_domain()


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate of an identity with its key, in PEM. Times are seconds since the epoch."""

    identity: Identity
    trust_domain: str
    chain: bytes  # the leaf first; the root is not in it
    key: bytes = field(repr=False)  # empty: it stays where it was made
    roots: bytes  # who may sign those of others
    issued: float
    expires: float
    serial: str = ""  # hexadecimal
    revoked: bytes = b""  # lists of those of others that are not believed any more, in PEM
