"""What comes to pods that policies are for, through the relay: real hooks, namespaces and a relay in its group."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.bpf.conftest import make_pod, open_datapath, tree
from tests.bpf.pod import CLIENT, SECONDS, SERVER, Dialled, Pod, join
from tests.relay.conftest import expect_reset, reset, until
from tests.relay.process import RelayProcess

from tidegate.bpf.datapath import Datapath
from tidegate.linux.netns import in_netns
from tidegate.linux.sock_diag import destroy, tcp_sockets
from tidegate.model.authorization import (
    Authorization,
    AuthorizationAction,
    How,
    PolicyMatch,
    PolicyScope,
    PolicyVerdict,
    Text,
)
from tidegate.model.identity import Identity
from tidegate.model.plan.kernel import GuardRow
from tidegate.model.plan.policy import PolicyTable
from tidegate.relay.events import CloseReason, FlowEvent

__all__ = ["make_pod", "open_datapath", "tree"]

BOTH = pytest.mark.parametrize("version", [4, 6])
SPIFFE = Identity("shop", "cart").spiffe("cluster.local")
CART = Text.parse("cluster.local/ns/shop/sa/cart")


def policy(action: AuthorizationAction, name: str = "p", **asked: Any) -> Authorization:
    match = PolicyMatch(**asked)
    rules = (((match,),),)
    return Authorization(namespace="shop", name=name, scope=PolicyScope.NAMESPACE, action=action, rules=rules)


DENY, ALLOW, AUDIT = AuthorizationAction.DENY, AuthorizationAction.ALLOW, AuthorizationAction.AUDIT
NO_STRANGERS = policy(DENY, "strict", not_principals=(Text(How.PRESENT),))


@dataclass
class Guarded:
    """A pod that policies are for, another one in the mesh, and the relay between them."""

    datapath: Datapath
    relay: RelayProcess
    server: Pod
    client: Pod
    generation: int = 0

    async def judge(self, *policies: Authorization, name: str = SPIFFE) -> None:
        """These hold from now on for the server. name: the client's."""
        self.generation += 1
        numbers = tuple(range(1, len(policies) + 1))
        table = PolicyTable(policies, {self.server.cookie: numbers, self.client.cookie: ()}, {self.client.cookie: name})
        await self.relay.publish_policies(self.generation, table)

    def serve(self, version: int) -> socket.socket:
        return self.server.server(SERVER[version])

    def dial(self, listener: socket.socket, *, known: bool = True) -> Dialled:
        """From the other pod; not known: by a socket of it that no hook sees, as of another machine."""
        address, port = listener.getsockname()[:2]
        made = self.client.dial(address, port, cgroup=None if known else self.client.tree.outside)
        made.sock.settimeout(SECONDS)
        return made

    async def told(self, reason: CloseReason) -> FlowEvent:
        def found() -> list[FlowEvent]:
            return [event for event in self.relay.events if event.reason is reason]

        return (await until(found, f"an event of {reason}"))[0]


@pytest.fixture
async def guarded(open_datapath: Callable[[], Datapath], make_pod: Callable[[], Pod]) -> AsyncIterator[Guarded]:
    datapath = open_datapath()
    server, client = make_pod(), make_pod()
    join(server, client)
    relay = await RelayProcess.start(
        datapath.flows_fd,
        datapath.wishes_fd,
        called_fd=datapath.called_fd,
        cgroup=server.tree.agent,
        each_event=True,
        report=2,
        workers=1,
    )
    try:
        for pod in (server, client):
            await relay.add_sandbox(pod.cookie, pod.netns_fd, True)
            datapath.set_pod(pod.cookie, pod.row())
            datapath.attach_lookup(pod.cookie, pod.netns_fd)
        for version in (4, 6):
            datapath.set_guard(GuardRow(server.cookie, address=ip_address(SERVER[version])))
        datapath.set_guard(GuardRow(server.cookie))
        yield Guarded(datapath, relay, server, client)
    finally:
        await relay.kill()


def echo(client: socket.socket, server: socket.socket, word: bytes = b"hello") -> None:
    client.sendall(word)
    assert server.recv(64) == word
    server.sendall(word[::-1])
    assert client.recv(64) == word[::-1]


@BOTH
async def test_whom_a_policy_allows_reaches_the_application_which_sees_him(guarded: Guarded, version: int) -> None:
    await guarded.judge(NO_STRANGERS, policy(ALLOW, "carts", principals=(CART,)))
    listener = guarded.serve(version)
    client = guarded.dial(listener)
    server, shown = guarded.server.accept(listener)
    assert shown == client.own, "the application sees who called"
    echo(client.sock, server)
    client.sock.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b"", "the end of one direction is handed on"
    server.sendall(b"last words")
    assert client.sock.recv(64) == b"last words"
    server.close()
    assert client.sock.recv(1) == b""
    client.close()
    judged = (event := await guarded.told(CloseReason.OK)).judged
    assert judged
    assert (judged.verdict, judged.policy) == (PolicyVerdict.ALLOW_BY_POLICY, 2)
    assert judged.generation == 1
    assert (event.caller, event.netns_cookie) == (guarded.client.cookie, guarded.server.cookie)
    assert (event.bytes_to_server, event.bytes_to_client) == (5, 15)
    assert event.client == ip_address(CLIENT[version])


@BOTH
async def test_nobody_without_a_name_gets_past_strict(guarded: Guarded, version: int) -> None:
    await guarded.judge(NO_STRANGERS)
    listener = guarded.serve(version)
    stranger = guarded.dial(listener, known=False)
    await expect_reset(stranger.sock)
    judged = (event := await guarded.told(CloseReason.DENY_POLICY)).judged
    assert judged
    assert (judged.verdict, judged.policy) == (PolicyVerdict.DENY_BY_POLICY, 1)
    assert event.caller == 0
    known = guarded.dial(listener)
    server, shown = guarded.server.accept(listener)
    assert shown == known.own, "and the first whom the application sees is the one who has a name"
    echo(known.sock, server)


async def test_another_name_is_not_allowed(guarded: Guarded) -> None:
    await guarded.judge(policy(ALLOW, principals=(CART,)), name=Identity("shop", "other").spiffe("cluster.local"))
    listener = guarded.serve(4)
    await expect_reset(guarded.dial(listener).sock)
    judged = (await guarded.told(CloseReason.DENY_NOT_ALLOWED)).judged
    assert judged
    assert judged.policy == 0


@pytest.mark.parametrize(
    ("asked", "passes"),
    [
        ({"namespaces": (Text.parse("shop"),)}, (True, False)),
        ({"source_ips": (ip_network(f"{CLIENT[4]}/32"),)}, (True, True)),
        ({"source_ips": (ip_network("192.0.2.0/24"),)}, (False, False)),
        ({"service_accounts": (Identity("shop", "cart"),)}, (True, False)),
        ({"destination_ports": (1,)}, (False, False)),
    ],
)
async def test_who_passes_by_what_is_asked(guarded: Guarded, asked: dict[str, Any], passes: tuple[bool, bool]) -> None:
    """With a name, and by a socket of which nobody knows whose it is."""
    await guarded.judge(policy(ALLOW, **asked))
    listener = guarded.serve(4)
    for known, passed in zip((True, False), passes, strict=True):
        client = guarded.dial(listener, known=known)
        if passed:
            echo(client.sock, guarded.server.accept(listener)[0])
        else:
            await expect_reset(client.sock)


async def test_a_port_that_is_allowed_is_the_applications(guarded: Guarded) -> None:
    listener, other = guarded.serve(4), guarded.serve(4)
    await guarded.judge(policy(ALLOW, destination_ports=(listener.getsockname()[1],)))
    client = guarded.dial(listener)
    echo(client.sock, guarded.server.accept(listener)[0])
    await expect_reset(guarded.dial(other).sock)


async def test_before_anybody_said_what_holds_nobody_gets_in(guarded: Guarded) -> None:
    await expect_reset(guarded.dial(guarded.serve(4)).sock)
    judged = (await guarded.told(CloseReason.DENY_UNKNOWN)).judged
    assert judged
    assert judged.generation == 0


async def test_a_change_cuts_exactly_those_that_it_denies(guarded: Guarded) -> None:
    await guarded.judge(policy(AUDIT, "seen"))
    listener = guarded.serve(4)
    pairs = []
    for known in (True, False, True, False):
        client = guarded.dial(listener, known=known)
        pairs.append((client, guarded.server.accept(listener)[0]))
    await guarded.judge(policy(AUDIT, "seen"), NO_STRANGERS)
    for number, (client, server) in enumerate(pairs):
        if number % 2:
            await expect_reset(client.sock)
            await expect_reset(server)
        else:
            echo(client.sock, server)
    judged = (await guarded.told(CloseReason.DENY_LATE)).judged
    assert judged
    assert (judged.verdict, judged.policy) == (PolicyVerdict.DENY_BY_POLICY, 2)
    assert judged.generation == 2
    cut = [e for e in guarded.relay.events if e.connections]
    assert [e.reason for e in cut] == [CloseReason.DENY_LATE] * 2


async def test_one_whose_name_is_taken_away_is_cut(guarded: Guarded) -> None:
    await guarded.judge(policy(ALLOW, principals=(CART,)))
    listener = guarded.serve(4)
    client = guarded.dial(listener)
    echo(client.sock, guarded.server.accept(listener)[0])
    await guarded.judge(policy(ALLOW, principals=(CART,)), name="")
    await expect_reset(client.sock)


async def test_a_relay_that_drains_still_judges(guarded: Guarded) -> None:
    await guarded.judge(policy(ALLOW, principals=(CART,)))
    listener = guarded.serve(4)
    client = guarded.dial(listener)
    server, _ = guarded.server.accept(listener)
    await guarded.relay.connection.drain(1000)
    echo(client.sock, server)
    await guarded.judge(NO_STRANGERS, name="")
    await expect_reset(client.sock)
    await guarded.relay.ended()


async def test_one_that_pours_is_cut_where_it_is_carried(guarded: Guarded) -> None:
    """Its connection has gone over to another thread by then."""
    await guarded.judge(policy(ALLOW, principals=(CART,)))
    listener = guarded.serve(4)
    client = guarded.dial(listener)
    server, _ = guarded.server.accept(listener)
    received = 0
    client.sock.setblocking(False)
    word = b"x" * 65536
    while received < 64 << 20:
        try:
            client.sock.send(word)
        except BlockingIOError:
            received += len(server.recv(1 << 20))
    await guarded.judge(NO_STRANGERS, name="")
    await expect_reset(server)


async def test_a_port_at_which_nobody_listens_resets(guarded: Guarded) -> None:
    await guarded.judge(policy(AUDIT))
    listener = guarded.serve(4)
    address, port = listener.getsockname()
    listener.close()
    await expect_reset(guarded.client.dial(address, port).sock)
    assert (await guarded.told(CloseReason.CONNECT_REFUSED)).judged


@pytest.mark.parametrize("by_client", [True, False])
async def test_a_reset_is_handed_on(guarded: Guarded, *, by_client: bool) -> None:
    await guarded.judge(policy(AUDIT))
    listener = guarded.serve(4)
    client = guarded.dial(listener)
    server, _ = guarded.server.accept(listener)
    echo(client.sock, server)
    reset(client.sock if by_client else server)
    await expect_reset(server if by_client else client.sock)
    await guarded.told(CloseReason.CLIENT_RESET if by_client else CloseReason.SERVER_RESET)


async def test_a_client_elsewhere_that_ends_its_direction_is_waited_for(guarded: Guarded) -> None:
    """Whether it is still there cannot be seen from the server's namespace, and is not guessed."""
    await guarded.judge(policy(AUDIT))
    listener = guarded.serve(4)
    client = guarded.dial(listener)
    server, _ = guarded.server.accept(listener)
    client.sock.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    # What lives is reported after two seconds; one of a pod that has ended its direction is looked for after one.
    await until(lambda: any(not event.connections for event in guarded.relay.events), "a report of it")
    server.sendall(b"late")
    assert client.sock.recv(64) == b"late"


async def test_files_that_are_no_good_change_nothing(guarded: Guarded) -> None:
    await guarded.judge(policy(AUDIT))
    listener = guarded.serve(4)
    with pytest.raises(OSError, match="not permitted"), Path("/dev/null").open("rb") as file:
        await guarded.relay.connection.publish_policies(file.fileno())
    client = guarded.dial(listener)
    echo(client.sock, guarded.server.accept(listener)[0])


@BOTH
async def test_a_connection_of_before_can_be_ended_by_its_socket(guarded: Guarded, version: int) -> None:
    """It went straight to the application: the agent looks for it in the pod, and the kernel ends it."""
    guarded.datapath.delete_guard(GuardRow(guarded.server.cookie))
    listener = guarded.serve(version)
    client = guarded.dial(listener)
    server, _ = guarded.server.accept(listener)
    there = in_netns(guarded.server.netns_fd, tcp_sockets)
    [found] = [one for one in there.connected if one.local[1] == listener.getsockname()[1]]
    assert listener.getsockname()[1] in there.listening
    assert found.remote == (ip_address(client.own[0]), client.own[1])
    assert in_netns(guarded.server.netns_fd, lambda: destroy(found))
    await expect_reset(client.sock)
    await expect_reset(server)
    assert not in_netns(guarded.server.netns_fd, lambda: destroy(found)), "it is gone"
