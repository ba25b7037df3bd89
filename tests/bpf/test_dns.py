"""Questions on port 53: they go to the node's DNS inside the pod, answers come from the resolver that was asked."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.bpf.pod import SECONDS, Pod

from tidegate.bpf.datapath import Datapath
from tidegate.bpf.resolvers import PORT, SLOTS, ResolverTables
from tidegate.dns.sockets import PodSockets, open_in_netns
from tidegate.linux.cgroup import cgroup_id
from tidegate.model.capture import slot_of
from tidegate.model.net import parse_ip
from tidegate.model.plan.kernel import Destination
from tidegate.model.tier import Tier

OURS = 65000
RESOLVER4, RESOLVER6 = "10.96.0.53", "fd00:96::53"
Exchange = tuple[bytes, tuple[str, int], tuple[str, int]]  # answer, whom it came from, own name


@pytest.fixture
def tables(datapath: Datapath, pod: Pod) -> Iterator[ResolverTables]:
    opened = ResolverTables(pod.tree.pins / "maps")
    yield opened
    opened.close()


@pytest.fixture
def server(tables: ResolverTables, pod: Pod) -> Iterator[PodSockets]:
    """Sockets of the node's DNS in the pod; a test answers by hand what comes there."""
    made = open_in_netns(pod.netns_fd, v6=True)
    made.offer(tables, pod.cookie)
    tables.beat(cgroup_id(pod.tree.envoy))
    yield made
    made.close()


def answer(server: PodSockets, version: int) -> tuple[bytes, str]:
    """Take one question off the UDP socket and answer it; the question, and the slot's address."""
    sock = server.udp[version]
    sock.settimeout(SECONDS)
    question, at, client = server.receive(sock)
    server.reply(sock, b"re: " + question, at, client)
    return question, str(at)


def ask_connected(address: str, family: int) -> socket.socket:
    """What glibc does: connect() and send()."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(SECONDS)
    sock.connect((address, PORT))
    sock.send(b"who?")
    return sock


def ask_unconnected(address: str, family: int) -> socket.socket:
    """What musl does: sendto()."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(SECONDS)
    sock.sendto(b"who?", (address, PORT))
    return sock


def listen(sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
    heard, sender = sock.recvfrom(512)
    return heard, sender[:2]


WAYS = pytest.mark.parametrize(
    ("address", "family", "version"),
    [
        (RESOLVER4, socket.AF_INET, 4),
        (RESOLVER6, socket.AF_INET6, 6),
        (f"::ffff:{RESOLVER4}", socket.AF_INET6, 4),
    ],
    ids=["v4", "v6", "v4-mapped"],
)


def test_its_sockets_take_no_port_but_ours_unless_somebody_has_that(pod: Pod) -> None:
    """A socket on one address keeps a program off the same port on all addresses."""
    for taken in (False, True):
        app = pod.run(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        if taken:
            app.bind(("::", OURS))
        made = open_in_netns(pod.netns_fd, v6=True, port=OURS)
        ports = {sock.getsockname()[1] for sock in made.udp.values()}
        assert (ports == {OURS}) is not taken
        assert {sock.getsockname()[1] for sock in made.tcp.values()} == {OURS}
        made.close()
        app.close()


@WAYS
@pytest.mark.parametrize("ask", [ask_connected, ask_unconnected], ids=["connected", "unconnected"])
def test_a_question_comes_to_us_and_its_answer_from_the_resolver(
    datapath: Datapath,
    pod: Pod,
    tables: ResolverTables,
    server: PodSockets,
    ask: Callable[[str, int], socket.socket],
    address: str,
    family: int,
    version: int,
) -> None:
    client = pod.run(lambda: ask(address, family))
    client.settimeout(SECONDS)
    question, at = answer(server, version)
    assert question == b"who?"
    slot = slot_of(ip_address(at), SLOTS)
    assert slot is not None
    assert tables.resolver(pod.cookie, slot, version == 6) == parse_ip(address)
    assert pod.run(lambda: listen(client)) == (b"re: who?", (address, PORT))
    if ask is ask_connected:
        names = pod.run(lambda: (client.getpeername()[:2], client.getsockname()[0]))
        own = {4: pod.ip4, 6: pod.ip6}[version]
        assert names == ((address, PORT), f"::ffff:{own}" if address.startswith("::ffff") else own)
    assert datapath.counters()["redirect_dns"] == 1
    assert datapath.counters()["lookup_dns"] == 1


@pytest.mark.parametrize(("address", "version"), [(RESOLVER4, 4), (RESOLVER6, 6)])
def test_so_does_tcp_whatever_else_the_mesh_knows_of_the_address(
    datapath: Datapath, pod: Pod, server: PodSockets, address: str, version: int
) -> None:
    datapath.set_destinations([Destination(ip_address(address), PORT, Tier.FASTPATH, 7)])
    client = pod.dial(address, PORT)
    assert not client.failed
    assert client.peer == (address, PORT)
    assert client.own[0] == {4: pod.ip4, 6: pod.ip6}[version]
    accepted, _ = pod.accept(server.tcp[version])
    assert slot_of(ip_address(accepted.getsockname()[0]), SLOTS) is not None
    client.sock.sendall(b"who?")
    assert accepted.recv(16) == b"who?"
    assert datapath.flow_count() == 0, "the address says which resolver it is; no record has to"


def asked(pod: Pod, address: str = RESOLVER4) -> str:
    """What became of a question: name of the errno, or nothing."""

    def ask() -> str:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(b"who?", (address, PORT))
                sock.connect((address, PORT))
            except OSError as error:
                return errno.errorcode[error.errno or 0]
            return str(sock.getsockname()[0])

    return pod.run(ask)


def test_nobody_there_leaves_questions_to_the_resolver(
    datapath: Datapath, pod: Pod, tables: ResolverTables, server: PodSockets
) -> None:
    """The node's DNS ended: the kernel took its sockets out, without anybody having told it."""
    server.close()
    assert asked(pod, "10.77.0.250") == pod.ip4
    assert datapath.counters()["redirect_dns"] == 0
    assert datapath.counters()["pass_dns_away"] == 2


def test_a_stopped_dns_leaves_questions_to_the_resolver(
    datapath: Datapath, pod: Pod, tables: ResolverTables, server: PodSockets
) -> None:
    """Its sockets are there and nobody reads them: without a beat of the last second nothing goes there."""
    tables.leave(cgroup_id(pod.tree.envoy))
    assert asked(pod, "10.77.0.250") == pod.ip4
    assert datapath.counters()["redirect_dns"] == 0
    assert datapath.counters()["pass_dns_away"] == 2


def test_an_old_beat_is_none(datapath: Datapath, pod: Pod, tables: ResolverTables, server: PodSockets) -> None:
    tables._tell(1, 0)
    asked(pod, "10.77.0.250")
    assert datapath.counters()["pass_dns_away"] == 2


def test_its_own_questions_are_left_alone(
    datapath: Datapath, pod: Pod, tables: ResolverTables, server: PodSockets
) -> None:
    own = pod.tree.pods / "dns"
    own.mkdir()
    tables.beat(cgroup_id(own))

    def ask() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("10.77.0.250", PORT))
            return str(sock.getsockname()[0])

    assert pod.run(ask, own) == pod.ip4
    assert datapath.counters()["redirect_dns"] == 0


def test_other_pods_ports_and_loopback_are_left_alone(
    datapath: Datapath, pod: Pod, server: PodSockets, make_pod: Callable[[], Pod]
) -> None:
    def ask(address: str, port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((address, port))
            sock.sendto(b"who?", (address, port))

    pod.run(lambda: ask("127.0.0.53", PORT))
    pod.run(lambda: ask("10.77.0.250", 5353))
    other = make_pod()
    other.run(lambda: ask("10.77.0.250", PORT))
    assert datapath.counters()["redirect_dns"] == 0
    assert datapath.counters()["pass_dns_away"] == 0


def test_a_pod_with_more_resolvers_than_slots_asks_the_rest_itself(
    datapath: Datapath, pod: Pod, tables: ResolverTables, server: PodSockets
) -> None:
    """One that resolves by itself asks hundreds of servers. Nobody else's slots are touched, and none changes."""

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(200):
                sock.sendto(b"who?", (f"10.77.0.{number + 20}", PORT))

    pod.run(ask)
    counted = datapath.counters()
    assert counted["redirect_dns"] + counted["pass_dns_slots"] == 200
    assert 0 < counted["redirect_dns"] <= SLOTS
    known = {slot: tables.resolver(pod.cookie, slot, False) for slot in range(SLOTS)}
    pod.run(ask)
    assert {slot: tables.resolver(pod.cookie, slot, False) for slot in range(SLOTS)} == known
    tables.keep({pod.cookie})
    assert {slot: tables.resolver(pod.cookie, slot, False) for slot in range(SLOTS)} == known
    tables.keep(())
    assert not any(tables.resolver(pod.cookie, slot, False) for slot in range(SLOTS))


def test_without_ipv6_capture_its_resolver_is_asked_directly(datapath: Datapath, pod: Pod, server: PodSockets) -> None:
    datapath.set_pod(pod.cookie, replace(pod.row(), v6_capture=False))
    asked(pod, "fd00:77::250")
    assert datapath.counters()["redirect_dns"] == 0


def test_a_slot_means_nothing_before_a_hook_gave_it_out(datapath: Datapath, pod: Pod, server: PodSockets) -> None:
    assert pod.dial("127.78.0.1", PORT, cgroup=pod.tree.outside).failed == "ECONNREFUSED"
    assert datapath.counters()["lookup_dns"] == 0
