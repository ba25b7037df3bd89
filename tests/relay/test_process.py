"""The relay as a process: agents come and go, another relay takes its place, wrong questions change nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.relay.conftest import Mesh, expect_reset, service, until
from tests.relay.pods import CAPTURE4, SERVER4, Pod
from tests.relay.process import RelayProcess, running
from tests.support.eventually import HANG_SECONDS
from tests.support.flows import Flows

from tidegate.errors import Transient
from tidegate.relay.abi import ffi, lib
from tidegate.relay.channel import Channel
from tidegate.relay.connection import FOREVER, RelayConfig, RelayConnection, RelayState, close_all
from tidegate.relay.events import CloseReason
from tidegate.relay.image import ImageWriter, seal


async def talk(client: socket.socket, server: socket.socket, words: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, words)
    assert await loop.sock_recv(server, 100) == words
    await loop.sock_sendall(server, words)
    assert await loop.sock_recv(client, 100) == words


# --- agents come and go ---------------------------------------------------------------------------------------------
async def test_connections_listeners_and_events_outlive_an_agent(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        kept, ended = await mesh.pair(listener), await mesh.pair(listener)
        mesh.relay.connection.close()  # as the kernel does for a process that was killed
        for sock in ended:
            sock.close()
        late = await mesh.pair(listener)
        for pair in (kept, late):
            await talk(*pair, b"nobody watches")
        await mesh.relay.connect()
        assert mesh.relay.connection.state is RelayState.SERVING
        assert mesh.relay.connection.generation == 1
        pods = await mesh.relay.connection.sandboxes()
        assert pods[mesh.client.cookie].ports == (mesh.port4, mesh.port6)
        await mesh.relay.connection.configure(RelayConfig(workers=2, each_event=True, report=3600), mesh.flows.fd)
        await mesh.relay.connection.follow()
        await mesh.closed(CloseReason.OK, 1)


async def test_events_that_an_agent_did_not_take_are_told_to_the_next(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        told: list[int] = []
        careless = await RelayConnection.open(mesh.relay.socket, lambda _c, _serial, batch: told.append(len(batch)))
        await careless.follow()
        for sock in await mesh.pair(listener):
            sock.close()
        await until(lambda: told, "the agent that takes nothing was told")
        assert not mesh.ended
        careless.close()
        await mesh.relay.connection.follow()
        await until(lambda: [e.reason for e in mesh.ended if e.connections] == [CloseReason.OK], "the next one, too")


async def test_a_map_is_exchanged_under_a_running_relay(mesh: Mesh) -> None:
    other = Flows()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        config = RelayConfig(workers=2, each_event=True, report=3600)
        await mesh.relay.connection.configure(config, other.fd)
        await mesh.dial_in_vain()  # recorded where nobody looks any more
        before, mesh.flows = mesh.flows, other
        await mesh.pair(listener)
        with pytest.raises(OSError, match="busy"):
            await mesh.relay.connection.configure(RelayConfig(workers=1), other.fd)
        mesh.flows = before
    other.close()


# --- another relay takes its place ----------------------------------------------------------------------------------
async def test_listeners_move_to_another_relay_and_nothing_is_refused(mesh: Mesh) -> None:
    """Connections are made all the time: before, while both accept, and after the old relay has let go."""
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        kept = await mesh.pair(listener)
        done = asyncio.Event()
        made = 0

        async def dial_on() -> None:
            nonlocal made
            while not done.is_set():
                client, server = await mesh.pair(listener)
                await talk(client, server, b"x")
                client.close()
                server.close()
                made += 1

        dialling = asyncio.create_task(dial_on())
        await until(lambda: made > 3, "connections are made")
        async with running(mesh.flows.fd, workers=2, each_event=True) as next_:
            await next_.publish(1, [service(listener.getsockname())])
            row, fds = await mesh.relay.connection.hand_over(mesh.client.cookie)
            try:
                ports = await next_.connection.add_sandbox(row.cookie, fds[0], row.v6, listeners=fds[1:])
            finally:
                close_all(fds)
            assert ports == (mesh.port4, mesh.port6)
            await mesh.relay.connection.drain(FOREVER)
            await next_.connection.look()
            sofar = made
            await until(lambda: made > sofar + 20, "the next relay serves")
            assert mesh.relay.process.returncode is None, "the old one has a connection"
            await talk(*kept, b"still there")
            done.set()
            await asyncio.wait_for(dialling, HANG_SECONDS)
            assert (await next_.stats()).accepted > 0
            kept[0].close()
            assert await loop.sock_recv(kept[1], 1) == b""
            kept[1].close()
            assert await mesh.relay.ended() == 0, "the old one ends by itself"
            assert sum(event.connections for event in mesh.ended) + (await next_.stats()).accepted == made + 1


async def test_what_waits_in_a_queue_when_a_relay_lets_go_is_accepted_by_the_next(mesh: Mesh) -> None:
    """Its arrival woke the old relay, so that the new one sees it only because it looks."""
    loop = asyncio.get_running_loop()
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        async with running(mesh.flows.fd, workers=1) as next_:
            await next_.publish(1, [service(listener.getsockname())])
            os.kill(next_.pid, signal.SIGSTOP)
            row, fds = await mesh.relay.connection.hand_over(mesh.client.cookie)
            adding = asyncio.create_task(next_.connection.add_sandbox(row.cookie, fds[0], row.v6, listeners=fds[1:]))
            os.kill(next_.pid, signal.SIGCONT)
            await adding
            close_all(fds)
            before = mesh.relay.limit_files(3)  # the old one is woken and cannot accept
            await until(lambda: is_idle(mesh.relay.pid), "its workers to wait: who is busy leaves it to the next")
            with mesh.prepare() as waiting:  # alone: another one might come while the old relay looks at it
                await mesh.connect(waiting)
                await mesh.relay.connection.drain(FOREVER)
                await next_.connection.look()
                server, _ = await asyncio.wait_for(loop.sock_accept(listener), HANG_SECONDS)
                server.close()
            assert before > 3


def is_idle(pid: int) -> bool:
    """Whether every worker of a relay waits for something."""
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text() == "tg-fastpath\n"]
    return bool(tasks) and all((task / "stat").read_text().rpartition(")")[2].split()[0] == "S" for task in tasks)


async def test_only_listeners_on_the_capture_addresses_are_taken(mesh: Mesh) -> None:
    async with running(mesh.flows.fd) as other:
        with mesh.client.listen("127.0.0.1") as stranger, mesh.client.socket() as deaf:
            for fd in (stranger.fileno(), deaf.fileno(), 0):
                with pytest.raises(OSError, match=r"Invalid argument|Socket operation"):
                    await other.connection.add_sandbox(mesh.client.cookie, mesh.client.fd, False, listeners=[fd])
        assert await other.connection.sandboxes() == {}


async def test_a_drained_relay_goes_after_its_deadline(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        await mesh.relay.connection.drain(FOREVER)
        with pytest.raises(OSError, match="shutdown"):
            await mesh.relay.connection.hand_over(mesh.client.cookie)
        await talk(client, server, b"no hurry")
        await mesh.relay.connection.drain(0)
        await expect_reset(client)
        await expect_reset(server)
        assert await mesh.relay.ended() == 0
    assert [event.reason for event in mesh.ended] == [CloseReason.SHUTDOWN]


async def test_a_pod_is_removed_from_a_relay_that_drains(mesh: Mesh) -> None:
    """Its namespace must not live on because an old relay holds it."""
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        await mesh.relay.connection.drain(FOREVER)
        await mesh.relay.remove_sandbox(mesh.client.cookie)
        await expect_reset(client)
        await expect_reset(server)
        assert await mesh.relay.ended() == 0


async def test_a_killed_relays_ports_are_taken_again(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        await mesh.relay.kill()
        async with running(mesh.flows.fd) as next_:
            wanted = (mesh.port4, mesh.port6)
            got = await next_.connection.add_sandbox(mesh.client.cookie, mesh.client.fd, True, wanted)
            assert got == wanted
            async with running(mesh.flows.fd) as third:
                other = await third.connection.add_sandbox(mesh.client.cookie, mesh.client.fd, True, wanted)
                assert 0 not in other, "taken ports are replaced by others"
                assert not set(other) & set(wanted)
        client.close()
        server.close()


# --- asked wrongly --------------------------------------------------------------------------------------------------
async def test_images_that_are_no_good_are_refused_and_the_old_one_stays(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        wanted = [service(listener.getsockname())]
        await mesh.publish(*wanted)
        good = ImageWriter().lay_out(2, wanted)
        head, row, address = 56, 76, 20
        assert len(good) == head + row + address + 24
        broken = [good[:n] for n in range(len(good))] + [good + b"\0"]
        counted = (0, 4, *range(16, head, 4), *range(head + 4, head + 20, 4))  # magic, version, counts, balancing
        padded = (head + row + 18, head + row + address + 18)
        broken += [good[:n] + b"\xff" * 4 + good[n + 4 :] for n in (*counted, *padded)]
        for image in broken:
            fd = seal(image)
            with pytest.raises(OSError, match="Bad message"):
                await mesh.relay.connection.publish(2, fd)
            os.close(fd)
        assert mesh.relay.connection.generation == 1
        await mesh.pair(listener)


async def test_an_image_that_somebody_could_change_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    good = ImageWriter().lay_out(2, [])
    loose = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.write(loose, good)
    (tmp_path / "file").write_bytes(good)
    file = os.open(tmp_path / "file", os.O_RDONLY)
    for fd in (loose, file):
        with pytest.raises(PermissionError):
            await mesh.relay.connection.publish(2, fd)
        os.close(fd)


async def raw(relay: RelayProcess, kind: int, size: int, fds: tuple[int, ...] = (), greet: bool = True) -> int:
    """The errno that a message of zeros gets; -1 if the relay hangs up."""
    channel = Channel.connect(relay.socket, lambda _: None)
    try:
        if greet:
            hello = ffi.new("struct fp_ask_hello *")
            hello.version = lib.FP_ABI_VERSION
            await channel.ask(lib.FP_HELLO, hello)
        message: Any = ffi.new("char[]", max(size, 16))
        try:
            await channel.ask(kind, message if size >= 16 else ffi.new("char[]", 16), fds)
        except OSError as error:
            return error.errno or 0
        except Transient:
            return -1
        return 0
    finally:
        channel.close()


async def test_messages_that_are_no_good_are_refused(mesh: Mesh) -> None:
    relay = mesh.relay
    sizes = {
        lib.FP_HELLO: "struct fp_ask_hello",
        lib.FP_SANDBOXES: "struct fp_ask_sandboxes",
        lib.FP_HAND_OVER: "struct fp_ask_sandbox",
        lib.FP_DRAIN: "struct fp_ask_drain",
        lib.FP_CONFIGURE: "struct fp_ask_configure",
        lib.FP_SANDBOX_ADD: "struct fp_ask_sandbox_add",
        lib.FP_SANDBOX_REMOVE: "struct fp_ask_sandbox",
    }
    before = relay.descriptors()
    for kind, name in sizes.items():
        for size in (ffi.sizeof(name) - 1, ffi.sizeof(name) + 1, 65536):
            assert await raw(relay, kind, size) == errno.EBADMSG, (kind, size)
    for kind in (0, 16, 4_000_000_000):
        assert await raw(relay, kind, 16) == errno.ENOSYS
    for kind in (lib.FP_SANDBOX_ADD, lib.FP_CONFIGURE):
        assert await raw(relay, kind, ffi.sizeof(sizes[kind])) == errno.EBADMSG, "without a descriptor"
    assert await raw(relay, lib.FP_SANDBOX_ADD, ffi.sizeof(sizes[lib.FP_SANDBOX_ADD]), (0, 0, 0)) == errno.EBADMSG
    assert await raw(relay, lib.FP_POLICIES, 16) == errno.EBADMSG
    assert await raw(relay, lib.FP_POLICIES, 16, (0,)) == errno.EPERM, "no sealed file"
    assert await raw(relay, lib.FP_HAND_OVER, ffi.sizeof("struct fp_ask_sandbox")) == errno.ENOENT
    assert await raw(relay, lib.FP_STOP, 16, greet=False) == errno.EPROTO, "nobody is served who does not greet"
    assert await raw(relay, lib.FP_STATS, 16, (0, 0, 0, 0)) == -1, "more descriptors than any message has"
    await until(lambda: relay.descriptors() == before, "no descriptor stays")
    assert (await relay.stats()).accepted == 0, "it goes on"


async def test_an_agent_of_another_version_gets_the_core(mesh: Mesh) -> None:
    channel = Channel.connect(mesh.relay.socket, lambda _: None)
    try:
        hello = ffi.new("struct fp_ask_hello *")
        hello.version = lib.FP_ABI_VERSION + 1
        answer = await channel.ask(lib.FP_HELLO, hello)
        assert answer.as_struct("struct fp_told_hello").version == lib.FP_ABI_VERSION
        with pytest.raises(OSError, match="Protocol not supported"):
            await channel.ask(lib.FP_STATS, ffi.new("struct fp_head *"))
        await channel.ask(lib.FP_SANDBOXES, ffi.new("struct fp_ask_sandboxes *"))
    finally:
        channel.close()


async def test_only_so_many_connections_are_held(mesh: Mesh) -> None:
    channels = []
    for _ in range(12):
        channels.append(Channel.connect(mesh.relay.socket, lambda _: None))
        await mesh.relay.stats()  # by then it has accepted
    await until(lambda: sum(channel.closed.is_set() for channel in channels) == 5, "those beyond eight go")
    for channel in channels:
        channel.close()


# --- the process ----------------------------------------------------------------------------------------------------
async def test_it_is_private_and_leaves_nothing(pods: tuple[Pod, Pod]) -> None:
    flows = Flows(64)
    async with running(flows.fd) as relay:
        assert stat.S_IMODE(relay.socket.stat().st_mode) == 0o600
        directory = relay.directory
        await relay.add_sandbox(pods[0].cookie, pods[0].fd, v6=True)
        os.kill(relay.pid, signal.SIGTERM)
        assert await asyncio.wait_for(relay.process.wait(), HANG_SECONDS) == 0
        assert list(directory.iterdir()) == []
        with pods[0].socket() as refused, pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_connect(refused, (CAPTURE4, 1))
    flows.close()


async def test_stop_resets_what_lives(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname()))
        client, server = await mesh.pair(listener)
        with suppress(Transient):
            await mesh.relay.connection.stop()
        await expect_reset(client)
        await expect_reset(server)
        assert await mesh.relay.ended() == 0


async def test_settings_that_make_no_sense_are_refused() -> None:
    flows = Flows(64)
    async with running() as relay:
        with pytest.raises(OSError, match="Invalid argument"):
            await relay.connection.configure(RelayConfig(workers=1000), flows.fd)
        with pytest.raises(OSError, match="not connected"):
            await relay.stats()
        await relay.connection.configure(RelayConfig(workers=2), flows.fd)
        assert relay.threads() == 5  # two workers, a carrier for each, and who answers
    flows.close()
