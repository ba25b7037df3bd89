"""What one pod can take of what all pods share: kernel memory of one connection and of all, descriptors."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess

import pytest
from tests.relay.conftest import PORT, VIP4, Mesh, service, until
from tests.relay.pods import CAPTURE4, CLIENT4, SERVER4, Pod
from tests.relay.test_lifetime import neighbours_pair

from tidegate.relay.events import CloseReason

STUCK = 24
RELAYS_OWN = 192 << 10  # bytes of kernel memory in the two sockets of a connection whose reader does not read
_SOCKET = re.compile(r"(\S+):\d+\s+\S+:\d+\s*\n?\s*.*?skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+)")


def kernel_bytes(pod: Pod) -> list[tuple[str, int]]:
    """Local address and memory (waiting to be read, to be sent, set aside) of each established TCP socket in there."""
    done = subprocess.run(
        ["ip", "netns", "exec", pod.name, "ss", "-Htmn", "state", "established"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [(where, sum(map(int, sizes))) for where, *sizes in _SOCKET.findall(done.stdout)]


async def pour(senders: list[socket.socket], pods: tuple[Pod, Pod]) -> list[tuple[str, int]]:
    """Send until nothing moves any more; then what the kernel holds."""
    held: list[tuple[str, int]] = []

    def full() -> bool:
        nonlocal held
        took, before = False, held
        for sender in senders:
            try:
                while sender.send(bytes(1 << 16)):
                    took = True
            except BlockingIOError:
                continue
        held = sorted(found for pod in pods for found in kernel_bytes(pod))
        return not took and held == before

    await until(full, "all buffers are full")
    return held


async def direct_pair(mesh: Mesh, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    loop = asyncio.get_running_loop()
    client = mesh.client.socket()
    await loop.sock_connect(client, listener.getsockname())
    return client, (await loop.sock_accept(listener))[0]


@pytest.mark.case("B4")
@pytest.mark.parametrize("reader", ["client", "server"])
async def test_connections_that_nobody_reads_cost_about_what_they_cost_without_a_relay(mesh: Mesh, reader: str) -> None:
    pods = (mesh.client, mesh.server)
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        held = {}
        for way in ("direct", "relayed"):
            pairs = [await (direct_pair if way == "direct" else Mesh.pair)(mesh, listener) for _ in range(STUCK)]
            held[way] = await pour([pair[reader == "client"] for pair in pairs], pods)
            for sock in (sock for pair in pairs for sock in pair):
                sock.close()
            await until(lambda: not any(kernel_bytes(pod) for pod in pods), "the sockets are gone")
    assert len(held["direct"]) == 2 * STUCK
    assert len(held["relayed"]) == 4 * STUCK
    # A client's own end is bounded by the kernel programs (tests/bpf): here there are none.
    other_end = {"client": (SERVER4, CLIENT4, CAPTURE4, "127.0.0.1"), "server": (SERVER4, CLIENT4, CAPTURE4)}[reader]
    total = {way: sum(size for where, size in found if where in other_end) for way, found in held.items()}
    assert total["relayed"] <= 2 * total["direct"], total
    own = sum(size for where, size in held["relayed"] if where in (CLIENT4, CAPTURE4))
    assert own <= STUCK * RELAYS_OWN, own / STUCK


async def stuck_downloads(mesh: Mesh, listener: socket.socket, count: int) -> list[socket.socket]:
    """Connections that hold what they can, since their clients do not read."""
    pairs = [await mesh.pair(listener) for _ in range(count)]
    await pour([server for _, server in pairs], (mesh.client, mesh.server))
    return [client for client, _ in pairs]


def own_bytes(mesh: Mesh) -> int:
    """What the relay's sockets hold for its clients: those in the client's pod, but the client's own."""
    return sum(size for where, size in kernel_bytes(mesh.client) if where in (CLIENT4, CAPTURE4))


@pytest.mark.case("B4")
@pytest.mark.parametrize("mesh", [{"workers": 1, "sockets_mib": 3}], indirect=True)
async def test_a_pod_whose_connections_are_stuck_gets_no_more_of_them(mesh: Mesh) -> None:
    """Of 3 MiB of kernel memory a pod gets two thirds."""
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        clients = await stuck_downloads(mesh, listener, 2 * STUCK)
        held = own_bytes(mesh)
        assert held > 2 << 20, "more than its share, or nothing is seen here"
        await mesh.counts(lambda stats: stats.socket_bytes >= 2 << 20, "all of them are looked at")
        assert (await mesh.relay.stats()).socket_bytes <= held + (1 << 20), "what they hold, and nothing besides"
        await mesh.dial_in_vain()
        await mesh.counts(lambda stats: stats.closed[CloseReason.NO_MEMORY] == 1, "who was refused is counted")
        client, server = await neighbours_pair(mesh, listener)
        client.send(b"served")
        assert await asyncio.get_running_loop().sock_recv(server, 6) == b"served"
        for sock in (*clients, client, server):
            sock.close()
        mesh.close_sockets()
        await mesh.counts(lambda stats: stats.active == 0 and stats.socket_bytes == 0, "nothing is held")
        for sock in await mesh.pair(listener):
            sock.close()


@pytest.mark.case("B4")
@pytest.mark.parametrize("mesh", [{"workers": 1, "sockets_mib": 3, "report": 1}], indirect=True)
async def test_of_a_pod_beyond_its_share_what_is_stuck_is_reset_and_what_moves_is_not(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        clients = await stuck_downloads(mesh, listener, 3 * STUCK)
        talking = asyncio.create_task(talk(client, server))
        await mesh.counts(lambda stats: stats.closed[CloseReason.NO_MEMORY] > 0, "some are reset")
        await until(lambda: own_bytes(mesh) <= 2 << 20, "it holds its share and no more")
        talking.cancel()
        stats = await mesh.relay.stats()
        assert own_bytes(mesh) > 1 << 20, "no more are reset than it takes"
        assert stats.active == 3 * STUCK + 1 - stats.closed[CloseReason.NO_MEMORY]
        client.send(b"still there")
        heard = b""
        while not heard.endswith(b"still there"):
            heard += await asyncio.get_running_loop().sock_recv(server, 1 << 16)
        for sock in (*clients, client, server):
            sock.close()


async def talk(client: socket.socket, server: socket.socket) -> None:
    """Something moves, again and again."""
    loop = asyncio.get_running_loop()
    while True:
        await loop.sock_sendall(client, bytes(1000))
        for _ in range(1000):
            await loop.sock_recv(server, 1)


@pytest.mark.case("E3")
@pytest.mark.parametrize("mesh", [{"files": 256, "workers": 1}], indirect=True)
async def test_a_pod_that_opens_without_end_leaves_descriptors_for_the_next_pod(mesh: Mesh) -> None:
    """Of 256 descriptors 128 are for connections, two each; a pod gets two thirds of them."""
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname(), vip=VIP4, port=PORT))
        pairs = [await mesh.pair(listener) for _ in range(43)]
        for _ in range(3):
            await mesh.dial_in_vain()
        await mesh.counts(lambda stats: stats.closed[CloseReason.NO_MEMORY] == 3, "those refused are counted")
        pairs.append(await neighbours_pair(mesh, listener))  # a pod that comes now listens, and is served
        assert mesh.relay.descriptors() < 256 - 64
        for sock in (sock for pair in pairs for sock in pair):
            sock.close()
        await mesh.counts(lambda stats: stats.active == 0, "all to end")
