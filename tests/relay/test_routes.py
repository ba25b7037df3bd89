"""Which service a connection is routed to: by weight, client, dialled address, and the name that TLS asks for."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import pytest
from tests.relay.conftest import VIP4, Mesh, expect_reset, service
from tests.relay.pods import SERVER4
from tests.relay.traffic import exchange
from tests.support.chance import binomial
from tests.support.eventually import HANG_SECONDS
from tests.support.hello import ECH, client_hello, in_records, made_hello, server_name

from tidegate.model.net import parse_network
from tidegate.model.plan.kernel import ANYWHERE
from tidegate.model.plan.relay import L4Endpoint, L4Outlier, L4Rule, L4Service, L4Settings, L4Target, L4View
from tidegate.relay.events import CloseReason

FIRST, SECOND, THIRD = 11, 12, 13


class Servers:
    """A server for each of the pools FIRST, SECOND and THIRD."""

    def __init__(self, mesh: Mesh, listeners: list[socket.socket]) -> None:
        self.mesh, self.listeners = mesh, listeners
        self.pools = tuple(
            replace(service(listener.getsockname(), number=number), addresses=())
            for number, listener in zip((FIRST, SECOND, THIRD), listeners, strict=True)
        )

    async def publish(self, *rules: L4Rule, clients: tuple[int, ...] = ()) -> None:
        await self.show(L4View(rules, clients))

    async def show(self, *views: L4View) -> None:
        await self.mesh.publish(replace(service(), views=views), *self.pools)

    async def accepted(self) -> tuple[int, socket.socket]:
        """The next connection that reaches a server, and which one."""
        loop = asyncio.get_running_loop()
        waiting = {asyncio.ensure_future(loop.sock_accept(one)): n for n, one in enumerate(self.listeners)}
        done, others = await asyncio.wait(waiting, timeout=HANG_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        [first] = done
        return (FIRST, SECOND, THIRD)[waiting[first]], first.result()[0]

    async def asked(self, *pieces: bytes) -> int:
        """Which server a client reaches that says this, each piece in a segment of its own. It gets every byte."""
        loop = asyncio.get_running_loop()
        client = await self.mesh.dial()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            await loop.sock_sendall(client, piece)
        number, server = await self.accepted()
        wanted = b"".join(pieces)
        got = b""
        while len(got) < len(wanted):
            got += await asyncio.wait_for(loop.sock_recv(server, 65536), HANG_SECONDS)
        assert got == wanted
        client.close()
        server.close()
        return number


@contextmanager
def servers_of(mesh: Mesh) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(mesh, [stack.enter_context(mesh.server.listen(SERVER4)) for _ in range(3)])


def to(number: int, **conditions: object) -> L4Rule:
    return L4Rule((L4Target(number, 1),), **conditions)  # type: ignore[arg-type]


async def test_connections_are_divided_by_weight(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        await servers.publish(L4Rule((L4Target(FIRST, 75), L4Target(SECOND, 25))))
        found: Counter[int] = Counter()
        for _ in range(200):
            client = await mesh.dial()
            number, server = await servers.accepted()
            found[number] += 1
            client.close()
            server.close()
        assert found[FIRST] in binomial(200, 0.75)
        assert set(found) == {FIRST, SECOND}
        events = await mesh.closed(CloseReason.OK, 200)
        assert Counter(event.service for event in events) == found, "it is told of the service that it came to"


async def test_the_name_in_the_first_message_says_where(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        await servers.publish(
            to(FIRST, names=("a.example.com",)), to(SECOND, names=("*.example.com", "b.org")), to(THIRD)
        )
        assert await servers.asked(client_hello("a.example.com")) == FIRST
        assert await servers.asked(client_hello("a.example.com", tls13=False)) == FIRST
        assert await servers.asked(client_hello("x.y.example.com")) == SECOND
        assert await servers.asked(client_hello("b.org")) == SECOND
        assert await servers.asked(client_hello("example.com")) == THIRD
        assert await servers.asked(client_hello(None)) == THIRD
        assert await servers.asked(made_hello(server_name(b"A.Example.COM."))) == FIRST
        assert await servers.asked(made_hello(ECH, server_name(b"b.org"))) == SECOND, "of ECH the outer name"


async def test_a_first_message_may_come_in_pieces(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        await servers.publish(to(FIRST, names=("a.example.com",)), to(THIRD))
        whole = client_hello("a.example.com")
        small = made_hello(server_name(b"a.example.com"))
        assert await servers.asked(*(whole[i : i + 100] for i in range(0, len(whole), 100))) == FIRST
        assert await servers.asked(*(small[i : i + 1] for i in range(len(small)))) == FIRST
        assert await servers.asked(in_records(whole, 11)) == FIRST


async def test_what_is_no_first_message_has_no_name(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        await servers.publish(to(FIRST, names=("*",)), to(THIRD))
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(20), b"\x16\x02", bytes(40)):
            assert await servers.asked(garbage) == THIRD, garbage
        assert await servers.asked(made_hello((21, bytes(16500)), server_name(b"late.org"))) == THIRD, "it is too long"
        assert await servers.asked(made_hello(server_name(b"a\0b"))) == THIRD


async def test_a_client_that_ends_before_it_said_a_name_is_served(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        await servers.publish(to(FIRST, names=("*",)), to(THIRD))
        client = await mesh.dial()
        await asyncio.get_running_loop().sock_sendall(client, client_hello()[:50])
        client.shutdown(socket.SHUT_WR)
        number, server = await servers.accepted()
        assert number == THIRD
        server.close()
        client.close()


async def test_a_name_that_no_rule_has_is_reset(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        await servers.publish(to(FIRST, names=("a.example.com",)))
        client = await mesh.dial()
        await asyncio.get_running_loop().sock_sendall(client, client_hello("b.example.com"))
        await expect_reset(client)
        client.close()
        [event] = await mesh.closed(CloseReason.NO_ROUTE)
        assert (event.service, event.endpoint) == (1, None)


async def test_a_view_is_for_its_clients(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        own, other = mesh.client.cookie, mesh.client.cookie + 1
        await servers.show(L4View((to(FIRST),), (own, other)), L4View((to(SECOND),)))
        assert await servers.asked(b"x") == FIRST
        await servers.show(L4View((to(FIRST),), (other,)), L4View((to(SECOND),)))
        assert await servers.asked(b"x") == SECOND


async def test_the_dialled_address_is_compared_bit_by_bit(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        for prefix, expected in (
            (f"{VIP4}/32", FIRST),
            ("10.96.0.11", THIRD),
            ("10.96.0.8/30", FIRST),
            ("::/0", FIRST),
        ):
            await servers.publish(to(FIRST, subnets=(parse_network(prefix),)), to(THIRD))
            assert await servers.asked(b"x") == expected, prefix
        await servers.publish(to(FIRST, subnets=(parse_network("10.96.0.12/30"),)), to(THIRD))
        assert await servers.asked(b"x") == THIRD


async def test_a_rule_that_leads_to_nothing_resets(mesh: Mesh) -> None:
    with servers_of(mesh) as servers:
        await servers.publish(to(99))
        await mesh.dial_in_vain()
        await mesh.closed(CloseReason.NO_ENDPOINT)


def timed(listener: socket.socket, idle_ms: int, duration_ms: int = 0) -> L4Service:
    return service(listener.getsockname(), settings=L4Settings(idle_ms=idle_ms, duration_ms=duration_ms))


async def test_a_connection_on_which_nothing_moves_is_ended_in_order(mesh: Mesh) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(timed(listener, idle_ms=500))
        client, server = await mesh.pair(listener)
        await loop.sock_sendall(client, b"x")
        assert await asyncio.wait_for(loop.sock_recv(server, 1), HANG_SECONDS) == b"x"
        for sock in (client, server):
            assert await asyncio.wait_for(loop.sock_recv(sock, 1), HANG_SECONDS) == b""
        [event] = await mesh.closed(CloseReason.IDLE_TIMEOUT)
        assert (event.bytes_to_server, event.duration_ns >= 500_000_000) == (1, True)
        client.close()


async def test_a_connection_that_is_used_is_not_idle(mesh: Mesh) -> None:
    """It is written to for three times as long as it may be idle, then left alone."""
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(timed(listener, idle_ms=1000))
        client, server = await mesh.pair(listener)
        end = loop.time() + 3
        while loop.time() < end:
            await loop.sock_sendall(client, b"x")
            assert await asyncio.wait_for(loop.sock_recv(server, 1), HANG_SECONDS) == b"x"
        [event] = await mesh.closed(CloseReason.IDLE_TIMEOUT)
        assert event.duration_ns >= 4_000_000_000
        client.close()


async def test_a_connection_is_ended_when_it_is_too_old_whatever_it_does(mesh: Mesh) -> None:
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(timed(listener, idle_ms=60_000, duration_ms=400))
        client, server = await mesh.pair(listener)

        async def chat() -> None:
            while True:
                await loop.sock_sendall(client, b"x")
                if not await loop.sock_recv(server, 1):
                    return

        with suppress(ConnectionResetError, BrokenPipeError):  # what was on its way when it ended
            await asyncio.wait_for(chat(), HANG_SECONDS)
        [event] = await mesh.closed(CloseReason.MAX_DURATION)
        assert event.duration_ns >= 400_000_000
        client.close()


def outlier(**changes: int) -> L4Settings:
    rule = {
        "failures": 1,
        "base_ms": 3_600_000,
        "interval_ms": 10_000,
        "most_percent": 100,
        "panic_percent": 0,
    } | changes
    return L4Settings(outlier=L4Outlier(**rule))


async def test_an_endpoint_to_which_connecting_fails_is_left_out(mesh: Mesh) -> None:
    await mesh.publish(service((SERVER4, 1), settings=outlier(failures=2)))
    for _ in range(2):
        await mesh.dial_in_vain()
    await mesh.closed(CloseReason.CONNECT_REFUSED, 2)
    await mesh.dial_in_vain()
    await mesh.closed(CloseReason.NO_HEALTHY)
    await mesh.publish(service((SERVER4, 1), settings=outlier(failures=2)))
    await mesh.dial_in_vain()
    await mesh.closed(CloseReason.NO_HEALTHY, 2)
    await mesh.publish(service((SERVER4, 1)))
    await mesh.dial_in_vain()
    await mesh.closed(CloseReason.CONNECT_REFUSED, 3)


@pytest.mark.parametrize(("percent", "expected"), [(99, CloseReason.CONNECT_REFUSED), (100, CloseReason.NO_HEALTHY)])
async def test_so_many_endpoints_may_be_left_out_and_no_more(mesh: Mesh, percent: int, expected: CloseReason) -> None:
    """Of two one is half: the other one is tried on."""
    await mesh.publish(service((SERVER4, 1), (SERVER4, 2), settings=outlier(most_percent=percent)))
    await mesh.dial_in_vain()
    await mesh.closed(CloseReason.CONNECT_REFUSED)
    await mesh.dial_in_vain()
    await mesh.closed(expected, 1 + (expected is CloseReason.CONNECT_REFUSED))


async def test_of_few_endpoints_none_is_left_out_by_a_share_that_is_less_than_one(mesh: Mesh) -> None:
    """As Envoy has it: the default of ten percent leaves out nobody of fewer than ten."""
    await mesh.publish(service((SERVER4, 1), settings=outlier(most_percent=10)))
    for _ in range(3):
        await mesh.dial_in_vain()
    await mesh.closed(CloseReason.CONNECT_REFUSED, 3)


async def test_when_too_few_endpoints_are_left_all_are_tried(mesh: Mesh) -> None:
    await mesh.publish(service((SERVER4, 1), settings=outlier(panic_percent=50)))
    for _ in range(3):
        await mesh.dial_in_vain()
    await mesh.closed(CloseReason.CONNECT_REFUSED, 3)


async def test_one_services_limit_is_not_anothers(mesh: Mesh) -> None:
    strict = service((SERVER4, 1), settings=outlier())
    patient = service((SERVER4, 1), vip="10.96.0.11", number=2, settings=outlier(failures=3))
    await mesh.publish(strict, patient)
    await mesh.dial_in_vain()
    await mesh.dial_in_vain()
    await mesh.closed(CloseReason.NO_HEALTHY)
    for _ in range(3):
        await mesh.dial_in_vain("10.96.0.11")
    await mesh.closed(CloseReason.CONNECT_REFUSED, 4)


@pytest.mark.parametrize("override", [False, True], ids=["its port", "another port"])
async def test_a_service_that_no_address_names_is_found_by_number_and_goes_where_was_dialled(
    mesh: Mesh, override: bool
) -> None:
    listener = mesh.server.listen(SERVER4)
    address, port = listener.getsockname()
    there = L4Endpoint(ANYWHERE, port if override else 0)
    anywhere = replace(service(number=FIRST), addresses=((ANYWHERE, 1),), endpoints=(there,))
    await mesh.publish(anywhere, replace(anywhere, number=SECOND, endpoints=()), service(number=THIRD))
    client, server = await mesh.pair(listener, vip=address, port=1 if override else port, row=FIRST)
    await exchange(client, server, 1 << 16)
    client.close()
    server.close()
    (ended,) = await mesh.closed(CloseReason.OK)
    assert (ended.service, str(ended.endpoint), ended.endpoint_port) == (FIRST, address, port)
    await mesh.dial_in_vain(vip=address, row=SECOND)
    await mesh.closed(CloseReason.NO_ENDPOINT)
    await mesh.dial_in_vain(vip=address, row=THIRD)
    await mesh.closed(CloseReason.NO_SERVICE)
