"""ServiceEntries and WorkloadEntries, joined: what they make of each host, the addresses given out, workloads by label.

The registry is one (compile/facts.py): a host of a ServiceEntry is a service like any other, unless Kubernetes has a
Service of that name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from tidegate.compile.allocation import allocate
from tidegate.compile.index import Draft, Groups, changes
from tidegate.model.entry import WorkloadEntry
from tidegate.model.kube import Age, Service
from tidegate.model.mesh import Mesh
from tidegate.model.net import IPAddress
from tidegate.model.selectors import LabelPair, pairs
from tidegate.model.service_entry import ServiceEntry, merged

_Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Entries:
    """Never written to after join_entries() made it."""

    by_host: Mapping[str, tuple[Service, ...]] = field(default_factory=dict)  # the oldest first
    by_entry: Mapping[_Name, tuple[Service, ...]] = field(default_factory=dict)  # by namespace and name
    addresses: Mapping[str, IPAddress] = field(default_factory=dict)  # host -> what was given out here
    workloads_by_label: Mapping[LabelPair, tuple[WorkloadEntry, ...]] = field(default_factory=dict)  # by name

    def service(self, host: str) -> Service | None:
        """What the registry has of a host, if Kubernetes has nothing."""
        return merged(self.by_host.get(host, ()))


@dataclass(frozen=True, slots=True)
class Joined:
    """The entries, and what is another in them than in those before."""

    entries: Entries
    hosts: frozenset[str]
    workloads: tuple[WorkloadEntry, ...]  # as they were and as they are


def join_entries(old: Entries, before: Mesh, mesh: Mesh) -> Joined:
    """The entries of this configuration; old: of the one before. It costs what changed, except that addresses are given
    out again for all hosts when a host that wants one comes or goes."""
    gone, come = changes(before.service_entries, mesh.service_entries)
    workloads = _join_workloads(old, before, mesh)
    addresses = _addresses(mesh.service_entries) if _other_wishes(gone, come) else old.addresses
    again = {_name(entry): entry for entry in come}
    if addresses != old.addresses:
        moved = {host for host in {*addresses, *old.addresses} if addresses.get(host) != old.addresses.get(host)}
        again.update((_name(e), e) for e in mesh.service_entries if not moved.isdisjoint(e.wanting()))
    made: dict[_Name, tuple[Service, ...] | None] = {
        **dict.fromkeys(map(_name, gone)),
        **{name: entry.services(addresses) for name, entry in again.items()},
    }
    by_entry, by_host = Draft(old.by_entry), Groups(old.by_host, _age)
    hosts: set[str] = set()
    for name, now in made.items():
        known = old.by_entry.get(name)
        if known == now:
            continue
        by_entry.set(name, now or None)
        for service in known or ():
            by_host.remove([service.id.fqdn], service)
            hosts.add(service.id.fqdn)
        for service in now or ():
            by_host.add([service.id.fqdn], service)
            hosts.add(service.id.fqdn)
    joined = Entries(by_host.done(), by_entry.done(), addresses, workloads.by_label)
    return Joined(old if joined == old else joined, frozenset(hosts), workloads.changed)


@dataclass(frozen=True, slots=True)
class _Workloads:
    by_label: Mapping[LabelPair, tuple[WorkloadEntry, ...]]
    changed: tuple[WorkloadEntry, ...]


def _join_workloads(old: Entries, before: Mesh, mesh: Mesh) -> _Workloads:
    gone, come = changes(before.workload_entries, mesh.workload_entries)
    groups = Groups(old.workloads_by_label, attrgetter("namespace", "name"))
    for entry in gone:
        groups.remove(pairs(entry.namespace, entry.labels), entry)
    for entry in come:
        groups.add(pairs(entry.namespace, entry.labels), entry)
    return _Workloads(groups.done(), (*gone, *come))


def _other_wishes(gone: Iterable[ServiceEntry], come: Iterable[ServiceEntry]) -> bool:
    """Whether what is to be given out, or what must not be, may be another than before."""

    def wishes(entries: Iterable[ServiceEntry]) -> set[object]:
        wanted = {(entry.age, host) for entry in entries for host in entry.wanting()}
        return {*wanted, *(address for entry in entries for address in _taken(entry))}

    return wishes(gone) != wishes(come)


def _addresses(entries: Iterable[ServiceEntry]) -> Mapping[str, IPAddress]:
    oldest_first = sorted(entries, key=lambda e: (e.age, e.namespace, e.name))
    hosts = (host for entry in oldest_first for host in entry.wanting())
    return allocate(hosts, frozenset(address for entry in oldest_first for address in _taken(entry)))


def _taken(entry: ServiceEntry) -> Iterable[IPAddress]:
    yield from entry.addresses
    for addresses in entry.given.values():
        yield from addresses


def _name(entry: ServiceEntry) -> _Name:
    return entry.namespace, entry.name


def _age(service: Service) -> tuple[Age, str, str, str]:
    origin = service.origin
    return service.age, origin.namespace, origin.name, service.id.fqdn


def names_to_resolve(
    services: Mapping[str, Service],
    workloads: Mapping[str, tuple[WorkloadEntry, ...]],
    led_to: Collection[str] = (),
) -> set[str]:
    """Names that somebody has to resolve for us, because what serves them takes addresses only: the fast path, and
    Envoy for Services of Kubernetes. workloads: by service, as its selector finds them. led_to: services to which
    routes of connections lead, through whichever of their ports."""
    found = (entry.workload for group in workloads.values() for entry in group)
    named = {workload.address for workload in found if workload.ip is None and not workload.path}
    for service in services.values():
        external = service.external
        if external is None or not external.resolution.by_name:
            continue
        if service.id.fqdn not in led_to and all(p.protocol.is_http for p in service.tcp_ports):
            continue
        named.update(w.address for w in external.endpoints if w.ip is None)
        if not (external.endpoints or service.selector or service.id.fqdn.startswith("*")):
            named.add(service.id.fqdn)
    return named
