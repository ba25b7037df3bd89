"""The paths that compete, all between the same two pods.

A contestant is started once; activate() and deactivate() bracket each of its runs, for what would disturb the others
if it stayed (packet filter rules make every connection of the pod pay for connection tracking).
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tests.bench.loads import ECHO, HTTP, ONCE, SINK
from tests.bench.processes import BenchError, Program
from tests.bench.topology import MESH_PORT, Topology

SERVER_PORT = 17001  # of the servers that the benchmark starts in the server pod, beside the pod's own
HAPROXY_PORT = 17101
THREADS = 2  # worker threads of each proxy, the agent's included: what a small pod's sidecar gets


class Contestant(Protocol):
    """One path from the client pod to the server pod."""

    name: str
    in_mesh: bool  # the client runs in the pod's cgroup, where the mesh sees it

    def start(self, work: Path) -> None:
        """Start its programs; configuration files go to `work`."""

    def stop(self) -> None:
        """Stop them; harmless if they never started."""

    def address(self) -> tuple[str, int]:
        """Host and base port that the load tools dial."""

    def activate(self) -> None:
        """Immediately before one of its runs."""

    def deactivate(self) -> None:
        """Immediately after it."""

    def check(self) -> None:
        """Raise BenchError if one of its programs is gone."""

    def pids(self) -> set[int]:
        """Its processes."""


class Route:
    """What most contestants have in common: some programs, and nothing to switch on and off."""

    name = ""
    in_mesh = False

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.programs: list[Program] = []

    def start(self, work: Path) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        while self.programs:
            self.programs.pop().stop()

    def address(self) -> tuple[str, int]:
        return self.topology.server.ip, SERVER_PORT

    def activate(self) -> None:
        """Nothing to switch on."""

    def deactivate(self) -> None:
        """Nothing to switch off."""

    def check(self) -> None:
        for program in self.programs:
            program.check()

    def pids(self) -> set[int]:
        return {program.pid for program in self.programs}


class Direct(Route):
    """No mesh: the client dials the pod's address, outside the cgroup that the mesh watches."""

    name = "direct"

    def __init__(self, topology: Topology, tools: Path) -> None:
        super().__init__(topology)
        self._tools = tools

    def start(self, work: Path) -> None:
        """The servers that all contestants but tidegate end at."""
        for command in (["l4server", str(SERVER_PORT)], ["httpserver", str(SERVER_PORT + HTTP)]):
            line = self.topology.server.command([str(self._tools / command[0]), *command[1:]])
            self.programs.append(Program(command[0], line))


class Tidegate(Route):
    """Through the mesh: the client, a process of the enrolled pod, dials the Service; the pod's own server answers."""

    name = "tidegate"
    in_mesh = True

    def address(self) -> tuple[str, int]:
        if not self.topology.mesh:
            raise BenchError("these pods are in no mesh")
        return self.topology.mesh, MESH_PORT


class HAProxy(Route):
    """One HAProxy in the client pod, dialled directly: interception costs it nothing."""

    name = "haproxy"

    def start(self, work: Path) -> None:
        file = work / "haproxy.cfg"
        file.write_text(self.config())
        self.programs.append(Program(self.name, self.topology.client.command(["haproxy", "-db", "-f", str(file)])))

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", HAPROXY_PORT

    def config(self) -> str:
        """One frontend and backend per port."""
        rooms = [("tcp", ECHO), ("tcp", SINK), ("tcp", ONCE), ("http", HTTP)]
        return self.head() + "".join(
            f"""listen port{offset}
    mode {mode}
    bind 127.0.0.1:{HAPROXY_PORT + offset}
    server pod {self.topology.server.ip}:{SERVER_PORT + offset}
"""
            for mode, offset in rooms
        )

    def head(self) -> str:
        """As many threads as the others; defaults of HAProxy otherwise."""
        return f"""global
    nbthread {THREADS}
    maxconn 4096
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
