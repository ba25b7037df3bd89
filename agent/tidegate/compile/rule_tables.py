"""The rules of the mesh by what they are looked up by: a part of the facts. What stays equal is the same object."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.compile import tables
from tidegate.compile.delegates import delegates_of, merged
from tidegate.compile.index import Groups, changes
from tidegate.model.kube import Age
from tidegate.model.mesh import Mesh
from tidegate.model.names import cluster_domain
from tidegate.model.routing import MESH, Delegate, VirtualService
from tidegate.model.sidecar import Sidecar
from tidegate.model.traffic import DestinationRule

ByHost = Mapping[str, tuple[VirtualService, ...]]
Roots = Mapping[Delegate, tuple[VirtualService, VirtualService]]


def join_virtual_services(old: tuple[ByHost, Roots], last: Mesh, mesh: Mesh) -> tuple[ByHost, Roots]:
    """VirtualServices by host, with the routes of those that they delegate to, and who delegates. old: of `last`."""
    before, old_roots = old
    gone, come = changes(last.virtual_services, mesh.virtual_services)
    default = mesh.config.virtual_services_to
    if not gone and not come and default == last.config.virtual_services_to:
        return old
    groups = Groups(before, _age)
    standing = {id(vs) for vs in come}
    for vs in gone:
        # A root stands here as it was merged, and is merged anew below.
        groups.remove(map(tables.host_key, vs.hosts), old_roots.get(vs.id, (vs, vs))[1])
    for vs in come:
        if not any(True for _ in delegates_of(vs)):
            groups.add(map(tables.host_key, vs.hosts), vs)
    left = {id(vs) for vs in gone}
    raw = [written for written, _ in old_roots.values() if id(written) not in left]
    raw += [vs for vs in come if any(True for _ in delegates_of(vs))]
    if not raw:
        return groups.done(), {}
    delegates = {vs.id: vs for vs in mesh.virtual_services if not vs.hosts}
    roots: dict[Delegate, tuple[VirtualService, VirtualService]] = {}
    for written in raw:
        known = None if id(written) in standing else old_roots[written.id][1]
        now = merged(written, delegates.get, default)
        if known is not None and now == known:
            now = known
        elif known is not None:
            groups.remove(map(tables.host_key, known.hosts), known)
        if now is not known:
            groups.add(map(tables.host_key, now.hosts), now)
        roots[written.id] = (written, now)
    return groups.done(), roots if roots != old_roots else old_roots


def join_targets(old: ByHost, before: ByHost, now: ByHost) -> ByHost:
    """Rules for pods by the hosts to which their routes lead. old: of `before`."""
    if before is now:
        return old
    was, has = ({id(vs): vs for group in those.values() for vs in group} for those in (before, now))
    groups = Groups(old, _age)
    for key in was.keys() - has.keys():
        groups.remove(_targets(was[key]), was[key])
    for key in has.keys() - was.keys():
        groups.add(_targets(has[key]), has[key])
    return groups.done()


def _targets(vs: VirtualService) -> set[str]:
    return {target.host for target in vs.targets()} if MESH in vs.gateways else set()


def join_sidecars(old: Mapping[str, tuple[Sidecar, ...]], last: Mesh, mesh: Mesh) -> Mapping[str, tuple[Sidecar, ...]]:
    """Sidecars by namespace. old: of `last`."""
    groups = Groups(old, _age)
    gone, come = changes(last.sidecars, mesh.sidecars)
    for sidecar in gone:
        groups.remove([sidecar.namespace], sidecar)
    for sidecar in come:
        groups.add([sidecar.namespace], sidecar)
    return groups.done()


def join_destination_rules(
    old: Mapping[tuple[str, str], tuple[DestinationRule, ...]], last: Mesh, mesh: Mesh
) -> Mapping[tuple[str, str], tuple[DestinationRule, ...]]:
    """DestinationRules by namespace and host. old: of `last`."""
    groups = Groups(old, _age)
    gone, come = changes(last.destination_rules, mesh.destination_rules)
    for rule in gone:
        groups.remove([(rule.namespace, tables.host_key(rule.host))], rule)
    for rule in come:
        groups.add([(rule.namespace, tables.host_key(rule.host))], rule)
    return groups.done()


def join_foreign_rules(
    old: Mapping[str, tuple[DestinationRule, ...]], last: Mesh, mesh: Mesh
) -> Mapping[str, tuple[DestinationRule, ...]]:
    """Those that count for clients of their own namespace only, by host. old: of `last`."""
    root = mesh.config.root_namespace
    same = root == last.config.root_namespace
    groups = Groups(old if same else {}, _age)
    gone, come = changes(last.destination_rules if same else (), mesh.destination_rules)
    for rule in gone:
        if _is_foreign(rule, root):
            groups.remove([tables.host_key(rule.host)], rule)
    for rule in come:
        if _is_foreign(rule, root):
            groups.add([tables.host_key(rule.host)], rule)
    return groups.done()


def _is_foreign(rule: DestinationRule, root: str) -> bool:
    return rule.namespace != root and not rule.host.endswith(f".{rule.namespace}.svc.{cluster_domain()}")


def _age(rule: VirtualService | DestinationRule | Sidecar) -> tuple[Age, str, str]:
    return (rule.age, rule.namespace, rule.name)
