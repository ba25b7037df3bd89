"""Kinds that the cluster does not have: one small question now and then for all of them, instead of one for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tidegate.config.sources.kube.gate import AwayError
from tidegate.config.sources.kube.resources import Resource
from tidegate.config.sources.kube.server import ApiServer
from tidegate.config.sources.kube.stream import RefusedError
from tidegate.runtime.backoff import Backoff
from tidegate.runtime.clock import Clock

_FIRST_S: Final = 2.0
_LONGEST_S: Final = 30.0


class _Version(msgspec.Struct, gc=False):
    version: str = ""


class _Group(msgspec.Struct, gc=False):
    name: str = ""
    versions: list[_Version] = []


class _Groups(msgspec.Struct, gc=False):
    groups: list[_Group] = []


class _Resource(msgspec.Struct, gc=False):
    name: str = ""


class _Resources(msgspec.Struct, gc=False):
    resources: list[_Resource] = []


class Installed:
    """Looks for what is missing as long as something is."""

    def __init__(self, server: ApiServer, clock: Clock, jitter: Callable[[], float]) -> None:
        self._server, self._clock, self._jitter = server, clock, jitter
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """Something is missing."""
        self._wanted.set()

    async def run(self, missing: Callable[[], Sequence[Resource]], appeared: Callable[[Resource], None]) -> None:
        """Until cancelled: tell of what is missing which the cluster has now."""
        backoff = Backoff(self._jitter, _FIRST_S, _LONGEST_S, reset_after=float("inf"))
        while True:
            if not missing():
                self._wanted.clear()
                await self._wanted.wait()
                backoff = Backoff(self._jitter, _FIRST_S, _LONGEST_S, reset_after=float("inf"))
            await self._clock.sleep(backoff.next(0.0))
            try:
                found = await self._find(missing())
            except (AwayError, RefusedError, msgspec.MsgspecError):
                continue  # whoever follows a kind that is there says so
            for resource in found:
                appeared(resource)

    async def _find(self, missing: Sequence[Resource]) -> list[Resource]:
        """Those that the cluster has."""
        groups = msgspec.json.decode(await self._server.whole("/apis", {}), type=_Groups).groups
        there = {group.name: [v.version for v in group.versions] for group in groups}
        found = []
        for name in sorted({resource.group for resource in missing} & there.keys()):
            names: set[str] = set()
            of_group = [resource for resource in missing if resource.group == name]
            for version in there[name]:
                if any(version in resource.versions for resource in of_group):
                    body = await self._server.whole(f"/apis/{name}/{version}", {})
                    names |= {one.name for one in msgspec.json.decode(body, type=_Resources).resources}
            found += [resource for resource in of_group if resource.plural in names]
        return found
