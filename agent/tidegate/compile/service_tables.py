"""Services of the registry, and what their selectors find: a part of the facts. What stays equal is the same object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from tidegate.compile.entries import Joined
from tidegate.compile.index import Draft, Groups, changes
from tidegate.model.entry import WorkloadEntry
from tidegate.model.kube import Age, EndpointSlice, Pod, Service
from tidegate.model.mesh import Mesh
from tidegate.model.net import IPAddress
from tidegate.model.selectors import LabelPair, pairs, selects

L = TypeVar("L", Pod, WorkloadEntry)


@dataclass(frozen=True, slots=True)
class Services:
    """By FQDN, by virtual address, by one pair of the selector; what selectors find, by FQDN; of by_name those
    with ranges."""

    by_name: Mapping[str, Service]
    by_address: Mapping[IPAddress, tuple[Service, ...]]
    by_selector: Mapping[LabelPair, tuple[Service, ...]]
    pods: Mapping[str, tuple[Pod, ...]]
    workloads: Mapping[str, tuple[WorkloadEntry, ...]]
    wide: Mapping[str, Service]


@dataclass(frozen=True, slots=True)
class JoinedPods:
    """What services need to know of pods. changed: as they were and as they are."""

    by_label: Mapping[LabelPair, tuple[Pod, ...]]
    changed: tuple[Pod, ...]


def join_services(old: Services, last: Mesh, mesh: Mesh, pods: JoinedPods, joined: Joined) -> Services:
    """The registry's services: Kubernetes', and hosts of ServiceEntries that it has none for. old: of `last`."""
    gone, come = changes(last.services, mesh.services)
    changed: dict[str, Service | None] = {**dict.fromkeys(s.id.fqdn for s in gone), **{s.id.fqdn: s for s in come}}
    for host in {*joined.hosts, *(fqdn for fqdn, now in changed.items() if now is None)}:
        if changed.get(host) is None:
            before = None if host in changed else old.by_name.get(host)
            changed[host] = before if before is not None and before.external is None else joined.entries.service(host)
    by_name, wide = Draft(old.by_name), Draft(old.wide)
    by_address = Groups(old.by_address, _service_age)
    by_selector = Groups(old.by_selector, _service_age)
    concerned: dict[str, Service | None] = {}
    for fqdn, now in changed.items():
        before = old.by_name.get(fqdn)
        if now == before:
            continue
        concerned[fqdn] = now
        by_name.set(fqdn, now)
        wide.set(fqdn, now if now is not None and now.external is not None and now.external.wide else None)
        if before is not None:
            by_address.remove(before.addresses, before)
            by_selector.remove(_one_pair(before), before)
        if now is not None:
            by_address.add(now.addresses, now)
            by_selector.add(_one_pair(now), now)
    selectors = by_selector.done()
    for pod in pods.changed:
        for pair in pairs(pod.id.namespace, pod.labels):
            for service in selectors.get(pair, ()):
                if service.id.fqdn not in concerned and selects(service.selector, pod.labels):
                    concerned[service.id.fqdn] = service
    selected = Draft(old.pods)
    for fqdn, concerned_service in concerned.items():
        found = _select(concerned_service, pods.by_label) if concerned_service else ()
        selected.set(fqdn, found or None)
    workloads = _select_workloads(old, concerned, selectors, joined)
    return Services(by_name.done(), by_address.done(), selectors, selected.done(), workloads, wide.done())


def _select_workloads(
    old: Services,
    concerned: Mapping[str, Service | None],
    selectors: Mapping[LabelPair, tuple[Service, ...]],
    joined: Joined,
) -> Mapping[str, tuple[WorkloadEntry, ...]]:
    """Selectors find what is written down as they find pods."""
    again = dict(concerned)
    for workload in joined.workloads:
        for pair in pairs(workload.namespace, workload.labels):
            for service in selectors.get(pair, ()):
                if selects(service.selector, workload.labels):
                    again[service.id.fqdn] = service
    selected = Draft(old.workloads)
    for fqdn, now in again.items():
        found = _select(now, joined.entries.workloads_by_label) if now else ()
        selected.set(fqdn, found or None)
    return selected.done()


def _one_pair(service: Service) -> Iterator[LabelPair]:
    """One pair of the selector; whoever has all pairs has this one."""
    return islice(pairs(service.id.namespace, service.selector), 1)


def _select(service: Service, by_label: Mapping[LabelPair, tuple[L, ...]]) -> tuple[L, ...]:
    if not service.selector or service.by_slices:
        return ()
    smallest = min((by_label.get(pair, ()) for pair in pairs(service.id.namespace, service.selector)), key=len)
    found = tuple(one for one in smallest if selects(service.selector, one.labels))
    return smallest if len(found) == len(smallest) else found


Slices = tuple[Mapping[str, tuple[EndpointSlice, ...]], Mapping[IPAddress, tuple[EndpointSlice, ...]]]


def join_slices(old: Slices, last: Mesh, mesh: Mesh) -> Slices:
    """Endpoints that somebody wrote down, by the FQDN of their service and by their addresses. old: of `last`."""
    by_service, by_address = Groups(old[0], _slice_name), Groups(old[1], _slice_name)
    gone, come = changes(last.endpoint_slices, mesh.endpoint_slices)
    for one in gone:
        by_service.remove([one.service.fqdn], one)
        by_address.remove([e.address for e in one.endpoints], one)
    for one in come:
        by_service.add([one.service.fqdn], one)
        by_address.add([e.address for e in one.endpoints], one)
    return by_service.done(), by_address.done()


def _slice_name(found: EndpointSlice) -> tuple[str, str, str]:
    return (found.namespace, found.origin.kind, found.name)


def _service_age(service: Service) -> tuple[Age, str, str]:
    return (service.age, service.id.namespace, service.id.name)
