"""A pod's sandbox: its cgroup, its namespaces, its addresses. Plays the container runtime's `RunPodSandbox`."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import Fatal, TidegateError
from tidegate.model.names import ServiceName, search_domains
from tidegate.model.net import IPAddress
from tidegate_lab import addresses, cgroups, launch, netns
from tidegate_lab.cni_runtime import PodNetwork
from tidegate_lab.netns import OpenNetns
from tidegate_lab.node import NO_DAD, LabNode
from tidegate_lab.paths import LabPaths
from tidegate_lab.workloads import PodObject


@dataclass(slots=True, eq=False)
class PodSandbox:
    """A pod that is attached to the network and whose namespaces are held by its pause process."""

    paths: LabPaths
    pod: PodObject
    node: LabNode
    cgroup: Path
    attachment: PodNetwork
    pause: asyncio.subprocess.Process

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        return self.attachment.ips

    def entry(self, cgroup: Path | None = None, cwd: str = "/") -> launch.PodEntry:
        """How to start a process in here; cgroup may be a child of the pod's."""
        return launch.PodEntry(self.pause.pid, cgroup or self.cgroup, cwd)


async def create(paths: LabPaths, pod: PodObject, node: LabNode) -> PodSandbox:
    """Make the sandbox: namespace, CNI ADD, pause process. Raises TidegateError and then has undone everything."""
    container_id = secrets.token_hex(32)
    cgroup = cgroups.make(paths.pod_cgroup(node.name, pod.id))
    attachment = PodNetwork(container_id, paths.pod_netns(pod.id, container_id), pod.id)
    try:
        await netns.add(attachment.netns)
        await _prepare(attachment.netns)
        attachment = await node.chain.add(attachment)
        pause = await _start_pause(paths, pod, cgroup, attachment)
    except BaseException:
        await asyncio.shield(_remove(node, cgroup, attachment))
        raise
    return PodSandbox(paths, pod, node, cgroup, attachment, pause)


async def destroy(sandbox: PodSandbox) -> None:
    """Kill whatever still runs in the pod, CNI DEL, remove namespace and cgroup."""
    await _remove(sandbox.node, sandbox.cgroup, sandbox.attachment)
    await sandbox.pause.wait()


async def _prepare(path: Path) -> None:
    """What a runtime's own `loopback` plugin does, and addresses that are usable at once."""
    inside = OpenNetns(path)
    try:
        await inside.run(lambda: netns.set_sysctls(NO_DAD))
    finally:
        inside.close()
    await netns.ip(path, ["link set lo up"])


async def _start_pause(
    paths: LabPaths, pod: PodObject, cgroup: Path, attachment: PodNetwork
) -> asyncio.subprocess.Process:
    run = paths.pod_run(pod.id)
    run.mkdir(parents=True, exist_ok=True)
    hostname = hostname_of(pod)
    resolv_conf, hosts = run / "resolv.conf", run / "hosts"
    resolv_conf.write_text(_resolv_conf(pod.id.namespace))
    hosts.write_text(_hosts(hostname, pod, attachment.ips))
    process = await asyncio.create_subprocess_exec(
        *launch.pause(cgroup, attachment.netns, resolv_conf, hosts, hostname),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if await process.stdout.readline() != b"ready\n":
        reason = (await process.stderr.read()).decode(errors="replace").strip()
        await process.wait()
        raise Fatal(f"namespaces of pod {pod.id}", reason, "is /etc/resolv.conf there, and this a root shell?")
    return process


async def _remove(node: LabNode, cgroup: Path, attachment: PodNetwork) -> None:
    await asyncio.to_thread(cgroups.remove, cgroup)
    with contextlib.suppress(TidegateError):  # the namespace and the address go below, whatever a plugin says
        await node.chain.delete(attachment)
    if attachment.netns.exists():
        await netns.run([launch.tool("ip"), "netns", "delete", attachment.netns.name], str(attachment.netns))


def hostname_of(pod: PodObject) -> str:
    return pod.spec.hostname or pod.id.name[:63]


def _resolv_conf(namespace: str) -> str:
    search = " ".join(search_domains(namespace))
    return f"nameserver {addresses.DNS4}\nsearch {search}\noptions ndots:5\n"


def _hosts(hostname: str, pod: PodObject, ips: Sequence[IPAddress]) -> str:
    names = hostname
    if pod.spec.subdomain:
        names = f"{hostname}.{ServiceName(pod.id.namespace, pod.spec.subdomain)} {hostname}"
    own = "".join(f"{ip}\t{names}\n" for ip in ips)
    return f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}"
