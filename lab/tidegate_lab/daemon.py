"""labd: the background process of one lab. Plays scheduler, kubelets, API storage and cluster DNS.

Started by `tidegate lab up` as ``python -m tidegate_lab.daemon --name lab --nodes 2 --mesh on``; its socket appears
once the nodes and their agents are up.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.errors import Rejected, TidegateError
from tidegate.model.names import ServiceName, cluster_domain, use_cluster_domain
from tidegate.runtime.stopping import asked_to_stop
from tidegate_lab import control, manifest
from tidegate_lab.agents import Agents, NodeAgent
from tidegate_lab.control import Progress
from tidegate_lab.lab import Lab
from tidegate_lab.node import make_nodes
from tidegate_lab.paths import LabPaths
from tidegate_lab.pod import PodRunner
from tidegate_lab.validation import validate

log = logging.getLogger(__name__)

AGENTS_UP = 180.0  # seconds; a busy machine may need most of a minute


class Requests:
    """The commands of the control socket."""

    def __init__(self, lab: Lab, mesh: bool, stopped: asyncio.Event) -> None:
        self._lab = lab
        self._mesh = mesh
        self._one_at_a_time = asyncio.Lock()
        self._stopped = stopped

    def handlers(self) -> Mapping[str, control.Operation]:
        return {
            "info": self.info,
            "apply": self.apply,
            "delete": self.delete,
            "pods": self.pods,
            "enter": self.enter,
            "node": self.node,
            "services": self.services,
            "logs": self.logs,
            "expose": self.expose,
            "dashboard": self.dashboard,
            "stop": self.stop,
        }

    async def info(self, request: Mapping[str, Any], progress: Progress) -> Any:
        about = {"nodes": len(self._lab.nodes), "mesh": self._mesh, "cluster_domain": cluster_domain()}
        return {**about, "pid": os.getpid()}

    async def apply(self, request: Mapping[str, Any], progress: Progress) -> Any:
        """files, timeout (seconds). Nothing is changed unless every file is valid."""
        async with self._one_at_a_time:
            files = [Path(file) for file in request["files"]]
            documents = [document for file in files for document in manifest.read(file)]
            validate(files)
            self._lab.apply(documents)
            progress(f"applied {len(documents)} objects from {len(files)} files")
            await self._lab.settled(request["timeout"], progress)
            named = {str(document.key) for document in documents}
            if refused := await self._lab.agents.refused(named):
                raise Rejected(refused[0], "is not in force", "; ".join([*refused[1:], "see `tidegate status`"]))
            return len(documents)

    async def delete(self, request: Mapping[str, Any], progress: Progress) -> Any:
        async with self._one_at_a_time:
            keys = [document.key for file in request["files"] for document in manifest.read(Path(file))]
            gone = self._lab.delete(keys)
            progress(f"deleting {len(gone)} objects")
            await self._lab.settled(request["timeout"], progress)
            return [str(key) for key in gone]

    async def pods(self, request: Mapping[str, Any], progress: Progress) -> Any:
        await self._lab.agents.refresh()
        return [self._pod(runner) for _, runner in sorted(self._lab.pods.items())]

    def _pod(self, runner: PodRunner) -> dict[str, Any]:
        enrolment = self._lab.agents.enrolments.get(runner.pod.id)
        return {
            "namespace": runner.pod.id.namespace,
            "name": runner.pod.id.name,
            "node": runner.node.name,
            "ip": str(runner.ips[0]) if runner.ips else "",
            "ips": [str(ip) for ip in runner.ips],
            "phase": "Terminating" if runner.ending else runner.phase,
            "ready": runner.ready,
            "restarts": runner.restarts,
            "enrolled": enrolment.enrolled if enrolment else False,
            "identity": enrolment.identity if enrolment else "",
            "reason": runner.reason or (enrolment.reason if enrolment else ""),
            "netns": str(runner.sandbox.attachment.netns) if runner.sandbox else "",
            "cgroup": str(runner.sandbox.cgroup) if runner.sandbox else "",
        }

    async def enter(self, request: Mapping[str, Any], progress: Progress) -> Any:
        """What the CLI needs to start a process in a pod itself, so that streams and exit code are its own."""
        runner = self._lab.find(request["namespace"], request["pod"])
        if runner.sandbox is None or not runner.containers:
            raise TidegateError(f"pod {runner.pod.id}", f"is not running: {runner.reason}")
        container = self._container(runner, request.get("container"))
        entry = runner.sandbox.entry(cwd=container.cwd)
        return {"pid": entry.pause_pid, "cgroup": str(entry.cgroup), "cwd": entry.cwd, "env": container.env}

    async def node(self, request: Mapping[str, Any], progress: Progress) -> Any:
        node = self._lab.node(request["node"])
        return {"netns": str(node.netns), "cgroup": str(node.cgroup / "host")}

    async def logs(self, request: Mapping[str, Any], progress: Progress) -> Any:
        runner = self._lab.find(request["namespace"], request["pod"])
        if not runner.containers:
            raise TidegateError(f"pod {runner.pod.id}", f"has no log yet: {runner.reason}")
        return str(self._container(runner, request.get("container")).log)

    async def services(self, request: Mapping[str, Any], progress: Progress) -> Any:
        external = self._lab.balancers.addresses
        return [
            {
                "namespace": service.name.namespace,
                "name": service.name.name,
                "type": service.spec.type,
                "addresses": [str(address) for address in service.addresses],
                "external": str(external.get(service.name, "")),
                "ports": [f"{port.port}/{port.protocol}" for port in service.spec.ports],
            }
            for service in sorted(self._lab.cluster.services(), key=lambda s: s.name)
        ]

    async def expose(self, request: Mapping[str, Any], progress: Progress) -> Any:
        """namespace, service, port, local (0 = any); the local port."""
        name = ServiceName(request["namespace"], request["service"])
        return (await self._lab.forwards.expose(name, request["port"], request["local"])).local

    async def dashboard(self, request: Mapping[str, Any], progress: Progress) -> Any:
        """node, local (0 = any); the local port."""
        if not self._mesh:
            raise Rejected("dashboard", "is the agent's, and this lab runs with --mesh off", "start it with --mesh on")
        return (await self._lab.forwards.dashboard(self._lab.node(request["node"]), request["local"])).local

    async def stop(self, request: Mapping[str, Any], progress: Progress) -> Any:
        self._stopped.set()
        return None

    @staticmethod
    def _container(runner: PodRunner, name: str | None) -> Any:
        for candidate in runner.containers:
            if name in (None, candidate.container.name):
                return candidate
        names = ", ".join(candidate.container.name for candidate in runner.containers)
        raise TidegateError(f"pod {runner.pod.id}", f"has no container {name!r}", f"it has {names}")


async def run(paths: LabPaths, nodes: int, mesh: bool) -> None:
    """Make the nodes, serve until stopped by request or signal. Raises TidegateError when the lab cannot be made."""
    stopped = asked_to_stop()
    made = await make_nodes(paths, nodes, mesh)
    lab = Lab(paths, made, Agents([NodeAgent(node, paths) for node in made] if mesh else []))
    requests = Requests(lab, mesh, stopped)
    await lab.start()

    async def wake() -> None:
        lab.wake()

    lab.agents.start(wake)
    try:
        await lab.agents.wait_up(AGENTS_UP)
        server = await control.serve(paths.socket, requests.handlers())
        await stopped.wait()
        server.close()
    finally:
        await lab.stop()


def main() -> None:
    """Entry point. Exit code 1 and a last line ``labd: ERROR`` in the log when the lab cannot be made."""
    parser = argparse.ArgumentParser(prog="labd")
    parser.add_argument("--name", required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--mesh", choices=("on", "off"), required=True)
    parser.add_argument("--cluster-domain", default="")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    paths = LabPaths.of(options.name)
    paths.pid.write_text(f"{os.getpid()}\n")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.version_info < (3, 12):  # later versions choose it by themselves; the old default is a thread per child
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    try:
        use_cluster_domain(options.cluster_domain)
        asyncio.run(run(paths, options.nodes, options.mesh == "on"))
    except TidegateError as error:
        print(f"labd: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
