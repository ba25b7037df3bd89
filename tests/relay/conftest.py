"""A running relay between two pods. Needs root: without it every test here fails with the kernel's answer."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.relay.pods import CAPTURE4, CAPTURE6, Pod, join
from tests.relay.process import RelayProcess
from tests.support.eventually import HANG_SECONDS
from tests.support.flows import Flows

from tidegate.model.net import parse_ip
from tidegate.model.plan.relay import L4Endpoint, L4Service, L4Settings, LoadBalancing
from tidegate.relay.events import CloseReason, FlowEvent, RelayStats

T = TypeVar("T")

HERE = Path(__file__).parent

VIP4, VIP6 = "10.96.0.10", "fd00:96::10"
PORT = 80
_DEFAULTS = L4Settings()
TCP_CLOSE = 7  # tcpi_state, include/net/tcp_states.h


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever an asynchronous test here waits for, bare sockets included, it gives up, and fails: it was promised."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == HERE and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        try:
            async with asyncio.timeout(2 * HANG_SECONDS):
                await test(*args, **kwargs)
        except TimeoutError as error:
            raise AssertionError(f"waited in vain, {str(error) or 'see where'}") from error

    return bounded


@pytest.fixture(scope="session")
def pods() -> Iterator[tuple[Pod, Pod]]:
    client, server = Pod("client"), Pod("server")
    join(client, server)
    yield client, server
    client.remove()
    server.remove()


def service(
    *endpoints: tuple[str, int] | tuple[str, int, int],
    vip: str = VIP4,
    port: int = PORT,
    balancing: LoadBalancing = LoadBalancing.LEAST_REQUEST,
    number: int = 1,
    other: str = "",
    settings: L4Settings = _DEFAULTS,
) -> L4Service:
    """A service from (address, port[, weight]) endpoints, which are reached at another address as well."""
    return L4Service(
        number=number,
        name=f"service-{number}:{port}",
        addresses=((parse_ip(vip), port),),
        balancing=balancing,
        endpoints=tuple(
            L4Endpoint(parse_ip(address), number_, rest[0] if rest else 1, parse_ip(other) if other else None)
            for address, number_, *rest in endpoints
        ),
        settings=settings,
        counted_as=number,
    )


async def until(condition: Callable[[], T], what: str) -> T:
    """tests.support.eventually for conditions that come true by work of this event loop."""

    async def ask() -> T:
        return condition()

    return await until_told(ask, what)


async def until_told(condition: Callable[[], Awaitable[T]], what: str) -> T:
    """The same for a condition that has to be asked for."""
    deadline = time.monotonic() + HANG_SECONDS
    while not (value := await condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {HANG_SECONDS:.0f} s: {what}")
        await asyncio.sleep(0.01)  # the poll itself
    return value


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


async def expect_reset(sock: socket.socket) -> None:
    """The socket dies without having sent anything: RST arrived (after a FIN alone it would be in CLOSE_WAIT)."""

    def dead() -> bool:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE

    await until(dead, "reset")


class Mesh:
    """One relay with the client pod added, and what its connections reported."""

    def __init__(self, client: Pod, server: Pod, flows: Flows, relay: RelayProcess, ports: tuple[int, int]) -> None:
        self.client, self.server, self.flows, self.relay = client, server, flows, relay
        self.ended: list[FlowEvent] = relay.events
        self.port4, self.port6 = ports
        self._generation = 0
        self._accepted: list[socket.socket] = []

    async def publish(self, *services: L4Service) -> None:
        self._generation += 1
        await self.relay.publish(self._generation, services)

    async def counts(self, wanted: Callable[[RelayStats], bool], what: str) -> None:
        """Wait until the relay's counters are as wanted."""

        async def ask() -> bool:
            return wanted(await self.relay.stats())

        await until_told(ask, what)

    def prepare(
        self,
        vip: str = VIP4,
        port: int = PORT,
        client: str = "",
        record: bool = True,
        wishes: Mapping[str, int] | None = None,
        row: int = 0,
    ) -> socket.socket:
        """A client socket whose destination is on record, with the number of its row, and what it was told before."""
        v6 = ":" in vip
        sock = self.client.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        sock.bind(("::1" if v6 else "127.0.0.1", 0))
        if record:
            listener = self.port6 if v6 else self.port4
            source = sock.getsockname()[:2]
            if wishes:
                self.flows.wish(self.client.cookie, source, listener, **wishes)
            self.flows.record(self.client.cookie, source, listener, (vip, port), client, bool(wishes), row)
        return sock

    async def dial(self, **prepare: Any) -> socket.socket:
        """What an application's connect() to vip:port comes to once the kernel programs are in."""
        sock = self.prepare(**prepare)
        await self.connect(sock)
        return sock

    async def connect(self, sock: socket.socket) -> None:
        """To the listener of the socket's family."""
        listener = (CAPTURE6, self.port6) if sock.family == socket.AF_INET6 else (CAPTURE4, self.port4)
        await asyncio.get_running_loop().sock_connect(sock, listener)

    async def dial_in_vain(self, vip: str = VIP4, record: bool = True, row: int = 0) -> int:
        """Dial and see the connection reset, which may overtake what connect() reports. Returns the source port."""
        sock = self.prepare(vip, record=record, row=row)
        port = int(sock.getsockname()[1])
        with sock, suppress(ConnectionResetError):
            await self.connect(sock)
            await expect_reset(sock)
        return port

    async def pair(self, listener: socket.socket, **dial: Any) -> tuple[socket.socket, socket.socket]:
        """A relayed connection: the client's end and the server's."""
        client = await self.dial(**dial)
        server, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listener), HANG_SECONDS)
        self._accepted.append(server)
        return client, server

    async def closed(self, reason: CloseReason, count: int = 1) -> list[FlowEvent]:
        """Wait until so many connections have ended for this reason, in counters and in events."""

        async def told() -> list[FlowEvent]:
            counted = (await self.relay.stats()).closed[reason]
            events = [event for event in self.ended if event.reason is reason and event.connections]
            return events if len(events) >= count and counted == len(events) else []

        return await until_told(told, f"{count} x {reason.name}, seen {self.ended[-3:]}")

    async def stop(self, drain: float = 0) -> None:
        await self.relay.stop(drain)

    def close_sockets(self) -> None:
        while self._accepted:
            self._accepted.pop().close()


@pytest.fixture
async def mesh(pods: tuple[Pod, Pod], request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """Options of RelayConfig come by indirect parametrization."""
    flows = Flows()
    # A connection tells everything when it ends, however slow the machine.
    options = {"workers": 2, "each_event": True, "report": 3600} | getattr(request, "param", {})
    relay = await RelayProcess.start(flows.fd, flows.wishes_fd, **options)
    client, server = pods
    mesh = Mesh(client, server, flows, relay, await relay.add_sandbox(client.cookie, client.fd, v6=True))
    yield mesh
    await relay.kill()
    flows.close()
    for pod in (mesh, *pods):
        pod.close_sockets()
