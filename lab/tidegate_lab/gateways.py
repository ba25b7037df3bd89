"""Pods of the lab that run `tidegate gateway`: what was applied is in force when they have it, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from tidegate.errors import Transient
from tidegate_lab.agents import POLL, ask_status, last_lines, revision_of
from tidegate_lab.paths import LabPaths
from tidegate_lab.pod import PodRunner


async def wait_applied(paths: LabPaths, pods: Iterable[PodRunner], revision: int, timeout: float) -> None:
    """Until every gateway has that revision of the cluster in force. Raises Transient naming the one that has not.

    A pod is a gateway if something in a directory of its own (LAB_POD_RUN) answers as one.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    for pod in pods:
        for socket in sorted(paths.pod_run(pod.pod.id).glob("*/agent.sock")):
            await _wait(str(pod.pod.id), socket, revision, deadline)


async def _wait(pod: str, socket: Path, revision: int, deadline: float) -> None:
    clock = asyncio.get_running_loop().time
    logs = socket.parents[1]
    last = ""
    while True:
        try:
            if revision_of(await ask_status(f"gateway {pod}", socket, logs)) >= revision:
                return
        except Transient as error:
            last = error.reason
        if clock() > deadline:
            tail = "\n".join(last_lines(log, 8) for log in sorted(logs.glob("*.log")))
            reason = f"has not put revision {revision} of the cluster into force {last}".strip()
            raise Transient(f"gateway {pod}", reason, f"its log ends:\n{tail}")
        await asyncio.sleep(POLL)
