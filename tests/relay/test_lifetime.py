"""Pods that come and go, bounds, and the end of the engine: nothing is left, nothing spins, nothing grows."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.relay.conftest import PORT, VIP4, VIP6, Mesh, expect_reset, service, until
from tests.relay.pods import CAPTURE4, SERVER4, Pod
from tests.relay.process import RelayProcess, running
from tests.support.eventually import HANG_SECONDS
from tests.support.flows import Flows

from tidegate.relay.events import CloseReason

MIB = 1 << 20


@contextmanager
def waits_of_workers(pid: int) -> Iterator[Callable[[], int]]:
    """How often the workers gave their processor away by themselves: who spins is preempted, but never waits."""
    with ExitStack() as stack:
        tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text() == "tg-fastpath\n"]
        files = [stack.enter_context((task / "status").open("rb")) for task in tasks]
        assert files

        def waits() -> int:
            texts = [os.pread(file.fileno(), 8192, 0).decode() for file in files]
            return sum(int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE)[0]) for text in texts)

        yield waits


async def test_pods_leave_no_descriptor_and_no_thread(pods: tuple[Pod, Pod]) -> None:
    client, _ = pods
    flows = Flows(64)
    async with running(flows.fd, workers=3) as relay:
        counts = []
        for _ in range(3):
            for _ in range(10):
                await relay.add_sandbox(client.cookie, client.fd, v6=True)
                await relay.remove_sandbox(client.cookie)
            counts.append((relay.descriptors(), relay.threads()))
    flows.close()
    assert counts[0] == counts[1] == counts[2]
    assert counts[0][1] == 7  # three workers, a carrier for each, and who answers


async def test_pods_come_and_go_with_connections(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        before = mesh.relay.descriptors()
        for _ in range(5):
            pairs = [await mesh.pair(listener) for _ in range(10)]
            await mesh.relay.remove_sandbox(mesh.client.cookie)
            for client, server in pairs:
                await expect_reset(client)
                await expect_reset(server)
                client.close()
                server.close()
            with mesh.client.socket() as refused, pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_connect(refused, (CAPTURE4, mesh.port4))
            mesh.port4, mesh.port6 = await mesh.relay.add_sandbox(mesh.client.cookie, mesh.client.fd, v6=True)
        await mesh.closed(CloseReason.SHUTDOWN, 50)
        await until(lambda: mesh.relay.descriptors() == before, "no descriptor is left")


async def test_a_pod_is_known_once(mesh: Mesh) -> None:
    with pytest.raises(FileExistsError):
        await mesh.relay.add_sandbox(mesh.client.cookie, mesh.client.fd, v6=False)
    with pytest.raises(FileNotFoundError):
        await mesh.relay.remove_sandbox(1)


async def test_a_netns_that_is_none_is_refused_and_forgotten(mesh: Mesh) -> None:
    before = mesh.relay.descriptors()
    with open("/dev/null", "rb") as wrong:
        for _ in range(2):
            with pytest.raises(OSError, match="Invalid argument"):
                await mesh.relay.add_sandbox(4711, wrong.fileno(), v6=False)
    assert mesh.relay.descriptors() == before


async def test_listeners_are_on_the_capture_addresses_only(mesh: Mesh) -> None:
    for address in ("127.0.0.1", "::1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for port in (mesh.port4, mesh.port6):
            with mesh.client.socket(family) as other, pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_connect(other, (address, port))
    await mesh.dial_in_vain(VIP6, record=False)
    await mesh.closed(CloseReason.NO_RECORD)


async def test_many_connections_at_once_in_bounded_memory(mesh: Mesh) -> None:
    count = 2000
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        before = mesh.relay.resident()
        clients: list[socket.socket] = []
        servers: dict[int, socket.socket] = {}

        async def accept() -> None:
            while len(servers) < count:
                sock, _ = await loop.sock_accept(listener)
                number = int.from_bytes(await loop.sock_recv(sock, 4), "big")
                servers[number] = sock

        accepting = asyncio.ensure_future(accept())
        for number in range(count):
            sock = await mesh.dial()
            await loop.sock_sendall(sock, number.to_bytes(4, "big"))
            clients.append(sock)
        await asyncio.wait_for(accepting, HANG_SECONDS)
        assert (await mesh.relay.stats()).active == count
        for _ in range(3):  # every one of them, there and back
            for number, sock in enumerate(clients):
                await loop.sock_sendall(servers[number], number.to_bytes(4, "big"))
                assert int.from_bytes(await loop.sock_recv(sock, 4), "big") == number
        # 2 000 relayed connections with a buffer each way held would be 256 MiB.
        assert mesh.relay.resident() - before < 32 * MIB
        for sock in (*servers.values(), *clients):  # a client whose server lingers would count as gone
            sock.close()
    await mesh.closed(CloseReason.OK, count)


@pytest.mark.parametrize("mesh", [{"each_event": False}], indirect=True)
async def test_a_connection_that_ended_costs_nothing(mesh: Mesh) -> None:
    """No descriptor, and less memory than its record: 500 at a time, so that all but the first reuse what was there.

    Told as sums, because the rings get a new page for every 32 events until they are full once.
    """
    batch, batches = 500, 8
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        seen = []
        for _ in range(batches):
            for _ in range(batch):
                client, server = await mesh.pair(listener)
                client.close()
                assert await asyncio.get_running_loop().sock_recv(server, 1) == b""
                server.close()
            await mesh.counts(lambda stats: stats.active == 0, "connections end")
            for each in (mesh, mesh.client):
                each.close_sockets()
            seen.append((mesh.relay.resident(), mesh.relay.descriptors()))
        assert sum((await mesh.relay.stats()).closed.values()) == batch * batches
    grown, opened = (last - first for first, last in zip(seen[1], seen[-1], strict=True))
    assert opened <= 2, "each worker may keep one by which it asks whether a client is gone"
    assert grown < batch * (batches - 2) * 128, seen


@pytest.mark.parametrize("mesh", [{"workers": 4}], indirect=True)
async def test_long_lived_connections_spread_over_workers(mesh: Mesh) -> None:
    """One at a time, so that the first worker in the kernel's order is always idle and takes each of them."""
    before = worker_cpu(mesh.relay.pid)
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        pairs = [await mesh.pair(listener) for _ in range(64)]
        loop = asyncio.get_running_loop()
        for _ in range(100):
            for client, server in pairs:
                await loop.sock_sendall(client, b"x" * 4096)
                await loop.sock_recv(server, 8192)
        for client, server in pairs:
            client.close()
            server.close()
    switches = sorted(after - before.get(thread, 0) for thread, after in worker_cpu(mesh.relay.pid).items())
    assert switches[0] > sum(switches) / 16  # an even share is a quarter


def worker_cpu(pid: int) -> dict[str, int]:
    """Voluntary context switches, that is wake-ups, of each worker thread."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines() if ":" in line)
        if status["Name"].strip() == "tg-fastpath":
            found[task.name] = int(status["voluntary_ctxt_switches"])
    return found


@pytest.mark.parametrize("mesh", [{"max_connections": 9}], indirect=True)
async def test_a_pod_gets_two_thirds_of_the_connections_and_a_neighbour_finds_room(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        pairs = [await mesh.pair(listener) for _ in range(6)]
        for _ in range(3):
            await mesh.dial_in_vain()
        await mesh.counts(lambda stats: stats.closed[CloseReason.NO_MEMORY] == 3, "those refused are counted")
        pairs.append(await neighbours_pair(mesh, listener))
        for sock in pairs.pop(0):
            sock.close()
        await mesh.counts(lambda stats: stats.active == 6, "one to end")
        pairs.append(await mesh.pair(listener))
        await mesh.dial_in_vain()  # six again, and now only two are free
        for client, server in pairs:
            client.close()
            server.close()
        await mesh.counts(lambda stats: stats.active == 0, "all to end")


async def neighbours_pair(mesh: Mesh, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A connection of another pod of the engine, which here is the server's own."""
    loop = asyncio.get_running_loop()
    port, _ = await mesh.relay.add_sandbox(mesh.server.cookie, mesh.server.fd, v6=False)
    client = mesh.server.socket()
    client.bind(("127.0.0.1", 0))
    mesh.flows.record(mesh.server.cookie, client.getsockname(), port, (VIP4, PORT))
    await loop.sock_connect(client, (CAPTURE4, port))
    server, _ = await asyncio.wait_for(loop.sock_accept(listener), HANG_SECONDS)
    return client, server


@contextmanager
def open_files_limited(relay: RelayProcess, limit: int) -> Iterator[None]:
    before = relay.limit_files(limit)
    try:
        yield
    finally:
        relay.limit_files(before)


def is_free_below_the_last(pid: int) -> bool:
    """Whether a process has numbers of descriptors free below its last one."""
    numbers = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return len(numbers) <= max(numbers)


async def test_without_free_descriptors_clients_are_told_at_once(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        waiting = [mesh.prepare() for _ in range(8)]
        while is_free_below_the_last(mesh.relay.pid):  # or it would accept with that, and fail to dial
            await mesh.pair(listener)
        # What is open stays usable: the spare descriptor is given up and taken back below this bound.
        with open_files_limited(mesh.relay, max(map(int, os.listdir(f"/proc/{mesh.relay.pid}/fd"))) + 1):
            for sock in waiting:
                with suppress(ConnectionResetError):
                    await mesh.connect(sock)
                    await expect_reset(sock)
        await mesh.counts(lambda stats: stats.closed[CloseReason.NO_MEMORY] == 8, "those refused are counted")
        await mesh.pair(listener)  # and it works again


async def test_with_a_limit_below_what_is_open_it_waits_without_spinning(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        waiting = mesh.prepare()
        # Descriptors in use stay usable, but not even a freed one can be had again.
        with waits_of_workers(mesh.relay.pid) as waits, open_files_limited(mesh.relay, 3):
            await mesh.connect(waiting)
            before = waits()
            await until(lambda: waits() >= before + 3, "the worker to wait between its attempts")
        loop = asyncio.get_running_loop()
        server, _ = await asyncio.wait_for(loop.sock_accept(listener), HANG_SECONDS)
        with server:
            await loop.sock_sendall(waiting, b"patience")
            assert await loop.sock_recv(server, 64) == b"patience"


async def test_stop_lets_live_connections_finish(mesh: Mesh) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        stopping = asyncio.ensure_future(mesh.stop(drain=10 * HANG_SECONDS))
        await until(lambda: refuses(mesh), "the listener to close")
        assert not stopping.done()
        await loop.sock_sendall(client, b"last words")
        assert await loop.sock_recv(server, 64) == b"last words"
        client.close()
        server.close()
        await asyncio.wait_for(stopping, HANG_SECONDS)
    reasons = [event.reason for event in mesh.ended if event.reason is not CloseReason.NO_RECORD]  # of refuses()
    assert reasons == [CloseReason.OK]


def refuses(mesh: Mesh) -> bool:
    with mesh.client.socket() as sock:
        sock.setblocking(True)
        return sock.connect_ex((CAPTURE4, mesh.port4)) != 0


async def test_stop_resets_what_does_not_finish_in_time(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server:
            begin = time.monotonic()
            await mesh.stop(drain=0.3)
            assert time.monotonic() - begin >= 0.25
            await expect_reset(client)
            await expect_reset(server)
    assert [event.reason for event in mesh.ended] == [CloseReason.SHUTDOWN]
