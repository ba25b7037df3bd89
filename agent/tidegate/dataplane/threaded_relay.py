"""The relay that runs inside this process, as the data plane sees a relay: calls that wait go to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from tidegate.fastpath import FastPath
from tidegate.model.plan.relay import L4Service
from tidegate.runtime.latest import Latest


class ThreadedRelay:
    """devices.Relay of a FastPath. It dies with this process, so there never is another one."""

    def __init__(self, engine: FastPath) -> None:
        self._engine = engine
        self._pods: dict[int, tuple[int, int]] = {}
        self.process: Latest[int] = Latest(1)

    async def add_pod(self, cookie: int, netns_fd: int, v6: bool) -> tuple[int, int]:
        """See devices.Relay."""
        self._pods[cookie] = ports = await asyncio.to_thread(self._engine.add_pod, cookie, netns_fd, v6)
        return ports

    async def remove_pod(self, cookie: int) -> None:
        """See devices.Relay."""
        await asyncio.to_thread(self._engine.remove_pod, cookie)
        del self._pods[cookie]

    async def pods(self) -> Mapping[int, tuple[int, int]]:
        """See devices.Relay."""
        return dict(self._pods)

    async def publish(self, generation: int, services: Sequence[L4Service]) -> None:
        """See devices.Relay."""
        await asyncio.to_thread(self._engine.publish, generation, services)
