"""One connection to a relay that the test plays: answers, refusals, silence, nonsense, lost descriptors."""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tidegate.errors import Transient
from tidegate.relay import channel as module
from tidegate.relay.abi import ffi, lib
from tidegate.relay.channel import Channel
from tidegate.relay.connection import RelayConnection


class Played:
    """The relay's end of a connection."""

    def __init__(self) -> None:
        self.unasked: list[bytes] = []
        ours, self.sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.sock.setblocking(False)
        self.channel = Channel(ours, self.unasked.append)

    async def asked(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, lib.FP_MESSAGE_MAX)

    async def head(self) -> Any:
        """Of the next question."""
        head = ffi.new("struct fp_head *")
        ffi.memmove(head, await self.asked(), ffi.sizeof("struct fp_head"))
        return head

    def answer(self, message: object, *fds: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([ffi.buffer(message)], rights)

    async def answers(self, kind: str, result: int = 0, *fds: int) -> None:
        """The next question, with a struct of zeros."""
        asked = await self.head()
        told = ffi.new(f"{kind} *")
        head = ffi.cast("struct fp_head *", told)
        head.kind, head.serial, head.result = asked.kind, asked.serial, result
        self.answer(told, *fds)


@pytest.fixture
async def played() -> AsyncIterator[Played]:
    made = Played()
    yield made
    made.channel.close()
    made.sock.close()


async def ask(played: Played, kind: int = lib.FP_STATS) -> object:
    return await played.channel.ask(kind, ffi.new("struct fp_head *"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_refusal_is_the_relays_errno(played: Played) -> None:
    asking = asyncio.create_task(ask(played))
    await played.answers("struct fp_head", -errno.EBUSY)
    with pytest.raises(OSError, match="busy"):
        await asking


async def test_answers_find_their_questions_in_any_order(played: Played) -> None:
    asking = [asyncio.create_task(played.channel.ask(lib.FP_STATS, ffi.new("struct fp_head *"))) for _ in range(3)]
    heads = [await played.head() for _ in asking]
    for number, head in reversed(list(enumerate(heads))):
        head.count = number
        played.answer(head)
    got = [(await task).as_struct("struct fp_head").count for task in asking]
    assert got == [0, 1, 2]


@pytest.mark.parametrize("last", [b"", b"x"], ids=["closed", "nonsense"])
async def test_whoever_waits_is_told_that_the_connection_has_ended(played: Played, last: bytes) -> None:
    asking = asyncio.create_task(ask(played))
    await played.asked()
    if last:
        played.sock.send(last)
    else:
        played.sock.close()
    with pytest.raises(Transient, match="has ended"):
        await asking
    with pytest.raises(Transient, match="has ended"):
        await ask(played)


async def test_silence_is_not_waited_out(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)
    with pytest.raises(Transient, match="did not answer"):
        await ask(played)
    assert played.channel.closed.is_set(), "what was asked may still happen: a new connection begins anew"


async def test_what_comes_unasked_is_handed_on(played: Played) -> None:
    events = ffi.new("struct fp_head *")
    events.kind, events.serial = lib.FP_EVENTS, 1
    played.answer(events)
    asking = asyncio.create_task(ask(played))
    await played.answers("struct fp_head")
    await asking
    assert played.unasked == [bytes(ffi.buffer(events))]


async def test_an_answer_that_nobody_waits_for_leaves_no_descriptor(played: Played) -> None:
    before = descriptors()
    late = ffi.new("struct fp_head *")
    late.kind, late.serial = lib.FP_HAND_OVER, 77
    played.answer(late, 0, 0, 0)
    asking = asyncio.create_task(ask(played))
    await played.answers("struct fp_head")
    await asking
    assert descriptors() == before


async def test_descriptors_that_did_not_arrive_are_no_pod(played: Played) -> None:
    hello = ffi.new("struct fp_told_hello *")
    hello.version = lib.FP_ABI_VERSION
    relay = RelayConnection(played.channel, hello)
    before = descriptors()
    asking = asyncio.create_task(relay.hand_over(5))
    await played.answers("struct fp_told_sandbox", 0, 0)
    with pytest.raises(Transient, match="did not arrive"):
        await asking
    assert descriptors() == before


def test_a_relay_that_is_not_there_is_not_waited_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    async def connect() -> None:
        with pytest.raises(Transient, match="cannot be reached"):
            Channel.connect(tmp_path_factory.getbasetemp() / "1.sock", lambda _: None)

    asyncio.run(connect())
