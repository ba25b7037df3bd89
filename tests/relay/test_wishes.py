"""TCP options that an application sets for the way to the server hold on that way: a dead server is noticed in time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.relay.conftest import VIP4, VIP6, Mesh, expect_reset, service, until, until_told
from tests.relay.pods import CLIENT4, SERVER4, SERVER6, ip
from tests.support.eventually import HANG_SECONDS

from tidegate.relay.events import CloseReason

SOON = {"keepalive": 1, "idle_s": 1, "interval_s": 1, "probes": 3, "user_timeout_ms": 3000}
ENDED = CloseReason.SERVER_RESET
BOTH = [(VIP4, SERVER4), (VIP6, SERVER6)]


@contextmanager
def silence(mesh: Mesh) -> Iterator[None]:
    """Nothing comes back from the server's machine any more, not even a refusal."""
    ip("-n", mesh.server.name, "route", "add", "blackhole", f"{CLIENT4}/32")
    try:
        yield
    finally:
        ip("-n", mesh.server.name, "route", "del", "blackhole", f"{CLIENT4}/32")


@pytest.mark.case("B6")
@pytest.mark.parametrize("idle", [True, False], ids=["nothing to say", "bytes under way"])
async def test_a_server_that_falls_silent_is_noticed_when_the_application_said(mesh: Mesh, idle: bool) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener, wishes=SOON)
        with client, server:
            client.send(b"hello")
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(server, 64), HANG_SECONDS) == b"hello"
            with silence(mesh):
                if not idle:
                    client.send(b"anybody?")
                await expect_reset(client)
                [event] = await mesh.closed(ENDED)
    assert event.bytes_to_server == (5 if idle else 13)


@pytest.mark.case("B6")
async def test_what_is_set_after_connect_holds_as_well(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with client, server, silence(mesh):
            mesh.flows.wish(mesh.client.cookie, client.getsockname(), mesh.port4, **SOON)
            await expect_reset(client)
            await mesh.closed(ENDED)


@pytest.mark.case("B6")
@pytest.mark.parametrize("mesh", [{"report": 1}], indirect=True)
async def test_what_is_set_in_the_life_of_a_connection_holds_as_well(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener, wishes={"keepalive": 1, "idle_s": 300})
        with client, server, silence(mesh):
            await until(lambda: 200 < keepalive_seconds(mesh, server) <= 300, "the first wish")
            mesh.flows.wish(mesh.client.cookie, client.getsockname(), mesh.port4, **SOON)
            await expect_reset(client)


@pytest.mark.case("B6")
async def test_times_without_keepalive_switch_nothing_on(mesh: Mesh) -> None:
    """As in the kernel: TCP_KEEPIDLE alone probes nobody sooner."""
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener, wishes={"idle_s": 1, "interval_s": 1, "probes": 1})
        with client, server:
            await until(lambda: keepalive_seconds(mesh, server) > 1000, "the system's own time")


def keepalive_seconds(mesh: Mesh, server: socket.socket) -> float:
    """Until the relay's socket towards the server probes it; 0 if it will not."""
    port = f":{server.getpeername()[1]:04X}"
    for line in mesh.client.run(Path("/proc/thread-self/net/tcp").read_text).splitlines()[1:]:
        fields = line.split()
        kind, _, ticks = fields[5].partition(":")
        if fields[1].endswith(port) and kind == "02":
            return int(ticks, 16) / 100  # USER_HZ
    return 0


@pytest.mark.case("B6")
@pytest.mark.parametrize(("vip", "address"), BOTH, ids=["v4", "v6"])
async def test_packets_are_marked_as_the_application_marked_them(mesh: Mesh, vip: str, address: str) -> None:
    level, receive = (
        (socket.IPPROTO_IPV6, 66)  # IPV6_RECVTCLASS
        if ":" in address
        else (socket.IPPROTO_IP, 13)  # IP_RECVTOS
    )
    await sees(mesh, (vip, address), {"tos": 0xB8}, level, receive, b"\xb8")


@pytest.mark.case("B6")
@pytest.mark.parametrize(("vip", "address"), BOTH, ids=["v4", "v6"])
async def test_packets_go_as_far_as_the_application_said(mesh: Mesh, vip: str, address: str) -> None:
    level, receive = (
        (socket.IPPROTO_IPV6, 51)  # IPV6_RECVHOPLIMIT
        if ":" in address
        else (socket.IPPROTO_IP, 12)  # IP_RECVTTL
    )
    await sees(mesh, (vip, address), {"hops": 77}, level, receive, b"\x4d")


async def sees(
    mesh: Mesh, where: tuple[str, str], wishes: dict[str, int], level: int, receive: int, value: bytes
) -> None:
    """The server is told this value with a segment, when it asks for what `receive` stands for."""
    vip, address = where
    with mesh.server.listen(address) as listener:
        listener.setsockopt(level, receive, 1)
        await mesh.publish(service(listener.getsockname()[:2], vip=vip))
        client, server = await mesh.pair(listener, vip=vip, wishes=wishes)
        with client, server:

            async def seen() -> bool:
                client.send(b"x")
                server.setsockopt(level, receive, 1)
                return value in told_of_segment(server, level)

            await until_told(seen, f"a segment with {wishes}")


def told_of_segment(sock: socket.socket, level: int) -> bytes:
    """TCP hands what was said of a segment on by IP_PKTOPTIONS only: ask for it."""
    option = 9 if level == socket.IPPROTO_IP else 6  # IP_PKTOPTIONS, IPV6_2292PKTOPTIONS
    return sock.getsockopt(level, option, 256)


@pytest.mark.case("B6")
@pytest.mark.parametrize(("vip", "address"), BOTH, ids=["v4", "v6"])
async def test_segments_are_no_larger_than_the_application_said(mesh: Mesh, vip: str, address: str) -> None:
    """An application that knows of a narrow way behind which nobody answers "too big" asks for small segments."""
    with mesh.server.listen(address) as listener:
        await mesh.publish(service(listener.getsockname()[:2], vip=vip))
        client, server = await mesh.pair(listener, vip=vip, wishes={"max_segment": 700})
        with client, server:
            assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 700


@pytest.mark.case("B6")
@pytest.mark.parametrize("mesh", [{"connect_timeout": 3600}], indirect=True)
async def test_a_silent_server_is_given_up_after_as_many_tries_as_the_application_said(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        with silence(mesh), await mesh.dial(wishes={"syn_retries": 1}) as client:
            await expect_reset(client)
            await mesh.closed(CloseReason.CONNECT_TIMEOUT)
