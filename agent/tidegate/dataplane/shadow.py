"""What the kernel's tables hold, without asking them: read once, then kept up by every write.

So a pass costs what changed and not what there is. The kernel is read again by a timer, because somebody else may have
written, and after an error, because then nobody knows how far the call came. Owner of the one thread that touches the
tables: calls are done in the order in which they were made, and none blocks the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from tidegate.bpf.records import DestinationKey, PodRow
from tidegate.dataplane.devices import DestinationRow, KernelTables
from tidegate.errors import TidegateError
from tidegate.model.plan.kernel import Destination, GuardRow, InboundPort
from tidegate.model.tier import Tier
from tidegate.runtime.worker import P, R, Worker

K = TypeVar("K")
Row = TypeVar("Row", InboundPort, GuardRow)  # of one table or the other

log = logging.getLogger(__name__)

BATCH = 1024  # rows of one job: other pods' jobs get their turn in between


class Shadow:
    """The tables and what is in them. The mappings change on the worker's thread: read single rows elsewhere."""

    def __init__(self, tables: KernelTables, worker: Worker) -> None:
        self._tables = tables
        self._worker = worker
        self._loaded = False
        self._doubtful = False  # an error left open what the kernel holds
        self.destinations: dict[DestinationKey, DestinationRow] = {}
        self.pods: dict[int, PodRow] = {}
        self.guards: set[int] = set()
        self.inbound: set[InboundPort] = set()
        self.judged: set[GuardRow] = set()  # of pods that policies are for
        self._drift: set[DestinationKey] = set()
        self._rows: dict[DestinationRow, DestinationRow] = {}

    @property
    def doubtful(self) -> bool:
        """Whether resync() is due because of an error."""
        return self._doubtful or not self._loaded

    async def on_thread(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run what walks whole tables in its turn on the tables' thread."""
        return await self._worker.do(fn, *args, **kwargs)

    async def resync(self) -> None:
        """Read the tables; what differs from the shadow is kept for take_drift. The first call adopts all that there
        is. Raises OSError."""
        await self._worker.do(self._resync)

    @property
    def drifted(self) -> bool:
        """Whether there is something for take_drift."""
        return bool(self._drift)

    def take_drift(self) -> set[DestinationKey]:
        """Rows of tg_dests that the kernel held otherwise than its shadow said, each told once."""
        drift, self._drift = self._drift, set()
        return drift

    async def put(self, rows: Mapping[DestinationKey, Destination]) -> dict[DestinationKey, str]:
        """Write rows; those that the kernel refused, with its words. One refused row leaves the others written."""
        refused: dict[DestinationKey, str] = {}
        keys = tuple(rows)
        for start in range(0, len(keys), BATCH):
            refused |= await self._worker.do(self._put, {key: rows[key] for key in keys[start : start + BATCH]})
        return refused

    async def delete(self, keys: Sequence[DestinationKey]) -> dict[DestinationKey, str]:
        """Delete rows; those that the kernel refused to, with its words."""
        refused: dict[DestinationKey, str] = {}
        for start in range(0, len(keys), BATCH):
            refused |= await self._worker.do(self._delete, keys[start : start + BATCH])
        return refused

    async def enrol(self, cookie: int, row: PodRow, netns_fd: int) -> None:
        """Guard the pod's capture addresses, then let the hooks send its connections there.

        netns_fd is borrowed for the call. Raises OSError or TidegateError when the kernel refuses.
        """
        await self._worker.do(self._enrol, cookie, row, netns_fd)

    async def lead_in(self, ports: Iterable[InboundPort]) -> dict[InboundPort, str]:
        """Have what comes to these ports go to Envoy; those that the kernel refused, with its words."""
        return await self._worker.do(self._each, tuple(ports), self._lead_in)

    async def leave_alone(self, ports: Iterable[InboundPort]) -> dict[InboundPort, str]:
        """Have what comes to these ports go to the application; those that the kernel refused, with its words."""
        return await self._worker.do(self._each, tuple(ports), self._leave_alone)

    async def judge(self, rows: Iterable[GuardRow]) -> dict[GuardRow, str]:
        """Have what comes to pods go to the relay, by these rows; those that the kernel refused, with its words."""
        return await self._worker.do(self._each, sorted(rows, key=_rank), self._judge)

    async def pardon(self, rows: Iterable[GuardRow]) -> dict[GuardRow, str]:
        """Take such rows away; those that the kernel refused to, with its words."""
        return await self._worker.do(self._each, sorted(rows, key=_rank, reverse=True), self._pardon)

    async def release(self, cookie: int) -> None:
        """Stop capturing: row first, so that no new connection is sent anywhere, then the guard. Nothing to release is
        fine. Raises OSError or TidegateError when the kernel refuses."""
        await self._worker.do(self._release, cookie)

    # --- on the worker's thread ---------------------------------------------------------------------------------
    def _resync(self) -> None:
        destinations, pods, guards = self._tables.destinations(), self._tables.pods(), self._tables.lookups()
        inbound, judged = self._tables.inbound(), self._tables.guard_rows()
        drift = differing(self.destinations, destinations)
        strangers = differing(self.pods, pods) | (self.guards ^ guards)
        strangers |= {port.netns_cookie for port in self.inbound ^ inbound}
        strangers |= {row.netns_cookie for row in self.judged ^ judged}
        if self._loaded and not self._doubtful and (drift or strangers):
            log.warning(
                "somebody else changed the kernel's tables: %d destinations, %d pods", len(drift), len(strangers)
            )
        for key in drift:  # what is equal stays the same object
            if key in destinations:
                self.destinations[key] = self._shared(*destinations[key])
            else:
                del self.destinations[key]
        self.pods, self.guards, self.inbound, self.judged = pods, guards, inbound, judged
        self._loaded, self._doubtful = True, False
        self._drift |= drift

    def _put(self, rows: Mapping[DestinationKey, Destination]) -> dict[DestinationKey, str]:
        try:
            self._tables.set_destinations(rows.values())
        except (OSError, TidegateError):
            return self._put_one_by_one(rows)
        self.destinations.update((key, self._shared(row.tier, row.service)) for key, row in rows.items())
        return {}

    def _put_one_by_one(self, rows: Mapping[DestinationKey, Destination]) -> dict[DestinationKey, str]:
        # A batch stops at the row that is refused, and says neither which that was nor what became of the rest.
        refused: dict[DestinationKey, str] = {}
        for key, row in rows.items():
            try:
                self._tables.set_destinations([row])
            except (OSError, TidegateError) as error:
                refused[key] = str(error)
                self._doubtful = True
            else:
                self.destinations[key] = self._shared(row.tier, row.service)
        return refused

    def _shared(self, tier: Tier, service: int) -> DestinationRow:
        """One object for all equal rows: most lead to pods, which are all the same."""
        row = (tier, service)
        return self._rows.setdefault(row, row)

    def _delete(self, keys: Sequence[DestinationKey]) -> dict[DestinationKey, str]:
        refused: dict[DestinationKey, str] = {}
        for key in keys:
            try:
                self._tables.delete_destinations([key])
            except (OSError, TidegateError) as error:
                refused[key] = str(error)
                self._doubtful = True
            else:
                self.destinations.pop(key, None)
        return refused

    def _each(self, rows: Sequence[Row], do: Callable[[Row], None]) -> dict[Row, str]:
        refused: dict[Row, str] = {}
        for row in rows:
            try:
                do(row)
            except (OSError, TidegateError) as error:
                refused[row] = str(error)
                self._doubtful = True
        return refused

    def _lead_in(self, port: InboundPort) -> None:
        self._tables.set_inbound(port)
        self.inbound.add(port)

    def _leave_alone(self, port: InboundPort) -> None:
        self._tables.delete_inbound(port)
        self.inbound.discard(port)

    def _judge(self, row: GuardRow) -> None:
        self._tables.set_guard(row)
        self.judged.add(row)

    def _pardon(self, row: GuardRow) -> None:
        self._tables.delete_guard(row)
        self.judged.discard(row)

    def _enrol(self, cookie: int, row: PodRow, netns_fd: int) -> None:
        try:
            if cookie not in self.guards:
                self._tables.attach_lookup(cookie, netns_fd)
                self.guards.add(cookie)
            if self.pods.get(cookie) != row:
                self._tables.set_pod(cookie, row)
                self.pods[cookie] = row
        except (OSError, TidegateError):
            self._doubtful = True
            raise

    def _release(self, cookie: int) -> None:
        try:
            if cookie in self.pods:
                self._tables.delete_pod(cookie)
                del self.pods[cookie]
            for port in [port for port in self.inbound if port.netns_cookie == cookie]:
                self._tables.delete_inbound(port)
                self.inbound.discard(port)
            for row in sorted((row for row in self.judged if row.netns_cookie == cookie), key=_rank, reverse=True):
                self._pardon(row)
            if cookie in self.guards:
                self._tables.detach_lookup(cookie)
                self.guards.discard(cookie)
        except (OSError, TidegateError):
            self._doubtful = True
            raise


def _rank(row: GuardRow) -> int:
    return row.rank


def differing(before: Mapping[K, object], after: Mapping[K, object]) -> set[K]:
    """Keys whose values are not equal, or that only one of the two has."""
    return (before.keys() ^ after.keys()) | {key for key in before.keys() & after.keys() if before[key] != after[key]}
