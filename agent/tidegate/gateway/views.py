"""What a gateway's admin API answers, computed on request. Pure reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate.compile.gateway.explain import explain
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.gateway.work import GatewayWork
from tidegate.linux.capabilities import GATEWAY
from tidegate.model.mesh import Mesh
from tidegate.observe.certificates import CertificatesView
from tidegate.observe.dump import resource
from tidegate.observe.life import Life
from tidegate.observe.process import Clusters, OwnProcess, envoy_status, not_in_force, outcome_told, request_asked
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
        clusters: Clusters | None = None,
        certificates: CertificatesView | None = None,
    ) -> None:
        self._settings = settings
        self._process = OwnProcess(life, settings.config, clock or SystemClock(), GATEWAY, clusters)
        self._clusters = clusters
        self._work = work
        self._config = config
        self._ads = ads
        self._envoy = envoy
        self._certificates = certificates

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
        left += [
            {
                "item": f"credentialName {one.credential}" if one.credential else "certificate of the mesh",
                "reason": one.consequence,
                "origins": [str(origin) for origin in one.origins],
            }
            for one in self._work.plan.lacking
        ]
        return left + [outcome_told(outcome) for outcome in self._ads.rejected()]

    def unhealthy(self) -> list[str]:
        """Why this gateway is not well; empty when it is."""
        reasons = not_in_force(self._config(), self._work.applied[0], self._clusters)
        if self._envoy.status().state != "running":
            reasons.append(f"envoy is {self._envoy.status().state}")
        if self._certificates is not None:
            reasons += self._certificates.of_lists()
        if failures := self.failures():
            reasons.append(f"{len(failures)} items failed, first: {failures[0]['item']}: {failures[0]['reason']}")
        return reasons

    async def status(self, _: Mapping[str, str]) -> dict[str, Any]:
        """As an agent's, as far as a gateway has it."""
        applied, failures = self._work.applied, self.failures()
        node = f"gateway {self._settings.selector} of {self._settings.namespace}"
        return {
            **self._process.status(node, self.unhealthy(), applied, self._config()),
            "gateways": [str(gateway.origin) for gateway in self._work.plan.gateways],
            "ports": self._ports(),
            "appliers": {"envoy": {"generation": applied[0], "failures": failures, "pending": []}},
            "envoy": envoy_status(self._envoy, self._ads),
            "certificates": self._certificates.status() if self._certificates else None,
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
        return explain(
            self._work.facts, self._work.plan, self._work.workload, query.get("url", ""), request_asked(query)
        )

    async def config_dump(self, _: Mapping[str, str]) -> dict[str, Any]:
        """What Envoy has been told, without keys."""
        return {kind: [resource(kind, r) for r in found.values()] for kind, found in self._work.plan.envoy.items()}
