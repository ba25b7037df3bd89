"""Each patch and rule for a gateway where it serves nobody, so that Envoy can say what is wrong with it alone. Pure.

Patches as for pods (compile/envoy/patches/checks.py), but for two things. A gateway has listeners of several kinds, so
a patch of listeners is tried on the first of them that it changes. And no scope leads to routes here, so a patch of
routes is tried on a table that stands inside of a listener.

VirtualServices exactly as for pods (compile/outbound/checks.py, xds/checks.py), under scopes. No listener of a gateway
has scopes, since one port is one table; so there is one more, bound to nothing, for these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate.compile.delegates import delegates_of
from tidegate.compile.envoy import private
from tidegate.compile.envoy.patches import listeners, names
from tidegate.compile.envoy.patches.checks import HOLDER, check_name, cluster_alone, nowhere, routes_alone
from tidegate.compile.envoy.patches.lists import Failures
from tidegate.compile.envoy.patches.selection import Patches
from tidegate.compile.envoy.protojson import Json, ads
from tidegate.compile.gateway.http import connection_manager
from tidegate.compile.outbound.checks import checks
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import LISTENER_SIDE, ApplyTo, Patch
from tidegate.model.gateway import Gateway, GatewayWorkload, gateway_ref
from tidegate.model.mesh import Mesh
from tidegate.model.plan.envoy import CLUSTERS, EVERY, SCOPES, EnvoyResource, ResourceRef
from tidegate.model.routing import VirtualService

# What says which chain is meant for whom: Envoy compares all chains of a listener, so all are shown.
_WHOLE = frozenset({ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN})

RULES = "check|rules"  # the listener in which the routes of each rule are shown
_LAST_NUMBER = 0xFFFF  # of listeners that are bound to nothing; patches have the others

Bases = Sequence[tuple[EnvoyResource, listeners.Base]]  # listeners without patches


@dataclass(frozen=True, slots=True)
class ShownAtGateway:
    """What the Envoy of a gateway is shown of patches. made_of: what it depends on."""

    listeners: Mapping[str, EnvoyResource] = field(default_factory=dict)
    clusters: Mapping[str, EnvoyResource] = field(default_factory=dict)
    made_of: object = None


@dataclass(frozen=True, slots=True)
class RulesAtGateway:
    """What the Envoy of a gateway is shown of VirtualServices: a route configuration each, and where they stand."""

    tables: Mapping[str, EnvoyResource] = field(default_factory=dict)
    listeners: Mapping[str, EnvoyResource] = field(default_factory=dict)


def rules_at_gateway(
    mesh: Mesh, workload: GatewayWorkload, gateways: Iterable[Gateway], before: RulesAtGateway
) -> RulesAtGateway:
    """Each rule with which the workload has to do, and those whom it delegates to; also those that were refused."""
    refs = frozenset(gateway.ref for gateway in gateways)
    default = mesh.config.virtual_services_to

    def mine(vs: VirtualService) -> bool:
        bound = not refs.isdisjoint(gateway_ref(name, vs.namespace) for name in vs.gateways)
        return bound and bool(vs.http) and vs.visible_from(workload.namespace, default)

    groups = (mesh.virtual_services, mesh.refused)
    roots = [[vs for vs in group if mine(vs)] for group in groups]
    named = {delegate for group in roots for vs in group for delegate in delegates_of(vs)}
    written, refused = (
        [*those, *(vs for vs in group if named and not vs.hosts and vs.id in named)]
        for those, group in zip(roots, groups, strict=True)
    )
    tables = checks(written, refused, before.tables)
    if tables.keys() == before.tables.keys() and all(tables[name] is before.tables[name] for name in tables):
        return before
    return RulesAtGateway(tables, before.listeners or {RULES: _scoped()} if tables else {})


def _scoped() -> EnvoyResource:
    """A listener whose routes are those of scopes. Nobody comes to it, so nothing is asked of a request."""
    manager = connection_manager("check", "")
    config = {key: value for key, value in manager["typed_config"].items() if key != "rds"}
    config["scoped_routes"] = {
        "name": RULES,
        "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": private.DIALLED, "index": 0}}]},
        "rds_config_source": ads(),
        "scoped_rds": {"scoped_rds_config_source": ads()},
    }
    body = nowhere({"filter_chains": [{"filters": [{**manager, "typed_config": config}]}]}, RULES, _LAST_NUMBER)
    return EnvoyResource(RULES, body, (), frozenset({ResourceRef(SCOPES, EVERY)}))


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
