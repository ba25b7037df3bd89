"""A running engine between two pods. Needs root: without it every test here fails with the kernel's answer."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from tests.relay.pods import CAPTURE4, CAPTURE6, Pod, join
from tests.support.eventually import HANG_SECONDS
from tests.support.flows import Flows

from tidegate.fastpath import CloseReason, FastPath, FlowEvent
from tidegate.model.net import parse_ip
from tidegate.model.plan.relay import L4Endpoint, L4Service, LoadBalancing

T = TypeVar("T")

VIP4, VIP6 = "10.96.0.10", "fd00:96::10"
PORT = 80
TCP_CLOSE = 7  # tcpi_state, include/net/tcp_states.h


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
) -> L4Service:
    """A service from (address, port[, weight]) endpoints."""
    return L4Service(
        number=number,
        name=f"service-{number}:{port}",
        addresses=((parse_ip(vip), port),),
        balancing=balancing,
        endpoints=tuple(L4Endpoint(parse_ip(address), number_, *rest) for address, number_, *rest in endpoints),
    )


async def until(condition: Callable[[], T], what: str) -> T:
    """tests.support.eventually for conditions that come true by work of this event loop."""
    deadline = time.monotonic() + HANG_SECONDS
    while not (value := condition()):
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
    """One engine with the client pod added, and what its connections reported."""

    def __init__(self, client: Pod, server: Pod, flows: Flows, engine: FastPath) -> None:
        self.client, self.server, self.flows, self.engine = client, server, flows, engine
        self.ended: list[FlowEvent] = []
        self.port4, self.port6 = engine.add_pod(client.cookie, client.fd, v6=True)
        self._collector = asyncio.ensure_future(self._collect())
        self._generation = 0
        self._forgotten: Counter[CloseReason] = Counter()
        self._accepted: list[socket.socket] = []

    async def _collect(self) -> None:
        async for event in self.engine.events():
            self.ended.append(event)

    def publish(self, *services: L4Service) -> None:
        self._generation += 1
        self.engine.publish(self._generation, services)

    def prepare(self, vip: str = VIP4, port: int = PORT, client: str = "", record: bool = True) -> socket.socket:
        """A client socket whose destination is on record."""
        v6 = ":" in vip
        sock = self.client.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        sock.bind(("::1" if v6 else "127.0.0.1", 0))
        if record:
            listener = self.port6 if v6 else self.port4
            self.flows.record(self.client.cookie, sock.getsockname()[:2], listener, (vip, port), client)
        return sock

    async def dial(self, vip: str = VIP4, port: int = PORT, client: str = "", record: bool = True) -> socket.socket:
        """What an application's connect() to vip:port comes to once the kernel programs are in."""
        sock = self.prepare(vip, port, client, record)
        await self.connect(sock)
        return sock

    async def connect(self, sock: socket.socket) -> None:
        """To the listener of the socket's family."""
        listener = (CAPTURE6, self.port6) if sock.family == socket.AF_INET6 else (CAPTURE4, self.port4)
        await asyncio.get_running_loop().sock_connect(sock, listener)

    async def dial_in_vain(self, vip: str = VIP4, record: bool = True) -> int:
        """Dial and see the connection reset, which may overtake what connect() reports. Returns the source port."""
        sock = self.prepare(vip, record=record)
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

        def told() -> list[FlowEvent]:
            events = [event for event in self.ended if event.reason is reason and event.connections]
            told = len(events) + self._forgotten[reason]
            return events if len(events) >= count and self.engine.stats().closed[reason] == told else []

        return await until(told, f"{count} x {reason.name}, seen {self.ended[-3:]} {self.engine.stats()}")

    def forget(self) -> None:
        """Drop what ended connections reported; closed() counts from here."""
        self._forgotten += Counter(event.reason for event in self.ended)
        self.ended.clear()

    async def stop(self, drain: float = 0) -> None:
        await asyncio.to_thread(self.engine.stop, drain)
        await asyncio.wait_for(self._collector, HANG_SECONDS)

    def close_sockets(self) -> None:
        while self._accepted:
            self._accepted.pop().close()


@pytest.fixture
async def mesh(pods: tuple[Pod, Pod], request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """Options of FastPath.start() come by indirect parametrization."""
    flows = Flows()
    # A connection tells everything when it ends, however slow the machine.
    options = {"workers": 2, "each_event": True, "report": 3600} | getattr(request, "param", {})
    engine = FastPath.start(flows_fd=flows.fd, **options)
    mesh = Mesh(*pods, flows, engine)
    yield mesh
    await mesh.stop()
    flows.close()
    for pod in (mesh, *pods):
        pod.close_sockets()
