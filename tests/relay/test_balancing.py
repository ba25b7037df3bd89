"""Which endpoint gets a connection, what happens when it does not answer, and how a new image takes over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.relay.conftest import Mesh, reset, service
from tests.relay.pods import SERVER4
from tests.support.chance import binomial
from tests.support.eventually import HANG_SECONDS

from tidegate.errors import Rejected
from tidegate.model.plan.relay import LoadBalancing
from tidegate.relay.events import CloseReason

UNREACHABLE = "10.77.0.200"  # on the link, but nobody there


class Backends:
    """Listeners in the server pod that name themselves and then wait for the client to go."""

    def __init__(self, mesh: Mesh, listeners: list[socket.socket]) -> None:
        self.mesh = mesh
        self.addresses: list[tuple[str, int]] = [listener.getsockname() for listener in listeners]
        self.tasks = [asyncio.ensure_future(self._serve(i, listener)) for i, listener in enumerate(listeners)]

    async def _serve(self, number: int, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        held: set[asyncio.Future[None]] = set()
        while True:
            sock, _ = await loop.sock_accept(listener)
            held.add(asyncio.ensure_future(self._greet(number, sock)))

    async def _greet(self, number: int, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            await loop.sock_sendall(sock, bytes([number]))
            await loop.sock_recv(sock, 1)

    async def ask(self, keep: list[socket.socket] | None = None) -> int:
        """Connect, and tell which listener answered. The connection is closed, or appended to keep."""
        loop = asyncio.get_running_loop()
        sock = await self.mesh.dial()
        answer = await asyncio.wait_for(loop.sock_recv(sock, 1), HANG_SECONDS)
        if keep is None:
            sock.close()
        else:
            keep.append(sock)
        return answer[0]

    async def count(self, times: int) -> Counter[int]:
        return Counter([await self.ask() for _ in range(times)])


@contextmanager
def backends(mesh: Mesh, count: int) -> Iterator[Backends]:
    with ExitStack() as stack:
        found = Backends(mesh, [stack.enter_context(mesh.server.listen(SERVER4)) for _ in range(count)])
        try:
            yield found
        finally:
            for task in found.tasks:
                task.cancel()


async def test_round_robin_is_exact_over_all_workers(mesh: Mesh) -> None:
    with backends(mesh, 3) as servers:
        await mesh.publish(service(*servers.addresses, balancing=LoadBalancing.ROUND_ROBIN))
        assert await servers.count(60) == {0: 20, 1: 20, 2: 20}


async def test_round_robin_goes_on_across_images(mesh: Mesh) -> None:
    with backends(mesh, 3) as servers:
        counts: Counter[int] = Counter()
        for _ in range(30):
            await mesh.publish(service(*servers.addresses, balancing=LoadBalancing.ROUND_ROBIN))
            counts[await servers.ask()] += 1
        assert counts == {0: 10, 1: 10, 2: 10}


async def test_round_robin_honours_weights(mesh: Mesh) -> None:
    with backends(mesh, 3) as servers:
        weighted = [(*address, weight) for address, weight in zip(servers.addresses, (30, 10, 0), strict=True)]
        await mesh.publish(service(*weighted, balancing=LoadBalancing.ROUND_ROBIN))
        assert await servers.count(40) == {0: 30, 1: 10}


async def test_random_is_even(mesh: Mesh) -> None:
    with backends(mesh, 3) as servers:
        await mesh.publish(service(*servers.addresses, balancing=LoadBalancing.RANDOM))
        counts = await servers.count(600)
        assert all(counts[i] in binomial(600, 1 / 3) for i in range(3)), counts


async def test_least_request_avoids_the_busy_endpoint(mesh: Mesh) -> None:
    with backends(mesh, 2) as servers:
        held: list[socket.socket] = []
        await mesh.publish(service(servers.addresses[0], balancing=LoadBalancing.LEAST_REQUEST))
        for _ in range(40):
            assert await servers.ask(keep=held) == 0
        # The counts outlive the image: a new one knows that endpoint 0 has 40 live connections.
        await mesh.publish(service(*servers.addresses, balancing=LoadBalancing.LEAST_REQUEST))
        counts = Counter([await servers.ask(keep=held) for _ in range(38)])
        assert counts == {1: 38}  # with two endpoints both are always looked at
        for sock in held:
            sock.close()
        await mesh.counts(lambda stats: stats.active == 0, "connections to end")
        held.clear()
        counts = Counter([await servers.ask(keep=held) for _ in range(40)])
        assert counts == {0: 20, 1: 20}
        for sock in held:
            sock.close()


async def test_another_endpoint_is_tried_before_any_byte_moved(mesh: Mesh) -> None:
    with backends(mesh, 1) as servers:
        dead = [(SERVER4, 1), (SERVER4, 2)]
        await mesh.publish(service(*dead, *servers.addresses, balancing=LoadBalancing.ROUND_ROBIN))
        assert await servers.count(12) == {0: 12}
        events = await mesh.closed(CloseReason.OK, 12)
        assert {event.endpoint_port for event in events} == {servers.addresses[0][1]}


async def test_attempts_are_bounded(mesh: Mesh) -> None:
    with backends(mesh, 1) as servers:
        dead = [(SERVER4, port) for port in range(1, 4)]
        await mesh.publish(service(*dead, *servers.addresses, balancing=LoadBalancing.ROUND_ROBIN))
        await mesh.dial_in_vain()
        [event] = await mesh.closed(CloseReason.CONNECT_REFUSED)
        assert event.endpoint_port == 3


@pytest.mark.case("B3")
async def test_refused(mesh: Mesh) -> None:
    await mesh.publish(service((SERVER4, 1)))
    await mesh.dial_in_vain()
    [event] = await mesh.closed(CloseReason.CONNECT_REFUSED)
    assert (str(event.endpoint), event.endpoint_port, event.bytes_to_server) == (SERVER4, 1, 0)


@pytest.mark.case("B12")
@pytest.mark.parametrize("mesh", [{"connect_timeout": 3600}], indirect=True)
async def test_an_endpoint_that_answers_and_resets_has_had_the_connection(mesh: Mesh) -> None:
    """The relay sees both at once: it is stopped meanwhile. Its first SYN was dropped (the queue was full)."""
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4, backlog=0) as listener, mesh.server.listen(SERVER4) as second:
        with mesh.server.socket() as filler:
            await loop.sock_connect(filler, listener.getsockname())
            order = (listener.getsockname(), second.getsockname())
            await mesh.publish(service(*order, balancing=LoadBalancing.ROUND_ROBIN))
            client = await mesh.dial()
            await mesh.counts(lambda stats: stats.active == 1, "the relay to dial")
            os.kill(mesh.relay.pid, signal.SIGSTOP)
            (await loop.sock_accept(listener))[0].close()
        server, _ = await asyncio.wait_for(loop.sock_accept(listener), HANG_SECONDS)
        server.send(b"busy")
        reset(server)
        os.kill(mesh.relay.pid, signal.SIGCONT)
        [event] = await mesh.closed(CloseReason.SERVER_RESET)
        assert (event.endpoint_port, event.bytes_to_client) == (listener.getsockname()[1], 4)
        assert client.recv(64) == b"busy"
        with pytest.raises(ConnectionResetError):
            client.recv(64)
        with pytest.raises(BlockingIOError):
            second.accept()


@contextmanager
def silent_endpoint(mesh: Mesh) -> Iterator[tuple[str, int]]:
    """A listener whose queue is full: it answers no SYN."""
    with mesh.server.listen(SERVER4, backlog=0) as full:
        for _ in range(4):
            mesh.server.socket().connect_ex(full.getsockname())
        yield full.getsockname()


@pytest.mark.parametrize("mesh", [{"connect_timeout": 0.2}], indirect=True)
async def test_timeout(mesh: Mesh) -> None:
    with silent_endpoint(mesh) as silent:
        await mesh.publish(service(silent, (UNREACHABLE, 80)))
        await mesh.dial_in_vain()
        [event] = await mesh.closed(CloseReason.CONNECT_TIMEOUT)
        assert event.duration_ns > 0.35e9  # two attempts of 0.2 s


@pytest.mark.parametrize("mesh", [{"connect_timeout": 2}], indirect=True)  # enough for one that does answer
async def test_bytes_and_fin_wait_for_the_endpoint_that_answers(mesh: Mesh) -> None:
    """Both are there before the first read of the client's socket, which must not stop at the bytes."""
    with silent_endpoint(mesh) as silent, mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(silent, listener.getsockname(), balancing=LoadBalancing.ROUND_ROBIN))
        client = await mesh.dial()
        client.send(b"fire and forget")
        client.close()
        loop = asyncio.get_running_loop()
        server, _ = await asyncio.wait_for(loop.sock_accept(listener), HANG_SECONDS)
        with server:
            assert await loop.sock_recv(server, 64) == b"fire and forget"
            assert await asyncio.wait_for(loop.sock_recv(server, 64), HANG_SECONDS) == b""
        [event] = await mesh.closed(CloseReason.OK)
        assert event.duration_ns > 1.9e9


@pytest.mark.case("B3")
@pytest.mark.parametrize("mesh", [{"connect_timeout": 3600}], indirect=True)
async def test_client_that_gives_up_while_the_endpoint_is_silent(mesh: Mesh) -> None:
    with silent_endpoint(mesh) as silent:
        await mesh.publish(service(silent))
        client = await mesh.dial()
        await mesh.counts(lambda stats: stats.active == 1, "the engine to dial")
        reset(client)
        await mesh.closed(CloseReason.CLIENT_RESET)  # long before the hour that an attempt may take


async def test_endpoint_of_the_other_family_that_cannot_be_reached(mesh: Mesh) -> None:
    await mesh.publish(service(("fe80::1", 80)))  # link-local without a link: the kernel refuses it at once
    await mesh.dial_in_vain()
    [event] = await mesh.closed(CloseReason.CONNECT_FAILED)
    assert str(event.endpoint) == "fe80::1"


async def test_no_record(mesh: Mesh) -> None:
    with backends(mesh, 1) as servers:
        await mesh.publish(service(*servers.addresses))
        port = await mesh.dial_in_vain(record=False)
        [event] = await mesh.closed(CloseReason.NO_RECORD)
        assert (event.dst, event.endpoint, event.client_port) == (None, None, port)


async def test_no_service(mesh: Mesh) -> None:
    await mesh.dial_in_vain()  # before the first image
    await mesh.publish(service((SERVER4, 1), port=81))
    await mesh.dial_in_vain()
    events = await mesh.closed(CloseReason.NO_SERVICE, 2)
    assert [(event.dst_port, event.endpoint) for event in events] == [(80, None)] * 2


async def test_no_endpoint(mesh: Mesh) -> None:
    await mesh.publish(service())
    await mesh.dial_in_vain()
    [event] = await mesh.closed(CloseReason.NO_ENDPOINT)
    assert (event.service, event.endpoint) == (1, None)


async def test_an_image_with_one_address_twice_changes_nothing(mesh: Mesh) -> None:
    with backends(mesh, 1) as servers:
        await mesh.publish(service(*servers.addresses))
        with pytest.raises(Rejected, match="two services claim one address"):
            await mesh.publish(service(number=1), service(number=2))
        assert mesh.relay.connection.generation == 1
        assert await servers.ask() == 0


async def test_images_swap_under_traffic_without_an_error(mesh: Mesh) -> None:
    with backends(mesh, 2) as servers:
        await mesh.publish(service(*servers.addresses))
        done = asyncio.Event()

        async def swap() -> int:
            swaps = 0
            while not done.is_set():
                kept = servers.addresses[swaps % 2 :][:1]
                others = [service((SERVER4, 1), port=1000 + i, number=10 + i) for i in range(swaps % 50)]
                await mesh.publish(service(*kept), *others)
                swaps += 1
            return swaps

        async def use() -> Counter[int]:
            return await servers.count(150)

        swapping = asyncio.ensure_future(swap())
        counts = sum(await asyncio.gather(*(use() for _ in range(4))), Counter[int]())
        done.set()
        assert await swapping > 20
        assert counts.total() == 600
        assert counts.keys() == {0, 1}
        await mesh.closed(CloseReason.OK, 600)
