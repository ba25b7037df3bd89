"""Which patches are for which pod, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import re2

from tidegate.compile.envoy.patches import names
from tidegate.compile.visibility import Source
from tidegate.model.envoy_filter import (
    LISTENER_SIDE,
    PROXY_VERSION,
    ROUTE_SIDE,
    ApplyTo,
    ChainProtocol,
    Context,
    EnvoyFilter,
    ListenerMatch,
    Patch,
)
from tidegate.model.names import ROOT_NAMESPACE

Patches = tuple[Patch, ...]
VERSION = "ISTIO_VERSION"  # of a proxy's metadata
_OURS = {VERSION: PROXY_VERSION, "CLUSTER_ID": "Kubernetes"}
_DIGITS = 8
_OF_CHAINS = frozenset({ApplyTo.FILTER_CHAIN, ApplyTo.NETWORK_FILTER})
_ANY_MATCH = ListenerMatch()


@dataclass(frozen=True, slots=True)
class Selected:
    """The patches for one pod by what they change, each in order."""

    listener: Patches = ()
    routes: Patches = ()
    cluster: Patches = ()

    @property
    def variant(self) -> str:
        """What tells clusters with these patches from those with others; empty without any."""
        return variant_of(self.cluster)


NOTHING = Selected()


class Selection:
    """The EnvoyFilters of a mesh, without the patches that Envoy refused. root: the namespace for all pods."""

    def __init__(
        self, filters: Iterable[EnvoyFilter] = (), refused: Sequence[Patch] = (), root: str = ROOT_NAMESPACE
    ) -> None:
        self._filters = sorted(filters, key=lambda one: one.order(root))
        self._refused = refused
        self._root = root

    def __bool__(self) -> bool:
        return bool(self._filters)

    def patches(self, source: Source, context: Context, proxy: Mapping[str, str] | None = None) -> Patches:
        """All that are for a pod, in order. proxy: what its proxy says of itself; None: it is one of ours."""
        told = {"NAMESPACE": source.namespace, **(_OURS if proxy is None else proxy)}
        return tuple(
            patch
            for one in self._filters
            if one.concerns(source.namespace, source.labels, self._root)
            for patch in one.patches
            if patch.context in (Context.ANY, context) and patch not in self._refused and _is_for(patch, told)
        )

    def of(self, source: Source, context: Context, proxy: Mapping[str, str] | None = None) -> Selected:
        """The same, by what they change."""
        if not self._filters:
            return NOTHING
        found = self.patches(source, context, proxy)
        return Selected(
            tuple(p for p in found if p.apply_to in LISTENER_SIDE),
            tuple(p for p in found if p.apply_to in ROUTE_SIDE),
            tuple(p for p in found if p.apply_to is ApplyTo.CLUSTER),
        )

    def proxy_keys(self) -> frozenset[str]:
        """What patches ask of a proxy's metadata, by key."""
        version = {VERSION} if any(patch.proxy_version for patch in self.every()) else set()
        return frozenset(version.union(*(patch.proxy_metadata for patch in self.every())))

    def every(self) -> Patches:
        """All patches, also those that Envoy refused, in order."""
        return tuple(patch for one in self._filters for patch in one.patches)

    def clusters(self) -> Patches:
        """All of clusters that Envoy did not refuse, in order."""
        return tuple(p for p in self.every() if p.apply_to is ApplyTo.CLUSTER and p not in self._refused)


def of_connections(patch: Patch) -> bool:
    """Whether a patch may change filter chains of what is not HTTP."""
    match = patch.listener or _ANY_MATCH
    return (
        patch.apply_to in _OF_CHAINS
        and match.protocol is not ChainProtocol.HTTP
        and not match.sub_filter
        and names.of_network(match.filter) != names.HTTP_MANAGER
    )


def variant_of(patches: Patches) -> str:
    """A short name for what a cluster becomes by these patches, the same on each node and after each start."""
    if not patches:
        return ""
    told = [(p.operation.value, repr(p.cluster), _sorted(p.value)) for p in patches]
    return sha256(repr(told).encode()).hexdigest()[:_DIGITS]


def _sorted(value: object) -> object:
    if isinstance(value, Mapping):
        return sorted((key, _sorted(item)) for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _is_for(patch: Patch, told: Mapping[str, str]) -> bool:
    """Whether a proxy is as match.proxy says."""
    version = told.get(VERSION, "")
    if patch.proxy_version and not (version and re2.search(patch.proxy_version, version)):
        return False
    return patch.proxy_metadata.items() <= told.items()
