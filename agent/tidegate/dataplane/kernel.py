"""Kernel tables follow the snapshot: destinations first, a pod's row last, removal the other way round.

The tables themselves are the memory: each pass reads what the kernel has and writes the difference, so an agent that
was killed simply goes on.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Protocol

from tidegate.bpf.records import DestinationKey, PodRow
from tidegate.dataplane.diff import diff
from tidegate.model.plan import Plan
from tidegate.model.plan.kernel import Destination
from tidegate.model.status import Failure
from tidegate.model.tier import Tier
from tidegate.model.workload import Sandbox

DestinationRow = tuple[Tier, int]


class KernelTables(Protocol):
    """The part of bpf.datapath.Datapath that changes with configuration and enrolment."""

    def pods(self) -> dict[int, PodRow]: ...
    def set_pod(self, cookie: int, row: PodRow) -> None: ...
    def delete_pod(self, cookie: int) -> None: ...
    def destinations(self) -> dict[DestinationKey, DestinationRow]: ...
    def set_destinations(self, rows: Iterable[Destination]) -> None: ...
    def delete_destinations(self, keys: Iterable[DestinationKey]) -> None: ...
    def attach_lookup(self, cookie: int, netns_fd: int) -> None: ...
    def detach_lookup(self, cookie: int) -> None: ...
    def lookups(self) -> set[int]: ...


def apply_destinations(tables: KernelTables, snapshot: Plan, ready: Container[Tier]) -> list[Failure]:
    """Make tg_dests equal the snapshot, but for rows of tiers that are not ready for it yet.

    One refused row (table full) leaves the others applied.
    """
    want: Mapping[DestinationKey, DestinationRow] = {d.key: (d.tier, d.service) for d in snapshot.destinations}
    plan = diff(tables.destinations(), want)
    failures: list[Failure] = []
    for key, (tier, service) in plan.put:
        if tier not in ready:
            continue
        try:
            tables.set_destinations([Destination(key.address, key.port, tier, service, key.protocol)])
        except OSError as error:
            failures.append(Failure(f"destination {key}", str(error)))
    tables.delete_destinations(plan.remove)
    return failures


def release_others(tables: KernelTables, keep: Sequence[int]) -> None:
    """Stop capturing in every netns whose cookie is not in keep: row first, so no new connection is sent anywhere."""
    known = set(keep)
    for cookie in tables.pods().keys() - known:
        tables.delete_pod(cookie)
    for cookie in tables.lookups() - known:
        tables.detach_lookup(cookie)


def enrol(tables: KernelTables, sandbox: Sandbox, fd: int) -> None:
    """Guard the capture addresses in the pod's netns fd, then let the hooks send connections there. Raises OSError."""
    if sandbox.netns_cookie not in tables.lookups():
        tables.attach_lookup(sandbox.netns_cookie, fd)
    row = pod_row(sandbox)
    if tables.pods().get(sandbox.netns_cookie) != row:
        tables.set_pod(sandbox.netns_cookie, row)


def pod_row(sandbox: Sandbox) -> PodRow:
    """The row of tg_pods that says where this pod's connections go and which addresses are its own."""
    return PodRow(
        ip4=next((ip for ip in sandbox.ips if ip.version == 4), None),
        ip6=next((ip for ip in sandbox.ips if ip.version == 6), None),
        fastpath4=sandbox.capture.fastpath4,
        fastpath6=sandbox.capture.fastpath6,
        envoy4=sandbox.capture.envoy4,
        envoy6=sandbox.capture.envoy6,
        v6_capture=sandbox.v6_capture,
    )
