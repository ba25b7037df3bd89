"""Connections without HTTP that patches of EnvoyFilters are for: Envoy carries them in place of the relay, which has no
filters and no clusters to patch.

It is decided for a service port and a client, by what a patch says it is for; what it then does to the filter chain or
the cluster does not matter. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from tidegate.compile.derive import Read, derived
from tidegate.compile.envoy.patches import clusters
from tidegate.compile.envoy.patches.selection import Patches, Selection, of_connections
from tidegate.compile.envoy.patches.served import PatchedPort
from tidegate.compile.tables import ENVOY_FILTERS
from tidegate.compile.visibility import Source
from tidegate.model.envoy_filter import ApplyTo, Context, ListenerMatch, Patch
from tidegate.model.kube import Service, ServicePort
from tidegate.model.net import IPAddress

_ANY_MATCH = ListenerMatch()
LedTo = tuple[str, int, str]  # FQDN, port, subset

Labels = tuple[tuple[str, str], ...]


def dialled(port: ServicePort, addresses: Iterable[IPAddress]) -> PatchedPort:
    """What a client dials, as patches name it."""
    return PatchedPort(
        port=port.port, services=((port.port, port.name),), addresses=[ip_network(str(a)) for a in addresses]
    )


def patches_for(read: Read, source: Source) -> Patches:
    """The patches for a client's connections and for clusters, of those that may concern what is not HTTP."""
    return read(_patches_for, (source.namespace, tuple(sorted(source.labels.items()))))


def may_be_patched(read: Read, service: Service, port: ServicePort, targets: Sequence[LedTo]) -> bool:
    """Quick look whether a patch is for what anybody says to a service port, or for a cluster to which that leads."""
    return _any_for(read(_every, ""), service, port, targets)


def patched(read: Read, service: Service, port: ServicePort, targets: Sequence[LedTo], source: Source) -> bool:
    """Whether a patch is for what a client says to a service port, or for a cluster to which that leads."""
    return is_any(read) and _any_for(patches_for(read, source), service, port, targets)


def _any_for(patches: Patches, service: Service, port: ServicePort, targets: Sequence[LedTo]) -> bool:
    if not patches:
        return False
    there = dialled(port, service.addresses)
    return any(
        any(clusters.fits(patch, *target) for target in targets)
        if patch.apply_to is ApplyTo.CLUSTER
        else there.fits(patch.listener or _ANY_MATCH)
        for patch in patches
    )


def _concerns(patch: Patch) -> bool:
    return patch.context in (Context.ANY, Context.SIDECAR_OUTBOUND) and (
        of_connections(patch) or (patch.apply_to is ApplyTo.CLUSTER and patch.operation in clusters.CHANGES)
    )


def is_any(read: Read) -> bool:
    """Whether any patch may be for what is not HTTP."""
    return read(ENVOY_FILTERS, "") is not None and bool(read(_every, ""))


@derived
def _every(read: Read, _: str) -> Patches:
    """Those of all EnvoyFilters in force: most meshes have none."""
    found = read(ENVOY_FILTERS, "")
    if found is None:
        return ()
    filters, refused, _root = found
    return tuple(p for one in filters for p in one.patches if p not in refused and _concerns(p))


@derived
def _patches_for(read: Read, of: tuple[str, Labels]) -> Patches:
    found = read(ENVOY_FILTERS, "")
    if found is None:
        return ()
    namespace, labels = of
    selected = Selection(*found).patches(Source(namespace, dict(labels)), Context.SIDECAR_OUTBOUND)
    return tuple(patch for patch in selected if _concerns(patch))
