"""What an authority tells of itself: status and counters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from tidegate import __version__
from tidegate.ca.issuing import Issuing
from tidegate.identity.embedded import AuthorityFolder
from tidegate.identity.files import WatchedFile
from tidegate.observe.certificates import time_of
from tidegate.runtime.clock import Clock
from tidegate.telemetry.identities import IssuanceCollector
from tidegate.telemetry.metrics import exposition


class AuthorityViews:
    """Providers for observe.admin; every method returns JSON-able values."""

    def __init__(
        self,
        address: str,
        ports: Sequence[int],
        folder: AuthorityFolder,
        issuing: Issuing,
        files: Sequence[WatchedFile[Any]],
        clock: Clock,
    ) -> None:
        self._place = f"{address} port {' and '.join(map(str, ports))}"
        self._folder = folder
        self._issuing = issuing
        self._files = files
        self._clock = clock
        self._began = clock.monotonic()
        self._registry = CollectorRegistry()
        self._registry.register(IssuanceCollector(lambda: issuing.counts))

    def unhealthy(self) -> list[str]:
        """What is not as it stands in its files."""
        return [one for one in (self._folder.problem, *(file.problem for file in self._files)) if one]

    async def status(self, _: Mapping[str, str]) -> dict[str, Any]:
        """As an agent's, as far as it has it."""
        unhealthy = self.unhealthy()
        return {
            "node": f"authority {self._place}",
            "version": __version__,
            "healthy": not unhealthy,
            "unhealthy": unhealthy,
            "agent": {"pid": os.getpid(), "uptime_seconds": round(self._clock.monotonic() - self._began, 1)},
            "authority": {
                "name": self._folder.signs,
                "roots": list(self._folder.root_ids),
                "expires": time_of(self._folder.expires),
                "answers": dict(sorted(self._issuing.counts.items())),
            },
        }

    async def metrics(self) -> bytes:
        return await asyncio.to_thread(exposition, self._registry)
