"""The relay as the data plane sees it, whichever process it is at the moment.

The supervisor says which processes run; this connects to them, configures the one that serves, moves listeners to it
from those that were retired, and collects what all of them have to tell. Invariants: listeners move only to a relay
that has services, and no connection to them is refused meanwhile: both accept until the old one is told to drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from tidegate.errors import Transient
from tidegate.model.plan.policy import PolicyTable
from tidegate.model.plan.relay import L4Service
from tidegate.relay.connection import FOREVER, RelayConnection, RelayState, close_all
from tidegate.relay.events import FlowEvent, RelayStats
from tidegate.relay.image import ImageWriter, seal
from tidegate.relay.policy_file import PolicyWriter
from tidegate.relay.supervisor import RelaySupervisor
from tidegate.runtime.latest import Latest

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.02  # between two attempts to reach a process that has just been started
REFUSED_SECONDS = 1.0  # the same after it answered with a refusal
MOST_RETIRED = 4  # relays that drain beside the one that serves; what the oldest one still has is reset then

TABLES_KNOWN = 64  # tables of policies whose numbers events may still name
UNKNOWN_POLICY = "unknown"

_Batch = tuple[RelayConnection, int, list[FlowEvent]]


class RelayClient:
    """Feed it by run(); close() when that has ended. For one event loop."""

    def __init__(self, supervisor: RelaySupervisor, flows_fd: int, wishes_fd: int = -1, called_fd: int = -1) -> None:
        """Maps tg_flows, tg_wishes and tg_called; borrowed, open as long as this lives."""
        self._supervisor = supervisor
        self._flows_fd = flows_fd
        self._wishes_fd = wishes_fd
        self._called_fd = called_fd
        self.process: Latest[int] = Latest(0)  # 0 = none reachable, else rises with each relay process
        self._number = 0
        self._current: RelayConnection | None = None
        self._current_pid = 0
        self._retired: dict[int, RelayConnection] = {}  # by pid, oldest first
        self._changing = asyncio.Lock()  # of listeners and images
        self._writer = ImageWriter()
        self._policy_writer = PolicyWriter()
        self._policy_names: dict[int, tuple[str, ...]] = {}  # by what a table was published as, the oldest first
        self._wanted: dict[int, tuple[int, int]] = {}  # ports by cookie, to be asked for again after a relay's death
        self._batches: asyncio.Queue[_Batch] = asyncio.Queue()
        self._stats: dict[RelayConnection, RelayStats] = {}  # as told last
        self._ended = RelayStats()  # of processes that are gone

    async def run(self) -> None:
        """Follow the supervisor's processes until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                known: set[int] = set()
                version = -1
                while True:
                    version, (current, retired) = await self._supervisor.processes.newer(version)
                    for pid in (*retired, current):
                        if pid and pid not in known:
                            known.add(pid)
                            tasks.create_task(self._follow(pid), name=f"relay {pid}")
                    known &= {current, *retired}
        finally:
            for connection in (self._current, *self._retired.values()):
                if connection is not None:
                    connection.close()

    # --- what the data plane asks for -------------------------------------------------------------------------------
    async def add_sandbox(self, cookie: int, netns_fd: int, v6: bool, port: int = 0) -> tuple[int, int]:
        """Listen inside a pod; one that has its listeners already keeps them.

        :param cookie: SO_NETNS_COOKIE of the pod's netns
        :param netns_fd: borrowed for the call
        :param v6: the v6 capture prefix is routed to the pod's lo
        :param port: where to listen, if it is free; 0 = anywhere. Where a relay listened before comes first
        :return: host-order ports on the v4 and on the v6 capture address; the latter is 0 without v6
        :raises OSError: why its netns cannot be entered or listened in
        :raises Transient: no relay can be reached
        """
        async with self._changing:
            relay = self._serving()
            if (kept := (await self._kept_by_retired()).get(cookie)) is not None:
                return kept  # they move with the next publish()
            try:
                ports = await relay.add_sandbox(cookie, netns_fd, v6, self._wanted.get(cookie, (port, port)))
            except FileExistsError:  # an answer was lost with an earlier connection
                ports = (await relay.sandboxes())[cookie].ports
            self._wanted[cookie] = ports
            return ports

    async def remove_sandbox(self, cookie: int) -> None:
        """Close the pod's listeners and reset its connections, wherever they are. No error if no relay knows it.

        Raises Transient if no relay can be reached.
        """
        async with self._changing:
            self._wanted.pop(cookie, None)
            with contextlib.suppress(FileNotFoundError):
                await self._serving().remove_sandbox(cookie)
            for old in list(self._retired.values()):
                if old.speaks_ours:
                    with contextlib.suppress(FileNotFoundError, Transient):  # it may just be ending
                        await old.remove_sandbox(cookie)

    async def sandboxes(self) -> dict[int, tuple[int, int]]:
        """Ports by netns cookie of what listens, also at a relay that is about to be replaced. Raises Transient."""
        async with self._changing:
            own = {pod.cookie: pod.ports for pod in (await self._serving().sandboxes()).values()}
            found = await self._kept_by_retired() | own
            self._wanted |= found
            return found

    async def publish(self, generation: int, services: Sequence[L4Service]) -> None:
        """Replace all services. New connections see them at once, live ones keep their endpoint.

        :raises Rejected: two services claim one address. The services in force stay, here and below
        :raises OSError: no memory
        :raises Transient: no relay can be reached
        """
        async with self._changing:
            relay = self._serving()
            image = await asyncio.to_thread(self._writer.lay_out, generation, services)
            fd = await asyncio.to_thread(seal, image)
            try:
                await relay.publish(generation, fd)
            finally:
                os.close(fd)
            await self._take_listeners(relay)

    async def publish_policies(self, generation: int, table: PolicyTable) -> None:
        """Judge by these who may connect to pods. Those who are connected are judged anew, also at relays that drain.

        :raises Rejected: they are too many. Those in force stay, here and below
        :raises OSError: no memory
        :raises Transient: no relay can be reached
        """
        async with self._changing:
            relay = self._serving()
            # Not the plan's generation: what an earlier agent published has numbers of its own.
            published_as = time.time_ns()
            laid_out = await asyncio.to_thread(self._policy_writer.lay_out, published_as, table)
            self._policy_names[published_as] = tuple(policy.key for policy in table.policies)
            for old_table in list(self._policy_names)[:-TABLES_KNOWN]:
                del self._policy_names[old_table]
            fd = await asyncio.to_thread(seal, laid_out)
            try:
                await relay.publish_policies(fd)
                for old in list(self._retired.values()):
                    if old.speaks_ours:
                        with contextlib.suppress(OSError, Transient):  # it may just be ending
                            await old.publish_policies(fd)
            finally:
                os.close(fd)

    def policy_name(self, published_as: int, number: int) -> str:
        """NAMESPACE/NAME of a policy by what an event says; "" for none, "unknown" if an earlier agent published it."""
        names = self._policy_names.get(published_as)
        if not number:
            return ""
        return names[number - 1] if names is not None and number <= len(names) else UNKNOWN_POLICY

    async def stats(self) -> RelayStats:
        """Sums over all relays that this agent has seen, those that are gone included. Never raises."""
        for connection in [c for c in (self._current, *self._retired.values()) if c is not None]:
            await self._ask_stats(connection)
        return self.last

    @property
    def last(self) -> RelayStats:
        """What stats() said when it was asked last."""
        return sum(self._stats.values(), self._ended)

    async def events(self) -> AsyncIterator[FlowEvent]:
        """What became of connections, some 0.2 s later at most, until cancelled. For one consumer.

        A batch counts as taken when the consumer asks for what comes after it: one that an agent's death interrupts is
        told again to the next agent. With each_event they come in order per worker.
        """
        while True:
            connection, serial, batch = await self._batches.get()
            for event in batch:
                yield event
            if connection.state is RelayState.DRAINING:
                await self._ask_stats(connection)  # these may be its last words
            with contextlib.suppress(Transient):
                await connection.taken(serial)

    # --- one process ------------------------------------------------------------------------------------------------
    async def _follow(self, pid: int) -> None:
        """Stay connected to a process until it is gone."""
        while True:
            current, retired = self._supervisor.processes.value
            if pid not in (current, *retired):
                return
            try:
                connection = await RelayConnection.open(
                    self._supervisor.socket(pid), lambda c, serial, batch: self._batches.put_nowait((c, serial, batch))
                )
            except Transient:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                await (self._serve(pid, connection) if pid == current else self._retire(pid, connection))
                await connection.closed()
            except (OSError, Transient) as error:
                log.warning("relay %d: %s", pid, error)
                await asyncio.sleep(REFUSED_SECONDS)
            finally:
                connection.close()
                await self._left(pid, connection)

    async def _serve(self, pid: int, connection: RelayConnection) -> None:
        await connection.configure(self._supervisor.config, self._flows_fd, self._wishes_fd, self._called_fd)
        async with self._changing:
            self._current = connection
            if pid != self._current_pid:
                self._current_pid = pid
                self._number += 1
            if connection.generation:
                await self._take_listeners(connection)
            await connection.look()  # an agent may have been killed before it came to this
        await connection.follow()
        await self.process.set(self._number)

    async def _retire(self, pid: int, connection: RelayConnection) -> None:
        async with self._changing:
            self._retired[pid] = connection
            if self._current is not None and self._current.generation:
                await self._take_listeners(self._current)
        if connection.speaks_ours:
            await connection.follow()

    async def _left(self, pid: int, connection: RelayConnection) -> None:
        stats = self._stats.pop(connection, None)
        if stats is not None:
            self._ended = self._ended + replace(stats, active=0)
        if self._retired.get(pid) is connection:
            del self._retired[pid]
        if self._current is connection:
            self._current = None
            await self.process.set(0)

    async def _take_listeners(self, relay: RelayConnection) -> None:
        """Move what retired relays accept from to the one that serves, then have them drain. Needs the lock."""
        moved = False
        for old in self._not_moved():
            try:
                await self._move(old, relay)
                await old.drain(FOREVER)
                moved = True
            except (OSError, Transient) as error:
                log.warning("a retired relay did not hand its listeners over: %s", error)
                self._number += 1  # whoever keeps account of listeners has to look again
                await self.process.set(self._number)
        if moved:
            await relay.look()
        for old in list(self._retired.values())[:-MOST_RETIRED]:
            with contextlib.suppress(OSError, Transient):
                await old.drain(0)

    async def _move(self, old: RelayConnection, relay: RelayConnection) -> None:
        own = await relay.sandboxes()
        for cookie in (await old.sandboxes()).keys() - own.keys():
            pod, fds = await old.hand_over(cookie)
            try:
                await relay.add_sandbox(cookie, fds[0], pod.v6, listeners=fds[1:])
            finally:
                close_all(fds)

    async def _kept_by_retired(self) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for old in self._not_moved():
            with contextlib.suppress(Transient):  # what one had that is gone is nobody's
                found |= {pod.cookie: pod.ports for pod in (await old.sandboxes()).values()}
        return found

    def _not_moved(self) -> list[RelayConnection]:
        """Retired relays that still accept."""
        return [old for old in self._retired.values() if old.state is not RelayState.DRAINING]

    async def _ask_stats(self, connection: RelayConnection) -> None:
        if connection.speaks_ours:
            with contextlib.suppress(OSError, Transient):
                self._stats[connection] = await connection.stats()

    def _serving(self) -> RelayConnection:
        if self._current is None or not self._current.alive:
            raise Transient("relay", "is not there at the moment", "see the relay's log and status")
        return self._current
