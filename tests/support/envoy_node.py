"""A node reduced to its L7 half: the ADS server, a supervised real Envoy, pods that are bare network namespaces."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.envoy_resources import CAPTURE, CAPTURE_PORT
from tests.support.eventually import HANG_SECONDS, eventually
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.xds.server import AdsServer
from tidegate.xds.stream import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
ENVOY = ROOT / ".venv/bin/envoy"
SUPPORT = ROOT / "tests/support"


def cgroup2_mount() -> Path:
    """Where cgroup v2 is mounted on this machine."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(mount.split()[4])
    raise AssertionError("no cgroup2 mount: tests of a real Envoy need one")


async def until(check: Callable[[], Any], what: str) -> Any:
    """eventually() that lets the event loop of the test go on."""
    return await asyncio.to_thread(eventually, check, what)


class Pod:
    """A network namespace with nothing but its loopback."""

    def __init__(self, name: str = "") -> None:
        self.name = name or f"tg-{secrets.token_hex(4)}"
        self.path = f"/run/netns/{self.name}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)

    def ask(self, path: str = "/", host: str = "web", **headers: str) -> dict[str, Any]:
        """One GET from inside the pod to Envoy's listener there."""
        command = [sys.executable, str(SUPPORT / "ask.py"), f"http://{CAPTURE}:{CAPTURE_PORT}{path}"]
        for key, value in {"Host": host, **headers}.items():
            command += ["-H", f"{key}: {value}"]
        done = subprocess.run(["ip", "netns", "exec", self.name, *command], check=True, capture_output=True, text=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)


class Steady:
    """A steady stream of requests from a pod until stop(); see steady.py."""

    def __init__(
        self, pod: Pod, path: str = "/", rate: int = 200, address: str = CAPTURE, port: int = CAPTURE_PORT
    ) -> None:
        self._process = subprocess.Popen(
            [
                *("ip", "netns", "exec", pod.name, sys.executable, str(SUPPORT / "steady.py")),
                *(address, str(port), path, str(rate)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def started(self) -> None:
        """Until the first answers came back."""
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        assert line.strip() == "started", f"the stream did not start: {line!r}"

    async def stop(self) -> dict[str, Any]:
        out, _ = await asyncio.to_thread(self._process.communicate, "stop\n")
        result: dict[str, Any] = json.loads(out)
        return result


class Upstream:
    """A web server on this machine's loopback that answers with its version."""

    def __init__(self, version: str) -> None:
        self.version = version
        self._process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "web.py"), "0"],
            env={**os.environ, "VERSION": version},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())  # said when it listens

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class KillableAgent:
    """The same two halves in another process; see envoy_agent.py."""

    def __init__(self, run_dir: Path, cgroup: Path, netns: str, ports: Mapping[str, int], weights: Mapping[str, int]):
        site = json.dumps({"ports": dict(ports), "weights": dict(weights)})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.envoy_agent", str(run_dir), str(cgroup), netns, site],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def applied(self) -> None:
        """Wait until its Envoy has the configuration."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip() == "applied", f"the agent did not start: {line!r}"

    def kill(self) -> None:
        """SIGKILL, as the kernel does to a process that needs too much memory."""
        self._process.kill()
        self._process.communicate()


class EnvoyNode:
    """The agent's two halves in this process; cleans up after itself."""

    def __init__(
        self, run_dir: Path, *, cgroup: Path | None = None, node_id: str = "node1", patience: float = PATIENCE_SECONDS
    ) -> None:
        self.run_dir = run_dir
        self.cgroup = cgroup or cgroup2_mount() / f"tg-envoy-{secrets.token_hex(4)}"
        self.node_id = node_id
        self.generation = 0
        self.xds = AdsServer(run_dir / "xds.sock", patience=patience)
        self.envoy = self.supervisor()
        self.task: asyncio.Task[None] | None = None

    def supervisor(self, **options: Any) -> EnvoySupervisor:
        return EnvoySupervisor(ENVOY, self.run_dir, self.node_id, self.run_dir / "xds.sock", self.cgroup, 1, **options)

    async def start(self) -> None:
        await self.envoy.take_over()
        await self.xds.start()
        self.task = asyncio.create_task(self.envoy.run())

    async def publish(self, resources: Mapping[str, Mapping[str, EnvoyResource]]) -> None:
        """Publish the next generation and wait until Envoy answered all of it."""
        self.generation += 1
        await self.xds.publish(self.generation, resources)
        assert await self.xds.wait_applied(self.generation, HANG_SECONDS), f"not applied: {self.xds.status()}"

    async def stop(self) -> None:
        await self.envoy.stop(0)
        if self.task is not None:
            await self.task
        await self.xds.stop()

    def config(self, member: str) -> list[dict[str, Any]]:
        """Entries of one member of Envoy's config dump, e.g. dynamic_listeners."""
        url = f"http://envoy/config_dump?resource={member}"
        done = subprocess.run(
            ["curl", "-sS", "--unix-socket", str(self.envoy.admin_socket), url],
            capture_output=True,
            text=True,
            check=True,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout).get("configs", [])
        return found

    def clusters(self) -> set[str]:
        """Names of the clusters that Envoy has from us."""
        return {entry["cluster"]["name"] for entry in self.config("dynamic_active_clusters")}

    def stat(self, name: str) -> int:
        """A counter or gauge of Envoy, read with curl so that it also works while the loop is busy."""
        page = subprocess.run(
            ["curl", "-sS", "--unix-socket", str(self.envoy.admin_socket), f"http://envoy/stats?filter=^{name}$"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return int(page.rpartition(":")[2] or 0)
