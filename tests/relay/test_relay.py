"""Bytes, FIN and RST go through as if the two ends were joined directly."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.relay.conftest import VIP4, VIP6, Mesh, expect_reset, reset, service, until_told
from tests.relay.pods import CLIENT4, CLIENT4_SECOND, CLIENT6, SERVER4, SERVER6
from tests.relay.traffic import exchange, receive_stream, send_stream
from tests.support.eventually import HANG_SECONDS

from tidegate.relay.events import CloseReason

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    ("vip", "server_address", "client_address"), [(VIP4, SERVER4, CLIENT4), (VIP6, SERVER6, CLIENT6)], ids=["v4", "v6"]
)
async def test_one_connection_there_and_back(mesh: Mesh, vip: str, server_address: str, client_address: str) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(server_address) as listener:
        port = listener.getsockname()[1]
        await mesh.publish(service((server_address, port), vip=vip, number=7))
        client, server = await mesh.pair(listener, vip=vip)
        with client, server:
            assert server.getpeername()[0] == client_address
            await loop.sock_sendall(client, b"ping")
            assert await loop.sock_recv(server, 64) == b"ping"
            await loop.sock_sendall(server, b"pong!")
            assert await loop.sock_recv(client, 64) == b"pong!"
            client_port = client.getsockname()[1]
    [event] = await mesh.closed(CloseReason.OK)
    assert (event.bytes_to_server, event.bytes_to_client) == (4, 5)
    assert (str(event.dst), event.dst_port, event.service) == (vip, 80, 7)
    assert (str(event.endpoint), event.endpoint_port) == (server_address, port)
    assert (event.client_port, event.netns_cookie) == (client_port, mesh.client.cookie)
    assert event.duration_ns > 0
    stats = await mesh.relay.stats()
    assert (stats.accepted, stats.active, stats.bytes_to_server, stats.bytes_to_client) == (1, 0, 4, 5)


async def test_server_that_speaks_first(mesh: Mesh) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server:
            await loop.sock_sendall(server, b"220 hello")
            assert await asyncio.wait_for(loop.sock_recv(client, 64), HANG_SECONDS) == b"220 hello"


async def test_the_applications_own_source_address_is_kept(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        for chosen, seen in ((CLIENT4_SECOND, CLIENT4_SECOND), (CLIENT4, CLIENT4), ("", CLIENT4)):
            client, server = await mesh.pair(listener, client=chosen)
            with client, server:
                assert server.getpeername()[0] == seen


@pytest.mark.parametrize("size", [64 * KIB, 5 * MIB + 13, 256 * MIB], ids=["64KiB", "5MiB+13", "256MiB"])
async def test_streams_are_byte_exact_both_ways_at_once(mesh: Mesh, size: int) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server:
            await exchange(client, server, size)
    [event] = await mesh.closed(CloseReason.OK)
    assert (event.bytes_to_server, event.bytes_to_client) == (size, size)


# 1 MiB of buffers of 256 KiB for 2 workers and their carriers is one buffer each: 4 slow streams need more than that.
@pytest.mark.parametrize("mesh", [{}, {"pool_mib": 1, "buffer_bytes": 256 * KIB}], indirect=True, ids=["pool", "bound"])
async def test_slow_readers_lose_nothing(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        pairs = [await mesh.pair(listener) for _ in range(8)]
        await asyncio.gather(*(exchange(client, server, 6 * MIB, 128 * KIB) for client, server in pairs))
        for client, server in pairs:
            client.close()
            server.close()
    await mesh.closed(CloseReason.OK, 8)


async def test_kept_bytes_that_go_out_in_pieces(mesh: Mesh) -> None:
    """Send buffers smaller than ours: what was kept after one short write meets another one, and another. Each of the
    hundreds of times a buffer is needed it comes back."""
    size = 8 * MIB + 13
    with mesh.client.sysctl("net/ipv4/tcp_wmem", "4096 16384 32768"), mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        memory = []
        for _ in range(4):
            client, server = await mesh.pair(listener)
            with client, server:
                await exchange(client, server, size, 128 * KIB)
            memory.append(mesh.relay.resident())
    for event in await mesh.closed(CloseReason.OK, 4):
        assert (event.bytes_to_server, event.bytes_to_client) == (size, size)
    assert memory[-1] - memory[0] < 4 * MIB, memory


async def test_a_reader_that_stops_holds_the_sender_back(mesh: Mesh) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server:
            sending = asyncio.ensure_future(send_stream(client, 256 * MIB))
            seen = -1

            async def stalled() -> bool:
                nonlocal seen
                before, seen = seen, (await mesh.relay.stats()).bytes_to_server
                return seen > 0 and seen == before

            await until_told(stalled, "the relay to stop reading")
            assert seen < 64 * MIB  # what the sockets' buffers take
            assert not sending.done()
            assert await asyncio.wait_for(loop.sock_recv(server, 1), HANG_SECONDS)  # and it is not stuck
            total, _ = await receive_stream(server)
            await sending
            assert total == 256 * MIB - 1


@pytest.mark.parametrize("first", ["client", "server"])
async def test_half_close_in_either_order(mesh: Mesh, first: str) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        one, other = (client, server) if first == "client" else (server, client)
        with one, other:
            await loop.sock_sendall(one, b"question")
            one.shutdown(socket.SHUT_WR)
            assert await receive_stream(other) == await receive_checksum(b"question")
            assert (await mesh.relay.stats()).active == 1  # the other direction is still open ...
            await loop.sock_sendall(other, b"answer")  # ... and works
            other.shutdown(socket.SHUT_WR)
            assert await receive_stream(one) == await receive_checksum(b"answer")
            [event] = await mesh.closed(CloseReason.OK)
    assert event.bytes_to_server + event.bytes_to_client == 14


async def receive_checksum(data: bytes) -> tuple[int, int]:
    """What receive_stream says of this stream."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(left, data)
        left.close()
        return await receive_stream(right)


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("when", ["idle", "after its FIN", "with bytes waiting"])
async def test_reset_goes_through(mesh: Mesh, who: str, when: str) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        one, other = (client, server) if who == "client" else (server, client)
        with one, other:
            if when == "after its FIN":
                one.shutdown(socket.SHUT_WR)
                assert await loop.sock_recv(other, 1) == b""
            if when == "with bytes waiting":
                # The engine holds bytes of both directions that nobody reads.
                for sock in (one, other):
                    while await wait_writable(sock):
                        sock.send(b"x" * 65536)
            reset(one)
            await expect_reset(other)
        reason = CloseReason.CLIENT_RESET if who == "client" else CloseReason.SERVER_RESET
        await mesh.closed(reason)


async def wait_writable(sock: socket.socket) -> bool:
    """False if it stays full for a while."""
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(sock, writable.set)
    waiting = asyncio.ensure_future(writable.wait())
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    loop.remove_writer(sock)
    waiting.cancel()
    return bool(done)
