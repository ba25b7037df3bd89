"""What the status of each process of ours says in the same words: an agent's (views.py) and a gateway's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from tidegate import __version__
from tidegate.linux.capabilities import NEEDED, Capability, held, why
from tidegate.model.http import HttpRequest
from tidegate.model.mesh import Mesh
from tidegate.model.status import Outcome
from tidegate.observe.life import Life
from tidegate.runtime.clock import Clock
from tidegate.supervise.supervisor import Supervisor
from tidegate.xds.server import AdsServer


class Clusters(Protocol):
    """Sources of configuration that are API servers (config/sources/opening.py)."""

    def status(self) -> list[dict[str, Any]]: ...

    def unhealthy(self) -> list[str]: ...


class OwnProcess:
    """The process that answers, and where its configuration comes from."""

    def __init__(
        self,
        life: Life,
        sources: Sequence[str],
        clock: Clock,
        needed: Sequence[Capability] = NEEDED,
        clusters: Clusters | None = None,
    ) -> None:
        """needed: the capabilities that it should have, and what for."""
        self._life = life
        self._clusters = clusters
        self._sources = sources
        self._clock = clock
        self._needed = needed
        self._began = clock.monotonic()

    def status(
        self, node: str, unhealthy: Sequence[str], applied: tuple[int, int], config: Mesh | None
    ) -> dict[str, Any]:
        """The head of a status. node: what it is called; applied: generation and revision in force."""
        return {
            "node": node,
            "version": __version__,
            "healthy": not unhealthy,
            "unhealthy": list(unhealthy),
            "agent": {
                "pid": os.getpid(),
                "starts": self._life.starts,
                "previous": self._life.previous,
                "capabilities": {name: why(name, self._needed) for name in held(os.getpid())},
                "uptime_seconds": round(self._clock.monotonic() - self._began, 1),
            },
            "sources": list(self._sources),
            "clusters": self._clusters.status() if self._clusters else [],
            "applied": {"generation": applied[0], "revision": applied[1]},
            "config": {"problems": [p.as_json() for p in config.problems] if config else []},
        }


def not_in_force(config: Mesh | None, generation: int, clusters: Clusters | None = None) -> list[str]:
    """Why the configuration is not in force, or may be another one by now; empty if neither."""
    reasons = clusters.unhealthy() if clusters else []
    if config is None:
        return ["no configuration was delivered yet", *reasons]
    return reasons if generation else ["the first configuration is not in force yet", *reasons]


def outcome_told(outcome: Outcome) -> dict[str, Any]:
    """What became of one item."""
    return {"item": outcome.item, "reason": outcome.reason, "origins": list(outcome.origins)}


def program_status(one: Supervisor) -> dict[str, Any]:
    """A program that is kept running."""
    status = one.status()
    return {
        "state": status.state,
        "pid": status.pid,
        "restarts": status.restarts,
        "last_exit": status.last_exit,
        "capabilities": held(status.pid) if status.pid else [],
        "since": round(status.since, 3),
        "adopted": status.adopted,
        "retired": status.retired,
        "memory_max": status.memory_max,
    }


def envoy_status(one: Supervisor, ads: AdsServer) -> dict[str, Any]:
    """The same of Envoy, with what it was told and what it said; a refusal names the objects that it was made from."""
    xds = ads.status()
    return {
        **program_status(one),
        "xds": {
            "connected": xds.connected,
            "published": xds.published,
            "applied": xds.applied,
            "nacks": [
                {
                    "kind": n.kind,
                    "name": n.name,
                    "by": n.by,
                    "detail": n.detail,
                    "origins": [asdict(origin) for origin in n.origins],
                }
                for n in xds.nacks
            ],
        },
    }


def request_asked(query: Mapping[str, str]) -> HttpRequest:
    """The request of an explain: ?method=, ?path=, ?header.NAME=."""
    headers = {key.split(".", 2)[2]: value for key, value in query.items() if key.startswith("header.")}
    return HttpRequest(method=query.get("method", "GET"), path=query.get("path", "/"), headers=headers)
