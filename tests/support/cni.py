"""The real CNI plugin binary and an agent's end for it, as tests drive them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.enroll.wire import CniRequest
from tidegate.errors import TidegateError
from tidegate.settings import build_root

PLUGIN = build_root() / "cni" / "tidegate"
PREVIOUS = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x", "mtu": 1500, "unknown": {"a": [1, None, True]}}],
    "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1", "interface": 0}],
    "dns": {},
}


@dataclass
class Recorder:
    """A handler that remembers requests (with the inode of the namespace that came) and does what it is told."""

    failure: TidegateError | None = None
    delay: float = 0.0
    requests: list[CniRequest] = field(default_factory=list)
    inodes: list[int] = field(default_factory=list)

    async def add(self, request: CniRequest) -> None:
        self.requests.append(request)
        self.inodes.append(os.fstat(request.netns_fd).st_ino if request.netns_fd >= 0 else 0)
        await asyncio.sleep(self.delay)
        if self.failure:
            raise self.failure

    delete = add
    check = add
    status = add
    collect = add


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


async def call(
    command: str,
    socket: Path,
    *,
    version: str = "1.0.0",
    previous: Mapping[str, Any] | None = PREVIOUS,
    config: Mapping[str, Any] | None = None,
    stdin: bytes | None = None,
    **environment: str | None,
) -> Done:
    """Run the plugin once. Environment variables that are None are left out."""
    body: dict[str, Any] = {"cniVersion": version, "name": "pods", "type": "tidegate", "agentSocket": str(socket)}
    if previous is not None:
        body["prevResult"] = previous
    variables: dict[str, str | None] = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/proc/self/ns/net",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
        "CNI_PATH": "/opt/cni/bin",
        **environment,
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [PLUGIN],
        input=json.dumps({**body, **(config or {})}).encode() if stdin is None else stdin,
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
