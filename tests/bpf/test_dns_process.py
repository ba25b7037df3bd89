"""The node's DNS as the agent starts it: real process, real hooks, a real resolver in the pod's network."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import pytest_asyncio
from tests.bpf.pod import SECONDS, Pod, ip
from tests.support.eventually import eventually

from tidegate.bpf.datapath import Datapath
from tidegate.dns.client import NodeDnsProcess
from tidegate.model.plan.names import HostNames

HOST, VIP = "reviews.default.svc.cluster.local", "10.96.0.7"
RESOLVER = "10.77.0.53"
ELSEWHERE = "www.example.com"


@pytest.fixture
def resolver(pod: Pod) -> Iterator[list[bytes]]:
    """A resolver on the pod's link, as another machine would be: it says 192.0.2.1 to everything. Yields what came."""
    ip("-n", pod.name, "address", "add", f"{RESOLVER}/24", "dev", "eth0")
    seen: list[bytes] = []
    udp, tcp = pod.run(lambda: bound(socket.SOCK_DGRAM), pod.tree.outside), pod.run(listening, pod.tree.outside)

    def say_to(question: bytes) -> bytes:
        seen.append(question)
        message = dns.message.make_response(dns.message.from_wire(question), recursion_available=True)
        message.answer.append(dns.rrset.from_text(message.question[0].name, 60, "IN", "A", "192.0.2.1"))
        return message.to_wire()

    def serve_udp() -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = udp.recvfrom(4096)
                if not question:  # shut down
                    return
                udp.sendto(say_to(question), client)

    def serve_tcp() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = tcp.accept()
                with accepted, accepted.makefile("rwb") as stream:
                    while length := stream.read(2):
                        answer = say_to(stream.read(int.from_bytes(length)))
                        stream.write(len(answer).to_bytes(2) + answer)
                        stream.flush()

    threads = [threading.Thread(target=serve, daemon=True) for serve in (serve_udp, serve_tcp)]
    for thread in threads:
        thread.start()
    yield seen
    for sock in (udp, tcp):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)


def bound(kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((RESOLVER, 53))
    return sock


def listening() -> socket.socket:
    sock = bound(socket.SOCK_STREAM)
    sock.listen(8)
    return sock


@pytest_asyncio.fixture
async def server(datapath: Datapath, pod: Pod, tmp_path: Path) -> AsyncIterator[NodeDnsProcess]:
    """Running, and it knows the pod and one name."""
    made = NodeDnsProcess(tmp_path, pod.tree.pins / "maps", pod.tree.node / "dns")
    made.listen()
    tasks = [asyncio.create_task(made.run()), asyncio.create_task(made.serve())]
    await made.process.newer(0)
    await tell(made, pod)
    yield made
    tasks[1].cancel()
    await made.stop(0.0)
    await asyncio.gather(*tasks, return_exceptions=True)


async def tell(server: NodeDnsProcess, pod: Pod) -> None:
    await server.keep_pods([pod.cookie])
    await server.put_names([HostNames(HOST, (ip_address(VIP),))], (), whole=True)
    await server.add_pod(pod.cookie, "default", pod.netns_fd, True, 65533)


def query(name: str, kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind).to_wire()


def over_udp(question: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect((RESOLVER, 53))
        sock.send(question)
        try:
            return sock.recv(4096)
        except TimeoutError:
            raise AssertionError(f"nobody answers within {SECONDS:.0f} s") from None


def over_tcp(question: bytes) -> bytes:
    with socket.create_connection((RESOLVER, 53), SECONDS) as sock, sock.makefile("rwb") as stream:
        for _ in range(2):  # one connection carries several
            stream.write(len(question).to_bytes(2) + question)
            stream.flush()
            answer = stream.read(int.from_bytes(stream.read(2)))
        return answer


WAYS = pytest.mark.parametrize("way", [over_udp, over_tcp])


async def ask(pod: Pod, way: Callable[[bytes], bytes], question: bytes) -> tuple[str, bytes]:
    """What a program in the pod gets: the first record's text, and the whole message."""
    content = await asyncio.to_thread(pod.run, lambda: way(question))
    message = dns.message.from_wire(content)
    assert message.id == dns.message.from_wire(question).id
    return (message.answer[0][0].to_text() if message.answer else dns.rcode.to_text(message.rcode())), content


@WAYS
async def test_names_of_the_registry_are_answered_and_the_rest_is_handed_on(
    server: NodeDnsProcess, pod: Pod, resolver: list[bytes], way: Callable[[bytes], bytes]
) -> None:
    assert (await ask(pod, way, query(HOST)))[0] == VIP
    assert resolver == [], "nobody else was asked"
    question = query(ELSEWHERE)
    assert (await ask(pod, way, question))[0] == "192.0.2.1"
    assert set(resolver) == {question}, "as it was, byte by byte"
    await server.put_names([HostNames(ELSEWHERE, (ip_address("240.240.0.1"),))], [HOST], whole=False)
    assert (await ask(pod, way, query(ELSEWHERE)))[0] == "240.240.0.1"
    assert (await ask(pod, way, query(HOST)))[0] == "192.0.2.1", "it is the resolver's now"


@WAYS
async def test_what_nobody_can_read_is_the_resolvers_too(
    server: NodeDnsProcess, pod: Pod, resolver: list[bytes], way: Callable[[bytes], bytes]
) -> None:
    """Of another class, with several questions or none: it says what it thinks of them."""
    question = dns.message.make_query("version.bind", "TXT", "CH").to_wire()
    await asyncio.to_thread(pod.run, lambda: way(question))
    assert set(resolver) == {question}


@WAYS
async def test_a_resolver_that_is_silent_holds_up_no_name_of_the_registry(
    server: NodeDnsProcess, pod: Pod, way: Callable[[bytes], bytes]
) -> None:
    """Nobody is at its address; not even one question for it is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as _:
        silent = pod.run(lambda: left_waiting(query(ELSEWHERE)))
        if way is over_udp:  # to connect to nobody over TCP is another matter: the mesh takes the connection
            assert (await ask(pod, way, query(HOST)))[0] == VIP
        assert (await ask(pod, over_udp, query(f"{HOST}.default.svc.cluster.local", "A")))[1]
        silent.close()


def left_waiting(question: bytes) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.sendto(question, (RESOLVER, 53))
    return sock


async def test_a_resolver_that_refuses_is_told_as_a_failure(server: NodeDnsProcess, pod: Pod) -> None:
    ip("-n", pod.name, "address", "add", f"{RESOLVER}/24", "dev", "eth0")  # and nobody listens there
    assert (await ask(pod, over_udp, query(ELSEWHERE)))[0] == "SERVFAIL"
    await server.keep_pods([pod.cookie])
    assert server.counts == {"registry": 0, "handed_on": 1, "failed": 1, "lost": 0}


async def test_what_became_of_questions_is_counted(server: NodeDnsProcess, pod: Pod, resolver: list[bytes]) -> None:
    await ask(pod, over_udp, query(HOST))
    await ask(pod, over_tcp, query(HOST))  # twice
    await ask(pod, over_udp, query(ELSEWHERE))
    await ask(pod, over_tcp, query(ELSEWHERE))
    await server.keep_pods([pod.cookie])  # whatever it answers, it says how many there were
    assert server.counts == {"registry": 3, "handed_on": 3, "failed": 0, "lost": 0}


@WAYS
async def test_when_it_is_killed_questions_go_to_the_resolver_and_the_next_one_takes_them_again(
    server: NodeDnsProcess, pod: Pod, resolver: list[bytes], way: Callable[[bytes], bytes]
) -> None:
    version, first = server.process.version, server.status().pid
    os.kill(first, signal.SIGKILL)
    await server.process.newer(version)
    await asyncio.to_thread(eventually, lambda: not Path(f"/proc/{first}").exists(), "it is gone")
    assert (await ask(pod, way, query(HOST)))[0] == "192.0.2.1"
    while not server.process.value:
        await server.process.newer(server.process.version)
    await tell(server, pod)
    assert (await ask(pod, way, query(HOST)))[0] == VIP


async def test_when_it_is_stopped_questions_go_to_the_resolver(
    server: NodeDnsProcess, pod: Pod, resolver: list[bytes], datapath: Datapath
) -> None:
    os.kill(server.status().pid, signal.SIGSTOP)
    try:

        def passes() -> bool:
            pod.run(lambda: left_waiting(query(ELSEWHERE))).close()
            return datapath.counters()["pass_dns_away"] > 0

        await asyncio.to_thread(eventually, passes, "nobody says any more that it is well")
        assert (await ask(pod, over_udp, query(HOST)))[0] == "192.0.2.1"
    finally:
        os.kill(server.status().pid, signal.SIGCONT)


async def test_a_pod_that_is_dropped_asks_its_resolver(server: NodeDnsProcess, pod: Pod, resolver: list[bytes]) -> None:
    assert (await ask(pod, over_udp, query(HOST)))[0] == VIP
    await server.drop_pod(pod.cookie)
    assert (await ask(pod, over_udp, query(HOST)))[0] == "192.0.2.1"


async def test_a_pod_that_asks_without_end_holds_up_no_other(
    server: NodeDnsProcess, pod: Pod, make_pod: Callable[[], Pod], datapath: Datapath
) -> None:
    """Thousands of questions for a resolver that is silent, each of them another name."""
    other = make_pod()
    other.listen()
    datapath.set_pod(other.cookie, other.row())
    datapath.attach_lookup(other.cookie, other.netns_fd)
    await server.add_pod(other.cookie, "default", other.netns_fd, True, 65533)

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((RESOLVER, 53))
            for number in range(5000):
                with contextlib.suppress(OSError):
                    sock.send(query(f"n{number}.example.com"))

    await asyncio.to_thread(other.run, flood)
    assert (await ask(pod, over_udp, query(HOST)))[0] == VIP
    assert (await ask(other, over_udp, query(HOST)))[0] == VIP
