"""What is read of a cluster, kind by kind: where the API server has it, and how much of it.

ServiceAccounts are not read, because nothing looks at them yet, nor are Endpoints: the cluster makes EndpointSlices of
those. The table is also what rights the agent needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tidegate.config.kinds import KINDS, LATER, Kind
from tidegate.config.kinds.mesh_config import NAME as MESH_CONFIG
from tidegate.model.names import ROOT_NAMESPACE, ObjectKey

JSON: Final = "application/json"
_AS: Final = "as={sort};g=meta.k8s.io;v=v1"
_METADATA_LIST: Final = f"{JSON};{_AS.format(sort='PartialObjectMetadataList')},{JSON}"
_METADATA: Final = f"{JSON};{_AS.format(sort='PartialObjectMetadata')},{JSON}"


@dataclass(frozen=True, slots=True)
class Resource:
    """Objects of one kind that are listed and watched together."""

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...]  # that we read, the one to ask for first in front
    fields: str = ""  # field selector: which of them
    namespace: str = ""  # of these only; empty: of all
    metadata_only: bool = False  # of nothing else anything is read
    by_thousands: bool = False  # there are many, so it matters how fast they are read
    optional: bool = False  # a cluster may not have the kind

    @property
    def name(self) -> str:
        """As people and RBAC call it: ``virtualservices.networking.istio.io``; with the name if it is one object."""
        kind = f"{self.plural}.{self.group}" if self.group else self.plural
        one = self.fields.removeprefix("metadata.name=")
        return f"{kind} {self.namespace}/{one}" if one != self.fields else kind

    def path(self, version: str) -> str:
        """Below the address of the API server."""
        root = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        where = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{root}{where}/{self.plural}"

    def api_version(self, version: str) -> str:
        """As objects say it."""
        return f"{self.group}/{version}" if self.group else version

    def accept(self, *, watch: bool) -> str:
        """What form of the objects is asked for."""
        if not self.metadata_only:
            return JSON
        return _METADATA if watch else _METADATA_LIST

    def key(self, namespace: str, name: str) -> ObjectKey:
        """Which object is meant."""
        known = KINDS.get((self.group, self.kind))
        return known.key(namespace, name) if known else ObjectKey(self.group, self.kind, namespace, name)


def _of(plural: str, group: str, kind: str, *, many: bool = False, metadata_only: bool = False, fields: str = "",
        namespace: str = "") -> Resource:  # fmt: skip
    return Resource(
        group,
        kind,
        plural,
        _versions(KINDS.get((group, kind))),
        fields,
        namespace,
        metadata_only=metadata_only,
        by_thousands=many,
        optional=group in LATER,
    )


def _versions(kind: Kind | None) -> tuple[str, ...]:
    """The newest first. Of a kind that does nothing yet any will do to say so."""
    return tuple(reversed(kind.versions)) if kind else ("v1", "v1beta1", "v1alpha1")


_ENDED = "status.phase!=Succeeded,status.phase!=Failed"  # pods that nobody talks to or from any more
_ISTIO = "networking.istio.io"
_SECURITY = "security.istio.io"

RESOURCES: Final = (
    _of("namespaces", "", "Namespace", metadata_only=True),
    _of("nodes", "", "Node", metadata_only=True),
    _of("pods", "", "Pod", many=True, fields=_ENDED),
    _of("services", "", "Service", many=True),
    _of("endpointslices", "discovery.k8s.io", "EndpointSlice", many=True),
    _of("configmaps", "", "ConfigMap", fields=f"metadata.name={MESH_CONFIG}", namespace=ROOT_NAMESPACE),
    _of("virtualservices", _ISTIO, "VirtualService"),
    _of("destinationrules", _ISTIO, "DestinationRule"),
    _of("serviceentries", _ISTIO, "ServiceEntry"),
    _of("workloadentries", _ISTIO, "WorkloadEntry"),
    _of("workloadgroups", _ISTIO, "WorkloadGroup"),
    _of("gateways", _ISTIO, "Gateway"),
    _of("envoyfilters", _ISTIO, "EnvoyFilter"),
    _of("sidecars", _ISTIO, "Sidecar"),
    _of("proxyconfigs", _ISTIO, "ProxyConfig"),
    _of("authorizationpolicies", _SECURITY, "AuthorizationPolicy"),
    _of("peerauthentications", _SECURITY, "PeerAuthentication"),
    _of("requestauthentications", _SECURITY, "RequestAuthentication"),
    _of("telemetries", "telemetry.istio.io", "Telemetry"),
    _of("wasmplugins", "extensions.istio.io", "WasmPlugin"),
)
_SECRETS = _of("secrets", "", "Secret")


def secret(namespace: str, name: str) -> Resource:
    """One Secret that somebody named: no other is ever asked for."""
    return replace(_SECRETS, namespace=namespace, fields=f"metadata.name={name}")
