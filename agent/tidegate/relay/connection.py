"""What one relay process can be asked for, as calls. Which process, and what to do when it is gone, is client.py's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from socket import htons, ntohs
from typing import Any

from tidegate.errors import Rejected, Transient
from tidegate.relay.abi import ffi, lib, rows
from tidegate.relay.channel import Answer, Channel
from tidegate.relay.events import FlowEvent, RelayStats, read_events, read_stats

FOREVER: float = lib.FP_FOREVER / 1000  # seconds of a drain that ends nothing by force


class RelayState(IntEnum):
    """Values of enum fp_relay_state (a test compares them)."""

    NEW = 0
    SERVING = 1
    DRAINING = 2


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """How a relay runs; zero means its default (struct fp_config)."""

    workers: int = 0  # threads, 0 = one per usable CPU
    max_connections: int = 0  # of all workers together, 0 = 65536; bounded by descriptors, and a pod by what is free
    buffer_bytes: int = 0  # of one read, and waiting per direction and connection at most, 0 = 262144
    connect_timeout: float = 0  # seconds per attempt, 0 = 10
    pool_mib: int = 0  # bound of all buffers together, 0 = 256
    sockets_mib: int = 0  # of what sockets hold in the kernel, 0 = half of where it begins to press on TCP (tcp_mem)
    each_event: bool = False  # events for each connection by itself, for an access log
    report: float = 0  # seconds between events of a connection that lives, 0 = 5


@dataclass(frozen=True, slots=True)
class SandboxListeners:
    """A pod as a relay has it; ports are host order, the second 0 without v6."""

    cookie: int
    v6: bool
    ports: tuple[int, int]


class RelayConnection:
    """A greeted connection. Every call raises Transient when it is gone, OSError with what the relay refused."""

    def __init__(self, channel: Channel, hello: Any) -> None:
        self._channel = channel
        self.version = int(hello.version)
        self.state = RelayState(hello.state)
        self.generation = int(hello.generation)

    @classmethod
    async def open(cls, path: Path, events: Callable[[RelayConnection, int, list[FlowEvent]], None]) -> RelayConnection:
        """Connect and greet. events(connection, serial, batch) is called for what comes after follow().

        Raises Transient if nobody answers there.
        """
        made: list[RelayConnection] = []
        channel = Channel.connect(path, lambda message: events(made[0], *_batch(message)))
        try:
            hello = ffi.new("struct fp_ask_hello *")
            hello.version = lib.FP_ABI_VERSION
            answer = await channel.ask(lib.FP_HELLO, hello)
            made.append(cls(channel, answer.as_struct("struct fp_told_hello")))
        except OSError as error:
            channel.close()
            raise Transient(f"relay {path}", f"refuses to talk: {error.strerror}") from None
        except BaseException:
            channel.close()
            raise
        return made[0]

    @property
    def speaks_ours(self) -> bool:
        """Whether it has our version; one that has not understands the core of relay_abi.h only."""
        return self.version == int(lib.FP_ABI_VERSION)

    @property
    def alive(self) -> bool:
        return not self._channel.closed.is_set()

    async def closed(self) -> None:
        """Until the connection has ended."""
        await self._channel.closed.wait()

    def close(self) -> None:
        self._channel.close()

    async def configure(self, config: RelayConfig, flows_fd: int, wishes_fd: int = -1, called_fd: int = -1) -> None:
        """Start its workers; of one that runs only the maps are exchanged (tg_flows, and tg_wishes and tg_called where
        they are given, the latter beside the former only).

        :raises OSError: EBUSY: its config is another
        """
        message = ffi.new("struct fp_ask_configure *")
        raw = message.config
        raw.workers, raw.flows_fd, raw.max_connections = config.workers, -1, config.max_connections
        raw.wishes_fd = raw.called_fd = -1
        raw.buffer_bytes, raw.pool_mib, raw.each_event = config.buffer_bytes, config.pool_mib, config.each_event
        raw.sockets_mib = config.sockets_mib
        raw.connect_timeout_ms, raw.report_ms = round(config.connect_timeout * 1000), round(config.report * 1000)
        await self._ask(lib.FP_CONFIGURE, message, tuple(fd for fd in (flows_fd, wishes_fd, called_fd) if fd >= 0))

    async def sandboxes(self) -> dict[int, SandboxListeners]:
        """By netns cookie."""
        found: dict[int, SandboxListeners] = {}
        message = ffi.new("struct fp_ask_sandboxes *")
        while True:
            answer = await self._ask(lib.FP_SANDBOXES, message)
            count = answer.as_struct("struct fp_head").count
            table = rows("struct fp_sandbox_row", answer.message, "struct fp_told_sandboxes", count)
            for index in range(count):
                sandbox = _sandbox(table[index])
                found[sandbox.cookie] = sandbox
            if count < lib.FP_SANDBOXES_BATCH:
                return found
            message.after = max(found)

    async def add_sandbox(
        self, cookie: int, netns_fd: int, v6: bool, wanted: tuple[int, int] = (0, 0), listeners: Sequence[int] = ()
    ) -> tuple[int, int]:
        """Listen inside a pod.

        :param cookie: SO_NETNS_COOKIE of the pod's netns
        :param netns_fd: borrowed for the call, as are listeners
        :param v6: the v6 capture prefix is routed to the pod's lo
        :param wanted: ports to take if they are free; 0 = any
        :param listeners: sockets of another relay, to go on accepting from instead of opening others
        :return: host-order ports on the v4 and on the v6 capture address; the latter is 0 without v6
        :raises OSError: EEXIST if the pod is known already, else why its netns cannot be entered or listened in
        """
        message = ffi.new("struct fp_ask_sandbox_add *")
        message.sandbox.netns_cookie = cookie
        message.sandbox.flags = lib.TG_POD_V6_CAPTURE if v6 else 0
        message.sandbox.ports.port4_be, message.sandbox.ports.port6_be = htons(wanted[0]), htons(wanted[1])
        answer = await self._ask(lib.FP_SANDBOX_ADD, message, (netns_fd, *listeners))
        told = answer.as_struct("struct fp_told_sandbox")
        return _sandbox(told.sandbox).ports

    async def remove_sandbox(self, cookie: int) -> None:
        """Close the pod's listeners and reset its connections. OSError(ENOENT) if the pod is unknown."""
        await self._ask(lib.FP_SANDBOX_REMOVE, _about(cookie))

    async def hand_over(self, cookie: int) -> tuple[SandboxListeners, list[int]]:
        """The pod's netns and listeners, as descriptors for the caller to close. It goes on accepting until drain()."""
        answer = await self._ask(lib.FP_HAND_OVER, _about(cookie))
        told = answer.as_struct("struct fp_told_sandbox")
        sandbox = _sandbox(told.sandbox)
        if len(answer.fds) != (3 if sandbox.v6 else 2):  # as happens to a process that has no room for more
            answer.close()
            raise Transient("relay", f"descriptors of netns {cookie} did not arrive")
        fds, answer.fds = answer.fds, []
        return sandbox, fds

    async def publish(self, generation: int, image_fd: int) -> None:
        """Replace all services by those of a sealed file. New connections see them at once, live ones keep theirs.

        :raises Rejected: two services claim one address
        :raises OSError: the file is no good, or there is no memory. After either the services in force stay
        """
        try:
            await self._ask(lib.FP_PUBLISH, ffi.new("struct fp_head *"), (image_fd,))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            raise Rejected(
                f"relay services of generation {generation}",
                "two services claim one address and port",
                "give each its own",
            ) from None
        self.generation = generation

    async def publish_policies(self, file_fd: int) -> None:
        """Judge connections to pods by those of a sealed file, live ones too. OSError: the file is no good, or there is
        no memory; after either those in force stay."""
        await self._ask(lib.FP_POLICIES, ffi.new("struct fp_head *"), (file_fd,))

    async def stats(self) -> RelayStats:
        return read_stats((await self._ask(lib.FP_STATS, ffi.new("struct fp_head *"))).message)

    async def follow(self) -> None:
        """Have events come on this connection, and on no other."""
        await self._ask(lib.FP_FOLLOW, ffi.new("struct fp_head *"))

    async def taken(self, serial: int) -> None:
        """The events of this batch need not be kept any longer; the next batch may come."""
        await self._channel.tell(lib.FP_EVENTS_TAKEN, serial)

    async def look(self) -> None:
        """Accept what waits in the listeners' queues since another relay stopped accepting from them."""
        await self._ask(lib.FP_LOOK, ffi.new("struct fp_head *"))

    async def drain(self, seconds: float) -> None:
        """Close the listeners; the process ends after its last connection, which is reset when the seconds are over."""
        message = ffi.new("struct fp_ask_drain *")
        message.ms = min(round(seconds * 1000), lib.FP_FOREVER)
        await self._ask(lib.FP_DRAIN, message)
        self.state = RelayState.DRAINING

    async def stop(self) -> None:
        """Reset what lives and exit."""
        await self._ask(lib.FP_STOP, ffi.new("struct fp_head *"))

    async def _ask(self, kind: int, message: Any, fds: Sequence[int] = ()) -> Answer:
        answer = await self._channel.ask(kind, message, fds)
        if kind != lib.FP_HAND_OVER:
            answer.close()
        return answer


def _batch(message: bytes) -> tuple[int, list[FlowEvent]]:
    return int(ffi.from_buffer("struct fp_head *", message).serial), read_events(message)


def _about(cookie: int) -> Any:
    message = ffi.new("struct fp_ask_sandbox *")
    message.netns_cookie = cookie
    return message


def _sandbox(row: Any) -> SandboxListeners:
    v6 = bool(row.flags & lib.TG_POD_V6_CAPTURE)
    return SandboxListeners(row.netns_cookie, v6, (ntohs(row.ports.port4_be), ntohs(row.ports.port6_be)))


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that hand_over() gave."""
    for fd in fds:
        os.close(fd)
