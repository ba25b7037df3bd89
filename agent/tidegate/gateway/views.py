"""What a gateway's admin API answers, computed on request. Pure reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tidegate import __version__
from tidegate.compile.gateway.explain import explain
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.gateway.work import GatewayWork
from tidegate.linux.capabilities import GATEWAY, held, why
from tidegate.model.http import HttpRequest
from tidegate.model.mesh import Mesh
from tidegate.observe.dump import resource
from tidegate.observe.life import Life
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.settings import GatewaySettings
from tidegate.xds.server import AdsServer


class GatewayViews:
    """Providers for observe.admin; every method returns JSON-able values."""

    def __init__(
        self,
        settings: GatewaySettings,
        life: Life,
        work: GatewayWork,
        config: Callable[[], Mesh | None],
        ads: AdsServer,
        envoy: EnvoySupervisor,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._life = life
        self._work = work
        self._config = config
        self._ads = ads
        self._envoy = envoy
        self._clock = clock or SystemClock()
        self._began = self._clock.monotonic()

    def failures(self) -> list[dict[str, Any]]:
        """What is not in force as it was written."""
        left = [
            {
                "item": f"{item.served.gateway.ref} port {item.served.server.port} {item.served.server.port_name}",
                "reason": item.why,
                "origins": [f"{item.served.gateway.origin}"],
            }
            for item in self._work.plan.left_out
        ]
        patches = dict.fromkeys(self._work.plan.failures_told())
        left += [{"item": item, "reason": why, "origins": [origin]} for item, why, origin in patches]
        refused = [
            {"item": outcome.item, "reason": outcome.reason, "origins": list(outcome.origins)}
            for outcome in self._ads.rejected()
        ]
        return left + refused

    def unhealthy(self) -> list[str]:
        """Why this gateway is not well; empty when it is."""
        reasons = []
        if self._config() is None:
            reasons.append("no configuration was delivered yet")
        elif not self._work.applied[0]:
            reasons.append("the first configuration is not in force yet")
        if self._envoy.status().state != "running":
            reasons.append(f"envoy is {self._envoy.status().state}")
        if failures := self.failures():
            reasons.append(f"{len(failures)} items failed, first: {failures[0]['item']}: {failures[0]['reason']}")
        return reasons

    async def status(self, _: Mapping[str, str]) -> dict[str, Any]:
        """As an agent's, as far as a gateway has it."""
        config, envoy, told = self._config(), self._envoy.status(), self._ads.status()
        generation, revision = self._work.applied
        unhealthy = self.unhealthy()
        return {
            "node": f"gateway {self._settings.selector} of {self._settings.namespace}",
            "version": __version__,
            "healthy": not unhealthy,
            "unhealthy": unhealthy,
            "agent": {
                "pid": os.getpid(),
                "starts": self._life.starts,
                "previous": self._life.previous,
                "capabilities": {name: why(name, GATEWAY) for name in held(os.getpid())},
                "uptime_seconds": round(self._clock.monotonic() - self._began, 1),
            },
            "sources": list(self._settings.config),
            "applied": {"generation": generation, "revision": revision},
            "config": {"problems": [p.as_json() for p in config.problems] if config else []},
            "gateways": [str(gateway.origin) for gateway in self._work.plan.gateways],
            "ports": self._ports(),
            "appliers": {"envoy": {"generation": generation, "failures": self.failures(), "pending": []}},
            "envoy": {
                "state": envoy.state,
                "pid": envoy.pid,
                "restarts": envoy.restarts,
                "last_exit": envoy.last_exit,
                "retired": envoy.retired,
                "memory_max": envoy.memory_max,
                "capabilities": held(envoy.pid) if envoy.pid else [],
                "xds": {
                    "connected": told.connected,
                    "published": told.published,
                    "applied": told.applied,
                    "nacks": [{**asdict(n), "origins": [asdict(o) for o in n.origins]} for n in told.nacks],
                },
            },
        }

    def _ports(self) -> Sequence[dict[str, Any]]:
        return [
            {
                "address": port.bind or "*",
                "port": port.number,
                "listen": port.listen,
                "servers": [
                    {
                        "gateway": served.gateway.ref,
                        "protocol": served.server.protocol.name,
                        "tls": served.server.tls.mode.name if served.server.tls else "",
                        "hosts": [f"{h.namespace}/{h.host}" for h in served.server.hosts],
                    }
                    for served in port.servers
                ],
            }
            for port in self._work.plan.ports
        ]

    async def explain(self, query: Mapping[str, str]) -> dict[str, Any]:
        """What becomes of a request to ?url=."""
        headers = {key.split(".", 2)[2]: value for key, value in query.items() if key.startswith("header.")}
        request = HttpRequest(method=query.get("method", "GET"), path="/", headers=headers)
        return explain(self._work.facts, self._work.plan, self._work.workload, query.get("url", ""), request)

    async def config_dump(self, _: Mapping[str, str]) -> dict[str, Any]:
        """What Envoy has been told, without keys."""
        return {kind: [resource(kind, r) for r in found.values()] for kind, found in self._work.plan.envoy.items()}
