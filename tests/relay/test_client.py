"""Supervisor and client together, as an agent has them: adoption, replacement, death, in a real cgroup."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.relay.conftest import service, until, until_told
from tests.relay.pods import CAPTURE4, SERVER4, Pod
from tests.relay.process import BINARY
from tests.support.cgroup import members
from tests.support.eventually import HANG_SECONDS
from tests.support.flows import Flows

from tidegate.linux.cgroup import cgroup2_mount
from tidegate.relay.client import RelayClient
from tidegate.relay.connection import RelayConfig
from tidegate.relay.events import CloseReason, FlowEvent
from tidegate.relay.supervisor import RelaySupervisor
from tidegate.supervise.supervisor import ProgramState

CONFIG = RelayConfig(workers=1, each_event=True, report=3600)


class Agent:
    """The relay's half of an agent."""

    def __init__(self, run_dir: Path, cgroup: Path, flows: Flows, binary: Path) -> None:
        self.supervisor = RelaySupervisor(binary, run_dir, cgroup, CONFIG, jitter=lambda: 0.9)
        self.client = RelayClient(self.supervisor, flows.fd)
        self.events: list[FlowEvent] = []
        self._tasks = [
            asyncio.create_task(work) for work in (self.supervisor.run(), self.client.run(), self._collect())
        ]

    async def _collect(self) -> None:
        async for event in self.client.events():
            self.events.append(event)

    async def up(self, number: int = 1) -> int:
        """Once the relay can be asked; its pid."""
        await until(lambda: self.client.process.value >= number, "a relay is there")
        return self.supervisor.status().pid

    async def leave(self) -> None:
        """What a killed agent leaves behind stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class World:
    """A node's relay over the lives of its agents."""

    def __init__(self, tmp_path: Path, pods: tuple[Pod, Pod]) -> None:
        self.run_dir = tmp_path
        self.cgroup = cgroup2_mount() / f"tg-relay-{secrets.token_hex(4)}"
        self.flows = Flows()
        self.client_pod, self.server_pod = pods
        self.binary = tmp_path / "tidegate-relay"
        shutil.copy(BINARY, self.binary)
        self.agent = self.begin()
        self.port = 0
        self.accepted: list[socket.socket] = []

    def begin(self) -> Agent:
        self.agent = Agent(self.run_dir, self.cgroup, self.flows, self.binary)
        return self.agent

    def build_anew(self) -> None:
        """Another version: the same program with a byte more, moved into place."""
        new = self.run_dir / "new"
        new.write_bytes(self.binary.read_bytes() + b"\0")
        new.chmod(0o755)
        new.replace(self.binary)

    async def serve(self, listener: socket.socket) -> None:
        """The pod's listeners and one service, as the data plane would after a look at what is there."""
        await self.agent.up()
        self.port, _ = await self.agent.client.add_sandbox(self.client_pod.cookie, self.client_pod.fd, v6=False)
        await self.agent.client.publish(1, [service(listener.getsockname())])

    async def pair(self, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
        loop = asyncio.get_running_loop()
        client = self.client_pod.socket()
        client.bind(("127.0.0.1", 0))
        self.flows.record(self.client_pod.cookie, client.getsockname()[:2], self.port, ("10.96.0.10", 80), "")
        await loop.sock_connect(client, (CAPTURE4, self.port))
        server, _ = await asyncio.wait_for(loop.sock_accept(listener), HANG_SECONDS)
        self.accepted.append(server)
        return client, server

    def close_accepted(self) -> None:
        while self.accepted:
            self.accepted.pop().close()

    def members(self) -> set[int]:
        return members(self.cgroup)

    async def end(self) -> None:
        await self.agent.leave()
        await RelaySupervisor(self.binary, self.run_dir, self.cgroup, CONFIG).end(0)
        assert not self.cgroup.exists()
        left = [path.name for path in (self.run_dir / "relay").iterdir() if not path.name.startswith("relay.log")]
        assert left in ([], ["retired"])
        self.flows.close()
        self.close_accepted()
        for pod in (self.client_pod, self.server_pod):
            pod.close_sockets()


@pytest.fixture
async def world(tmp_path: Path, pods: tuple[Pod, Pod]) -> AsyncIterator[World]:
    made = World(tmp_path, pods)
    yield made
    await made.end()


async def talk(client: socket.socket, server: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, b"words")
    assert await loop.sock_recv(server, 100) == b"words"


async def test_the_next_agent_goes_on_with_the_relay_that_runs(world: World) -> None:
    with world.server_pod.listen(SERVER4) as listener:
        await world.serve(listener)
        pid = await world.agent.up()
        kept, gone = await world.pair(listener), await world.pair(listener)
        await world.agent.leave()
        for sock in gone:
            sock.close()
        await talk(*await world.pair(listener))
        agent = world.begin()
        assert await agent.up() == pid
        status = agent.supervisor.status()
        assert (status.adopted, status.restarts, status.retired) == (True, 0, 0)
        assert await agent.client.sandboxes() == {world.client_pod.cookie: (world.port, 0)}
        again = await agent.client.add_sandbox(world.client_pod.cookie, world.client_pod.fd, v6=False)
        assert again == (world.port, 0), "what it has is not opened again"
        await talk(*kept)
        await until(lambda: [e.reason for e in agent.events if e.connections] == [CloseReason.OK], "what ended")


async def test_a_relay_of_another_version_takes_over_and_the_old_one_finishes(world: World) -> None:
    with world.server_pod.listen(SERVER4) as listener:
        await world.serve(listener)
        old = await world.agent.up()
        kept = await world.pair(listener)
        await world.agent.leave()
        world.build_anew()
        agent = world.begin()
        new = await agent.up()
        assert new != old
        await until(lambda: world.members() == {old, new}, "both are in the cgroup, and nobody else")
        await until_told(lambda: _has(agent, world), "what the old one accepts from is known")
        await talk(*await world.pair(listener))  # before the new one has services, the old one serves
        port, _ = await agent.client.add_sandbox(world.client_pod.cookie, world.client_pod.fd, v6=False)
        assert port == world.port
        await agent.client.publish(2, [service(listener.getsockname())])
        served = (await agent.client.stats()).accepted
        await talk(*await world.pair(listener))
        assert (await agent.client.stats()).accepted == served + 1
        assert agent.supervisor.status().retired == 1
        await talk(*kept)
        world.client_pod.close_sockets()
        world.close_accepted()
        await until(lambda: agent.supervisor.status().retired == 0, "the old one has ended")
        await until(lambda: world.members() == {new}, "the new one is alone")
        await until_told(lambda: _closed(agent, 3), "connections of both are counted")
        await until(lambda: sum(e.connections for e in agent.events) == 3, "and told")


async def _has(agent: Agent, world: World) -> bool:
    return await agent.client.sandboxes() == {world.client_pod.cookie: (world.port, 0)}


async def _closed(agent: Agent, count: int) -> bool:
    stats = await agent.client.stats()
    return sum(stats.closed.values()) == count and stats.active == 0


async def test_an_agent_that_dies_while_listeners_move_is_followed_by_one_that_goes_on(world: World) -> None:
    with world.server_pod.listen(SERVER4) as listener:
        await world.serve(listener)
        old = await world.agent.up()
        kept = await world.pair(listener)
        await world.agent.leave()
        world.build_anew()
        agent = world.begin()
        new = await agent.up()
        await until(lambda: agent.supervisor.status().retired == 1, "the old one is retired")
        await agent.leave()  # the new relay has no service yet
        agent = world.begin()
        assert await agent.up() == new
        await until(lambda: world.members() == {old, new}, "neither was taken for a stray")
        await until_told(lambda: _has(agent, world), "the old one still accepts")
        await agent.client.publish(2, [service(listener.getsockname())])
        await talk(*await world.pair(listener))
        await talk(*kept)


async def test_a_pod_that_goes_is_gone_at_every_relay(world: World) -> None:
    with world.server_pod.listen(SERVER4) as listener:
        await world.serve(listener)
        kept = await world.pair(listener)
        await world.agent.leave()
        world.build_anew()
        agent = world.begin()
        await agent.up()
        await until_told(lambda: _has(agent, world), "the old one is known")
        await agent.client.publish(2, [service(listener.getsockname())])
        await agent.client.remove_sandbox(world.client_pod.cookie)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(kept[0], 1), HANG_SECONDS)
        assert await agent.client.sandboxes() == {}
        await agent.client.remove_sandbox(world.client_pod.cookie)  # no error: gone is what it is to be
        await until(lambda: agent.supervisor.status().retired == 0, "the old one had nothing else")


async def test_a_killed_relay_is_replaced_and_gets_the_same_ports(world: World) -> None:
    with world.server_pod.listen(SERVER4) as listener:
        await world.serve(listener)
        pid = await world.agent.up()
        await world.pair(listener)
        await world.agent.client.stats()
        os.kill(pid, signal.SIGKILL)
        agent = world.agent
        assert await agent.up(2) != pid
        assert agent.supervisor.status().restarts == 1
        assert agent.supervisor.status().last_exit == "signal SIGKILL"
        assert await agent.client.sandboxes() == {}, "the data plane has to add them again"
        port, _ = await agent.client.add_sandbox(world.client_pod.cookie, world.client_pod.fd, v6=False)
        assert port == world.port
        await agent.client.publish(1, [service(listener.getsockname())])
        await talk(*await world.pair(listener))
        assert (await agent.client.stats()).accepted == 2, "counters do not go back"
        await until(lambda: agent.supervisor.status().state is ProgramState.RUNNING, "it runs")


async def test_a_relay_that_is_away_is_an_error_not_a_wait(world: World) -> None:
    pid = await world.agent.up()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: world.agent.client.process.value == 0, "the client says that it is away")
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
    from tidegate.errors import Transient

    with pytest.raises(Transient, match="not there at the moment"):
        await world.agent.client.publish(1, [])
