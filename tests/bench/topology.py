"""The two pods on which everything is measured: those of a lab, or two that the benchmark makes itself."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

from tests.bench.loads import DEAF, ECHO, HTTP, HTTP_DEAF, ONCE, SINK, SPOUT, TWO
from tests.bench.processes import BenchError, run

LAB = "bench"
NAMESPACE = "bench"
SERVICE = "server"
MESH_PORT = 7001  # of the containers in pods.yaml and of their Service
NETNS = "tgbench"


@dataclass(frozen=True, slots=True)
class Pod:
    """A network namespace with an address, and the cgroup that makes a process in it one of the pod's own."""

    netns: Path
    ip: str
    cgroup: Path | None = None

    def command(self, command: Sequence[str], *, in_cgroup: bool = False) -> list[str]:
        """The command line that runs `command` here; every launcher execs, so its pid is the program's.

        Without in_cgroup the process is in the pod's network only: no cgroup program of the mesh sees its sockets.
        """
        entered = ["nsenter", f"--net={self.netns}", "--", *command]
        if not in_cgroup:
            return entered
        if self.cgroup is None:
            raise BenchError(f"{self.netns.name} has no cgroup")
        # A socket belongs to the cgroup in which it was created: enter first.
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.cgroup), *entered]


class Topology(Protocol):
    """Where the pods come from. up() once, down() leaves nothing."""

    client: Pod
    server: Pod
    mesh: str  # the address of the server's Service, "" if there is no mesh here

    def up(self) -> None:
        """Make the pods; raises BenchError."""

    def down(self) -> None:
        """Remove what up() made, also after a failure half-way."""

    def pids(self) -> set[int]:
        """Processes of the path that belong to the topology: agents, their Envoys, the pods' containers."""


class OwnPods:
    """Two network namespaces on a bridge that has a namespace of its own. No mesh."""

    mesh = ""

    def __init__(self) -> None:
        root = Path("/run/netns")
        self.client = Pod(root / f"{NETNS}-client", "10.98.7.2")
        self.server = Pod(root / f"{NETNS}-server", "10.98.7.3")
        self._fabric = f"{NETNS}-fabric"

    def up(self) -> None:
        self.down()  # what a killed run left
        run("ip", "netns", "add", self._fabric)
        run("ip", "-n", self._fabric, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", self._fabric, "link", "set", "bridge", "up")
        for port, pod in (("client", self.client), ("server", self.server)):
            name = pod.netns.name
            run("ip", "netns", "add", name)
            run("ip", "-n", self._fabric, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "-n", self._fabric, "link", "set", port, "master", "bridge", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "address", "add", f"{pod.ip}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")

    def down(self) -> None:
        for name in (self._fabric, self.client.netns.name, self.server.netns.name):
            if (self.client.netns.parent / name).exists():
                run("ip", "netns", "delete", name)

    def pids(self) -> set[int]:
        return set()


class LabPods:
    """The pods of pods.yaml in a lab of their own, reached by the Service's address through Tidegate."""

    mesh = ""

    def __init__(self, tidegate: Path, *manifests: Path) -> None:
        """manifests: pods.yaml and what else is there."""
        self._tidegate, self._manifests = tidegate, manifests

    def up(self) -> None:
        # Imported here: the rest of the benchmark also runs where the agent is not built.
        from tidegate_lab.paths import LabPaths

        os.environ["TIDEGATE_LAB"] = LAB
        self.down()  # what a killed run left
        run(self._tidegate, "lab", "up", *(word for file in self._manifests for word in ("-f", file)))
        self._paths = LabPaths.of(LAB)
        for name in ("client", "server", "neighbour"):
            setattr(self, name, self.pod(name))
        l4 = dict.fromkeys((MESH_PORT + room for room in (ECHO, SINK, ONCE, SPOUT, DEAF)), "fastpath")
        l7 = dict.fromkeys((MESH_PORT + room for room in (HTTP, HTTP_DEAF, TWO)), "envoy")
        self.mesh = self.service(SERVICE, l4 | l7)

    def pod(self, name: str, namespace: str = NAMESPACE, *, enrolled: bool = True) -> Pod:
        """A pod of the lab. Raises BenchError if it is not there, or not as enrolled as it should be."""
        rows = [row for row in self._json("lab", "pods") if (row["namespace"], row["name"]) == (namespace, name)]
        if not rows or bool(rows[0]["enrolled"]) != enrolled:
            raise BenchError(f"pod {namespace}/{name} is not as expected, enrolled: {enrolled}: {rows}")
        (row,) = rows
        (netns,) = self._paths.fabric.parent.glob(f"{self._paths.netns_prefix}{namespace}_{name}-*")
        cgroup = self._paths.node_cgroup(row["node"]) / "pods" / f"{namespace}_{name}"
        return Pod(netns, row["ip"], cgroup)

    def service(self, name: str, wanted: Mapping[int, str]) -> str:
        """The IPv4 address of a Service in the data plane. Raises BenchError unless its ports take these tiers."""
        tiers: dict[str, dict[int, str]] = {}
        for row in self._json("services"):
            if row["service"].startswith(f"{name}.{NAMESPACE}.svc.") and ip_address(row["address"]).version == 4:
                tiers.setdefault(row["address"], {})[row["port"]] = row["tier"]
        if list(tiers.values()) != [wanted]:
            raise BenchError(f"the data plane has {tiers} for Service {name}, not {wanted}")
        return next(iter(tiers))

    def _json(self, *command: str) -> list[dict[str, Any]]:
        value: list[dict[str, Any]] = json.loads(run(self._tidegate, *command, "-o", "json"))
        return value

    def down(self) -> None:
        run(self._tidegate, "lab", "down")

    def pids(self) -> set[int]:
        pids: set[int] = set()
        for procs in self._paths.cgroup.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                pids |= {int(pid) for pid in procs.read_text().split()}
        return pids

    client: Pod
    server: Pod
    neighbour: Pod
