"""Runs a chain of CNI plugins as a container runtime does (CNI spec 1.1.0, section 3).

Real plugin binaries are executed inside the node's network namespace; each gets the network's name and version and the
result of the plugin before it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from tidegate.errors import Fatal, Transient
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate_lab.launch import in_netns

PLUGIN_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))  # Debian's; everybody else's
IFNAME = "eth0"
_TRY_AGAIN = 11


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """One pod interface: what a runtime has to remember between ADD and DEL."""

    container_id: str
    netns: Path
    pod: WorkloadId
    result: Mapping[str, Any] = field(default_factory=dict)
    ifname: str = IFNAME

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        return tuple(ip_interface(entry["address"]).ip for entry in self.result.get("ips", ()))


@dataclass(frozen=True, slots=True)
class Chain:
    """A network configuration list and where its plugins are."""

    conflist: Mapping[str, Any]
    node_netns: Path
    directories: Sequence[Path] = PLUGIN_DIRECTORIES
    timeout: float = 60.0  # seconds per plugin

    async def add(self, attachment: PodNetwork) -> PodNetwork:
        """ADD through all plugins; the attachment with the last result. Raises Transient (try again) or Fatal."""
        result: dict[str, Any] | None = None
        for plugin in self.conflist["plugins"]:
            result = json.loads(await self._run("ADD", plugin, attachment, result))
        return replace(attachment, result=result or {})

    async def check(self, attachment: PodNetwork) -> None:
        """CHECK all plugins. Raises as add()."""
        for plugin in self.conflist["plugins"]:
            await self._run("CHECK", plugin, attachment, attachment.result)

    async def delete(self, attachment: PodNetwork) -> None:
        """DEL through all plugins in reverse order; every plugin gets its call. Raises the first error at the end."""
        first: Exception | None = None
        for plugin in reversed(self.conflist["plugins"]):
            try:
                await self._run("DEL", plugin, attachment, attachment.result or None)
            except (Fatal, Transient) as error:
                first = first or error
        if first is not None:
            raise first

    async def _run(
        self, command: str, plugin: Mapping[str, Any], attachment: PodNetwork, result: Mapping[str, Any] | None
    ) -> str:
        config = {"cniVersion": self.conflist["cniVersion"], "name": self.conflist["name"], **plugin}
        if result is not None:
            config["prevResult"] = result
        subject = f"CNI {command} {plugin['type']} for pod {attachment.pod}"
        process = await asyncio.create_subprocess_exec(
            *in_netns(self.node_netns, [str(self._binary(plugin["type"]))]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": attachment.container_id,
                "CNI_NETNS": str(attachment.netns),
                "CNI_IFNAME": attachment.ifname,
                "CNI_PATH": os.pathsep.join(map(str, self.directories)),
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={attachment.pod.namespace}"
                f";K8S_POD_NAME={attachment.pod.name};K8S_POD_INFRA_CONTAINER_ID={attachment.container_id}",
            },
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(json.dumps(config).encode()), self.timeout)
        except TimeoutError:
            raise Transient(subject, f"no answer within {self.timeout:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise _failure(subject, out, err, process.returncode)
        return out.decode()

    def _binary(self, name: str) -> Path:
        for directory in self.directories:
            if (directory / name).is_file():
                return directory / name
        searched = ", ".join(map(str, self.directories))
        raise Fatal(f"CNI plugin {name}", f"is not in {searched}", "run `make setup`")


def _failure(subject: str, out: bytes, err: bytes, code: int) -> Exception:
    """A failed plugin says why as JSON on stdout."""
    try:
        answer = json.loads(out)
        reason = ": ".join(str(answer[key]) for key in ("msg", "details") if answer.get(key))
        number = int(answer["code"])
    except (ValueError, KeyError, TypeError):
        reason, number = (err or out).decode(errors="replace").strip() or f"exit code {code}", 0
    return Transient(subject, reason) if number == _TRY_AGAIN else Fatal(subject, f"{reason} (code {number})")
