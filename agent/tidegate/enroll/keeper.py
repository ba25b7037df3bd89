"""Keeps our plugin chained while the agent is deployed: primary CNIs write their configuration anew when they like.

It stays when the agent stops: between two agents new pods wait (CNI error 11) instead of starting outside the mesh.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from tidegate.enroll.node_cni import NodeCni
from tidegate.errors import TidegateError
from tidegate.runtime.watch import signs

log = logging.getLogger(__name__)

PACE_SECONDS = 0.5  # least time between two repairs: somebody who takes our entry out each time must not spin us


@dataclass(frozen=True, slots=True)
class Kept:
    """problem is empty while binary and entry are in place; repairs counts how often they had to be put back."""

    conflist: str
    problem: str
    repairs: int


class Keeper:
    """Installs at the start of run() and repairs afterwards."""

    def __init__(self, node: NodeCni) -> None:
        self._node = node
        self._repairs = 0
        self._whole = False
        self._conflist = ""
        self._problem = "the CNI directories were not looked at yet"

    def kept(self) -> Kept:
        return Kept(self._conflist, self._problem, self._repairs)

    async def run(self) -> None:
        """Until cancelled."""
        await self._look()
        async for _ in signs(self._node.conf_dir):
            if await self._look():
                await asyncio.sleep(PACE_SECONDS)

    async def _look(self) -> bool:
        """Look, and repair if need be; True if something was changed."""
        before = self._problem
        done: tuple[str, ...] = ()
        try:
            if not (await asyncio.to_thread(self._node.status)).whole:
                done = await asyncio.to_thread(self._node.install)
            found = await asyncio.to_thread(self._node.status)
            self._problem = "; ".join(found.problems)
            self._conflist = str(found.conflist or "")
        except TidegateError as error:
            self._problem = str(error)
        if done and self._whole:
            self._repairs += 1
        for change in done:
            log.warning("CNI repaired: %s", change) if self._whole else log.info("CNI: %s", change)
        self._whole = self._whole or not self._problem
        if self._problem and self._problem != before:
            log.warning("CNI: %s", self._problem)
        return bool(done)
