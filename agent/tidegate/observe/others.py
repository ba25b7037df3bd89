"""What is told of configuration for others: as a part of an agent's status, and as the status of `tidegate xds`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tidegate import __version__
from tidegate.model.mesh import Mesh
from tidegate.observe.process import Clusters
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.xds.status import OthersStatus


def others_view(status: OthersStatus) -> dict[str, Any]:
    """The part that both have."""
    return {
        "listening": list(status.listening),
        "generation": status.generation,
        "clients": dict(sorted(status.flavours.items())),
        "synced": status.synced,
        "streams": status.streams,
        "refusals": status.refusals,
        "refused": [{**asdict(one), "origins": [str(origin) for origin in one.origins]} for one in status.refused],
        "left_out": [{"item": item, "reason": why, "origins": [origin]} for item, why, origin in status.left_out],
    }


class OthersViews:
    """Providers for observe.admin of a process that does nothing else; every method returns JSON-able values."""

    def __init__(
        self,
        status: Callable[[], OthersStatus],
        config: Callable[[], Mesh | None],
        sources: Sequence[str],
        clock: Clock | None = None,
        clusters: Clusters | None = None,
    ) -> None:
        self._status = status
        self._config = config
        self._sources, self._clusters = sources, clusters
        self._clock = clock or SystemClock()
        self._began = self._clock.monotonic()

    def missing(self) -> list[str]:
        """What it lacks to answer clients."""
        return [] if self._status().generation else ["configuration"]

    async def status(self, _: Mapping[str, str]) -> dict[str, Any]:
        """As an agent's, as far as it has it. What clients refuse does not make it unwell: they are anybody."""
        config, told = self._config(), self._status()
        lacks = [] if told.generation else ["no configuration was delivered yet"]
        unhealthy = lacks + (self._clusters.unhealthy() if self._clusters else [])
        return {
            "node": f"xds {told.listening[0]}",
            "version": __version__,
            "healthy": not unhealthy,
            "unhealthy": unhealthy,
            "agent": {"pid": os.getpid(), "uptime_seconds": round(self._clock.monotonic() - self._began, 1)},
            "sources": list(self._sources),
            "clusters": self._clusters.status() if self._clusters else [],
            "applied": {"generation": told.generation, "revision": config.revision if config else 0},
            "config": {"problems": [p.as_json() for p in config.problems] if config else []},
            "others": others_view(told),
        }
