"""Each patch for a gateway on a resource that serves nobody, so that Envoy can say what is wrong with it alone. Pure.

As for pods (compile/envoy/patches/checks.py), but for two things. A gateway has listeners of several kinds, so a patch
of listeners is tried on the first of them that it changes. And no scope leads to routes here, so a patch of routes is
tried on a table that stands inside of a listener.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate.compile.envoy.patches import listeners, names
from tidegate.compile.envoy.patches.checks import HOLDER, check_name, cluster_alone, nowhere, routes_alone
from tidegate.compile.envoy.patches.lists import Failures
from tidegate.compile.envoy.patches.selection import Patches
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.gateway.http import connection_manager
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import LISTENER_SIDE, ApplyTo, Patch
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource, ResourceRef

# What says which chain is meant for whom: Envoy compares all chains of a listener, so all are shown.
_WHOLE = frozenset({ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN})

Bases = Sequence[tuple[EnvoyResource, listeners.Base]]  # listeners without patches


@dataclass(frozen=True, slots=True)
class ShownAtGateway:
    """What the Envoy of a gateway is shown. made_of: what it depends on."""

    listeners: Mapping[str, EnvoyResource] = field(default_factory=dict)
    clusters: Mapping[str, EnvoyResource] = field(default_factory=dict)
    made_of: object = None


def shown_at_gateway(
    patches: Patches, ports: Mapping[int, str], bases: Bases, before: ShownAtGateway
) -> ShownAtGateway:
    """The resources of all patches, also of those that were refused; the same object as before if they are the same.

    A patch of listeners that changes none has none: it is in force nowhere. ports: their names.
    """
    if not patches:
        return ShownAtGateway()
    made_of = (patches, dict(ports), [(plain.body, plain.refs, base.port) for plain, base in bases])
    if before.made_of == made_of:
        return before
    made = _Making([p for p in patches if p.apply_to is ApplyTo.EXTENSION_CONFIG], bases)
    for patch in patches:
        made.show(patch)
    return ShownAtGateway(made.all_listeners(), made.clusters, made_of)


class _Making:
    def __init__(self, extensions: Sequence[Patch], bases: Bases) -> None:
        self._extensions = extensions
        self._bases = bases
        self._plain = [listeners.patched(plain.body, (), base, []) for plain, base in bases] if bases else []
        self.listeners: dict[str, EnvoyResource] = {}
        self.clusters: dict[str, EnvoyResource] = {}

    def show(self, patch: Patch) -> None:
        name = check_name(patch)
        try:
            if patch.apply_to is ApplyTo.EXTENSION_CONFIG:
                return  # it is nothing without the filter that names it, which is tried with it
            if patch.apply_to in LISTENER_SIDE:
                self._show_in_listener(name, patch)
            elif patch.apply_to is ApplyTo.CLUSTER:
                self.clusters[name] = EnvoyResource(name, cluster_alone(name, patch), (patch.origin,), judged=patch)
            else:
                table = {key: value for key, value in routes_alone(name, patch).items() if key != "name"}
                self._put(name, patch, _around({**table, "name": name}))
        except Rejected as error:
            self.listeners[name] = EnvoyResource(name, {"name": name}, (patch.origin,), judged=patch, wrong=str(error))

    def _show_in_listener(self, name: str, patch: Patch) -> None:
        for (plain, base), without in zip(self._bases, self._plain, strict=True):
            failures: Failures = []
            body = listeners.patched(plain.body, (*self._extensions, patch), base, failures)
            if failures or body == without:
                continue  # why it cannot be applied is told by who applies it
            if patch.apply_to not in _WHOLE:
                body = {**body, "filter_chains": _few(body["filter_chains"], without["filter_chains"])}
            self._put(name, patch, body, plain)
            return

    def _put(self, name: str, patch: Patch, body: Json, like: EnvoyResource | None = None) -> None:
        made = EnvoyResource(name, nowhere(body, name, len(self.listeners) + 1), (patch.origin,), judged=patch)
        self.listeners[name] = made if like is None else replace(made, refs=like.refs)

    def all_listeners(self) -> dict[str, EnvoyResource]:
        """With the one that leads to the clusters."""
        if not self.clusters:
            return self.listeners
        refs = frozenset(ResourceRef(CLUSTERS, name) for name in self.clusters)
        holder = nowhere(_around({"name": HOLDER}), HOLDER, 0)
        return {**self.listeners, HOLDER: EnvoyResource(HOLDER, holder, (), refs, judged=HOLDER)}


def _around(routes: Json) -> Json:
    """A listener with a table inside."""
    manager = connection_manager("check", "")
    config = {key: value for key, value in manager["typed_config"].items() if key != "rds"}
    return {"filter_chains": [{"filters": [{**manager, "typed_config": {**config, "route_config": routes}}]}]}


def _few(chains: Sequence[Json], before: Sequence[Json]) -> list[Json]:
    """Of the chains that a patch changed one for HTTP and one for other connections: a gateway may have thousands."""
    changed = [chain for chain, old in zip(chains, before, strict=True) if chain != old] or chains
    found: dict[bool, Json] = {}
    for chain in changed:
        found.setdefault(_is_http(chain), chain)
    return list(found.values())


def _is_http(chain: Mapping[str, Any]) -> bool:
    return any(one["name"] == names.HTTP_MANAGER for one in chain.get("filters", ()))
