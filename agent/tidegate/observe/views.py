"""What the admin API answers, computed from the live parts on request. Pure reading; nothing here changes anything."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tidegate import __version__
from tidegate.bpf.datapath import Datapath
from tidegate.compile.explain.trace import explain
from tidegate.dataplane.cycle import Cycle
from tidegate.dataplane.order import DNS
from tidegate.enroll.crash_loops import CrashLoop
from tidegate.enroll.keeper import Kept
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.linux.capabilities import held, why
from tidegate.model.http import HttpRequest
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId, cluster_domain
from tidegate.model.net import host_port, split_destination
from tidegate.model.plan.kernel import ANYWHERE
from tidegate.model.plan.relay import L4Endpoint
from tidegate.model.status import ApplierStatus, Outcome, PodState, State
from tidegate.model.workload import Sandbox
from tidegate.observe.dump import dump
from tidegate.observe.life import Life
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.supervise.supervisor import Supervisor
from tidegate.xds.server import AdsServer


class Views:
    """Providers for observe.admin; every method returns JSON-able values."""

    def __init__(
        self,
        *,
        node: str,
        life: Life,
        datapath: Datapath,
        cycle: Cycle,
        config: Callable[[], Mesh | None],
        sandboxes: Callable[[], Mapping[int, Sandbox]],
        ads: AdsServer,
        relay: Supervisor,
        envoy: EnvoySupervisor,
        dns: Supervisor | None = None,
        sources: Sequence[str] = (),
        clock: Clock | None = None,
        cni: Callable[[], Kept] | None = None,
        crash_loops: Callable[[], Sequence[CrashLoop]] = tuple,
    ) -> None:
        self._node = node
        self._life = life
        self._datapath = datapath
        self._cycle = cycle
        self._config = config
        self._sandboxes = sandboxes
        self._ads = ads
        self._relay = relay
        self._envoy = envoy
        self._dns = dns
        self._sources = sources
        self._clock = clock or SystemClock()
        self._began = self._clock.monotonic()
        self._cni = cni
        self._crash_loops = crash_loops

    def unhealthy(self) -> list[str]:
        """Why this node is not well; empty when it is."""
        reasons = []
        status = self._cycle.status.value
        if self._config() is None:
            reasons.append("no configuration was delivered yet")
        elif status.generation == 0:
            reasons.append("the first configuration is not in force yet")
        for program in (self._relay, self._envoy):
            if program.status().state != "running":
                reasons.append(f"{program.name} is {program.status().state}")
        if self._dns is not None and self._dns.status().state not in ("running", "starting"):
            reasons.append(f"{self._dns.name} is {self._dns.status().state}: pods ask their own resolvers")
        if self._cni is not None and self._cni().problem:
            reasons.append(f"cni: {self._cni().problem}")
        for name, applier in status.appliers.items():
            if applier.failures:
                reasons.append(f"{name}: {len(applier.failures)} items failed, first: {applier.failures[0].item}")
        return reasons

    async def status(self, _: Mapping[str, str]) -> dict[str, Any]:
        status, config = self._cycle.status.value, self._config()
        unhealthy = self.unhealthy()
        return {
            "node": self._node,
            "version": __version__,
            "healthy": not unhealthy,
            "unhealthy": unhealthy,
            "agent": {
                "pid": os.getpid(),
                "starts": self._life.starts,
                "previous": self._life.previous,
                "capabilities": {name: why(name) for name in held(os.getpid())},
                "uptime_seconds": round(self._clock.monotonic() - self._began, 1),
            },
            "sources": list(self._sources),
            "applied": {"generation": status.generation, "revision": status.revision},
            "config": {"problems": [p.as_json() for p in config.problems] if config else []},
            "appliers": {
                name: {
                    "generation": a.generation,
                    "failures": [_outcome(o) for o in a.failures],
                    "pending": [_outcome(o) for o in a.of(State.PENDING)],
                }
                for name, a in status.appliers.items()
            },
            "relay": _program(self._relay),
            "envoy": {**_program(self._envoy), "xds": self._xds()},
            "dns": _program(self._dns) if self._dns else None,
            "cni": asdict(self._cni()) if self._cni else None,
            "kernel": {
                "adopted": self._datapath.adopted,
                "pods": len(await asyncio.to_thread(self._datapath.pods)),
                "destinations": self._cycle.destinations,
                "flows": await asyncio.to_thread(self._datapath.flow_count),
                "attached": [asdict(a) for a in await asyncio.to_thread(self._datapath.attachments)],
            },
            "pods": [self._pod(p.id, p.state, p.reason, p.netns_cookie) for p in status.pods],
            "crash_loops": [
                {"namespace": loop.pod.namespace, "name": loop.pod.name, "reason": loop.reason}
                for loop in self._crash_loops()
            ],
        }

    def _xds(self) -> dict[str, Any]:
        """What Envoy was told and what it said to that; a refusal names the objects it was made from."""
        told = self._ads.status()
        return {
            "connected": told.connected,
            "published": told.published,
            "applied": told.applied,
            "nacks": [
                {
                    "kind": n.kind,
                    "name": n.name,
                    "by": n.by,
                    "detail": n.detail,
                    "origins": [asdict(origin) for origin in n.origins],
                }
                for n in told.nacks
            ],
        }

    def _pod(self, pod: WorkloadId, state: PodState, reason: str, cookie: int) -> dict[str, Any]:
        known = self._cycle.facts.value.pods.get(pod)
        sandbox = self._sandboxes().get(cookie)
        account = known.service_account if known else "default"
        return {
            "namespace": pod.namespace,
            "name": pod.name,
            "state": state,
            "enrolled": state is PodState.ENROLLED,
            "reason": reason,
            "identity": f"spiffe://{cluster_domain()}/ns/{pod.namespace}/sa/{account}",
            "netns_cookie": cookie,
            "container_id": sandbox.container_id if sandbox else "",
            "ips": [str(ip) for ip in sandbox.ips] if sandbox else [],
            "attachments": [
                {"interface": a.ifname, "network": a.network, "ips": [str(ip) for ip in a.ips]}
                for a in (sandbox.attachments if sandbox else ())
            ],
        }

    async def pods(self, _: Mapping[str, str]) -> list[dict[str, Any]]:
        """Rows of tg_pods joined with the sandbox that each cookie belongs to."""
        guarded = self._datapath.lookups()
        out = []
        for cookie, row in sorted((await asyncio.to_thread(self._datapath.pods)).items()):
            sandbox = self._sandboxes().get(cookie)
            out.append(
                {
                    "node": self._node,
                    "namespace": sandbox.id.namespace if sandbox else "",
                    "name": sandbox.id.name if sandbox else "",
                    "netns_cookie": cookie,
                    "ip4": str(row.ip4 or ""),
                    "ip6": str(row.ip6 or ""),
                    "fastpath4": row.fastpath4,
                    "fastpath6": row.fastpath6,
                    "envoy4": row.envoy4,
                    "envoy6": row.envoy6,
                    "guarded": cookie in guarded,
                }
            )
        return out

    async def services(self, _: Mapping[str, str]) -> list[dict[str, Any]]:
        """Rows of tg_dests and tg_ranges with the name and endpoints that the compiler gave to their service number."""
        snapshot = self._cycle.plan.value
        endpoints = {s.number: [_place(e) for e in s.endpoints] for s in snapshot.l4}
        table = await asyncio.to_thread(self._datapath.destinations)
        rows = sorted(table.items(), key=lambda item: (str(item[0][0]), item[0][1], item[0].scope))
        return [
            {
                "node": self._node,
                "address": key.where,
                "port": key.port,
                "protocol": key.protocol.name,
                "scope": key.scope,
                "tier": tier.name.lower(),
                "service": snapshot.services.get(service, ""),
                "endpoints": endpoints.get(service, []),
            }
            for key, (tier, service) in rows
        ]

    async def explain(self, query: Mapping[str, str]) -> dict[str, Any] | None:
        """None if the pod is not on this node."""
        facts = self._cycle.facts.value
        source = WorkloadId.parse(query.get("pod", ""))
        if facts.sandbox(source) is None:
            return None
        host, port = split_destination(query.get("destination", ""))
        headers = {key.split(".", 2)[2]: value for key, value in query.items() if key.startswith("header.")}
        request = HttpRequest(method=query.get("method", "GET"), path=query.get("path", "/"), headers=headers)
        sni, dns = query.get("sni", ""), self._asks_here(source)
        return explain(facts, source, host, port, request, sni, dns=dns).as_json()

    def _asks_here(self, pod: WorkloadId) -> bool:
        """Whether a pod's questions for names go to the node's DNS."""
        if self._dns is None or self._dns.status().state != "running":
            return False
        told = self._cycle.status.value.appliers.get(DNS, ApplierStatus())
        return not any(outcome.item == f"pod {pod}" for outcome in told.outcomes)

    async def config_dump(self, _: Mapping[str, str]) -> dict[str, Any]:
        """The plan in force, without secrets."""
        return await asyncio.to_thread(dump, self._cycle.plan.value)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {"item": outcome.item, "reason": outcome.reason, "origins": list(outcome.origins)}


def _program(program: Supervisor) -> dict[str, Any]:
    status = program.status()
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


def _place(endpoint: L4Endpoint) -> str:
    if endpoint.address == ANYWHERE:
        return f"as dialled, port {endpoint.port}" if endpoint.port else "as dialled"
    return host_port(str(endpoint.address), endpoint.port)
