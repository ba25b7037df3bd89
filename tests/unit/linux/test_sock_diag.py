"""TCP sockets as the kernel lists them, of both families, and one that is ended."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tidegate.linux.sock_diag import ListedSocket, tcp_sockets

V6 = (("::", "::1"), ("::", "127.0.0.1"))


@pytest.fixture(params=[("127.0.0.1", "127.0.0.1"), *V6])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the accepted end, also of a client whose address the listener sees as part of IPv6."""
    at, dialled = request.param
    family = socket.AF_INET6 if at == "::" else socket.AF_INET
    with socket.create_server((at, 0), family=family, dualstack_ipv6=at == "::") as listener:
        port = listener.getsockname()[1]
        assert port in tcp_sockets().listening
        client = socket.create_connection((dialled, port))
        server, _ = listener.accept()
        yield client, server
        client.close()
        server.close()


def end(sock: socket.socket) -> tuple[object, int]:
    address, port = sock.getsockname()[:2]
    return ip_address(address.removeprefix("::ffff:")), port


def test_both_ends_are_listed_as_they_are(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = (end(one) for one in pair)
    found: list[ListedSocket] = [one for one in tcp_sockets().connected if {one.local, one.remote} == {client, server}]
    assert {(one.local, one.remote) for one in found} == {(client, server), (server, client)}
    assert all(one.cgroup for one in found), "and of which group they are"
