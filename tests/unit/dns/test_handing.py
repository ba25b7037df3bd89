"""Pods that ask without end leave room for the questions of others."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest

from tidegate.dns.counts import QuestionCounts
from tidegate.dns.handing import UNDER_WAY_MAX, Handing
from tidegate.dns.room import Room, descriptors_for_questions
from tidegate.model.net import IPAddress

RESOLVER = ip_address("127.0.0.1")
QUESTION = bytes.fromhex("abcd01000001000000000000") + b"\x03www\x07example\x03com\x00\x00\x01\x00\x01"


class Node:
    """Pods that share a room, and a resolver that hears everything and says nothing."""

    def __init__(self, total: int) -> None:
        self.room = Room(total)
        self.counts = QuestionCounts()
        self.resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.resolver.bind(("127.0.0.1", 0))
        self.failed: list[bytes] = []
        self.pods: list[Handing] = []

    def pod(self) -> Handing:
        self.pods.append(Handing(self._connected, asyncio.get_running_loop(), self.counts, self.room))
        return self.pods[-1]

    def _connected(self, _: IPAddress) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect(self.resolver.getsockname())
        return sock

    def ask(self, pod: Handing, times: int) -> int:
        """How many of its questions are under way then."""
        for _ in range(times):
            pod.ask(QUESTION, RESOLVER, self.failed.append)
        return len(pod)


@contextlib.asynccontextmanager
async def node(total: int) -> AsyncIterator[Node]:
    made = Node(total)
    try:
        yield made
    finally:
        for pod in made.pods:
            pod.close()
        made.resolver.close()
        assert made.room.free == total, "what was taken came back"


@pytest.mark.case("E3")
async def test_each_pod_that_comes_finds_room() -> None:
    """Of 100 descriptors the first that wants all gets 67, and the fifth one still asks."""
    async with node(100) as it:
        parts = [it.ask(it.pod(), 500) for _ in range(4)]
        assert parts == [67, 22, 8, 2]
        assert it.failed == []
        assert it.ask(it.pod(), 1) == 1
        assert it.counts.lost == 4 * 500 - sum(parts), "each lost its own oldest"


@pytest.mark.case("E3")
async def test_a_pod_alone_has_what_it_always_had() -> None:
    async with node(10_000) as it:
        assert it.ask(it.pod(), 300) == UNDER_WAY_MAX


@pytest.mark.case("E3")
async def test_who_finds_no_room_is_told_at_once() -> None:
    async with node(1) as it:
        assert (it.ask(it.pod(), 1), it.ask(it.pod(), 1)) == (1, 0)
        assert len(it.failed) == 1
        assert it.counts.failed == 1


@pytest.mark.case("E3")
def test_half_of_the_descriptors_is_for_what_each_pod_has() -> None:
    assert descriptors_for_questions() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
