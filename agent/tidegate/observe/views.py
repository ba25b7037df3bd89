"""What the admin API answers, computed from the live parts on request. Pure reading; nothing here changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tidegate.bpf.datapath import Datapath
from tidegate.dataplane.cycle import Cycle
from tidegate.dataplane.order import DNS, POLICIES
from tidegate.dataplane.running import Uncaptured
from tidegate.enroll.crash_loops import CrashLoop
from tidegate.enroll.keeper import Kept
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId, cluster_domain
from tidegate.model.net import host_port, split_destination
from tidegate.model.plan.kernel import ANYWHERE, GuardRow
from tidegate.model.plan.relay import L4Endpoint
from tidegate.model.status import ApplierStatus, PodState, State
from tidegate.model.workload import Sandbox
from tidegate.observe.certificates import CertificatesView
from tidegate.observe.dump import dump
from tidegate.observe.life import Life
from tidegate.observe.others import others_view
from tidegate.observe.process import (
    Clusters,
    OwnProcess,
    envoy_status,
    not_in_force,
    outcome_told,
    program_status,
    request_asked,
)
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.supervise.supervisor import Supervisor
from tidegate.xds.server import AdsServer
from tidegate.xds.status import OthersStatus


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
        clusters: Clusters | None = None,
        clock: Clock | None = None,
        cni: Callable[[], Kept] | None = None,
        crash_loops: Callable[[], Sequence[CrashLoop]] = tuple,
        uncaptured: Callable[[], Sequence[Uncaptured]] = tuple,
        others: Callable[[], OthersStatus] | None = None,
        certificates: CertificatesView | None = None,
    ) -> None:
        self._node = node
        self._process = OwnProcess(life, sources, clock or SystemClock(), clusters=clusters)
        self._clusters = clusters
        self._datapath = datapath
        self._cycle = cycle
        self._config = config
        self._sandboxes = sandboxes
        self._ads = ads
        self._relay = relay
        self._envoy = envoy
        self._dns = dns
        self._cni = cni
        self._crash_loops = crash_loops
        self._uncaptured = uncaptured
        self._others = others
        self._certificates = certificates

    def unhealthy(self) -> list[str]:
        """Why this node is not well; empty when it is."""
        status = self._cycle.status.value
        reasons = not_in_force(self._config(), status.generation, self._clusters)
        for program in (self._relay, self._envoy):
            if program.status().state != "running":
                reasons.append(f"{program.name} is {program.status().state}")
        if self._dns is not None and self._dns.status().state not in ("running", "starting"):
            reasons.append(f"{self._dns.name} is {self._dns.status().state}: pods ask their own resolvers")
        if self._cni is not None and self._cni().problem:
            reasons.append(f"cni: {self._cni().problem}")
        if self._certificates is not None:
            reasons += self._certificates.of_lists()
        if missed := self._uncaptured():
            count = f"{len(missed)} pods run uncaptured" if len(missed) > 1 else "a pod runs uncaptured"
            reasons.append(f"{count}, first: {missed[0].pod}")
        for name, applier in status.appliers.items():
            if applier.failures:
                reasons.append(f"{name}: {len(applier.failures)} items failed, first: {applier.failures[0].item}")
        return reasons

    async def status(self, _: Mapping[str, str]) -> dict[str, Any]:
        status, config = self._cycle.status.value, self._config()
        applied = status.generation, status.revision
        return {
            **self._process.status(self._node, self.unhealthy(), applied, config),
            "appliers": {
                name: {
                    "generation": a.generation,
                    "failures": [outcome_told(o) for o in a.failures],
                    "pending": [outcome_told(o) for o in a.of(State.PENDING)],
                }
                for name, a in status.appliers.items()
            },
            "relay": program_status(self._relay),
            "envoy": envoy_status(self._envoy, self._ads),
            "dns": program_status(self._dns) if self._dns else None,
            "others": others_view(self._others()) if self._others else None,
            "cni": asdict(self._cni()) if self._cni else None,
            "certificates": self._certificates.status() if self._certificates else None,
            "kernel": {
                "adopted": self._datapath.adopted,
                "pods": len(await asyncio.to_thread(self._datapath.pods)),
                "destinations": self._cycle.destinations,
                "flows": await asyncio.to_thread(self._datapath.flow_count),
                "attached": [asdict(a) for a in await asyncio.to_thread(self._datapath.attachments)],
            },
            "pods": [self._pod(p.id, p.state, p.reason, p.netns_cookie) for p in status.pods],
            "uncaptured": [
                {"namespace": one.pod.namespace, "name": one.pod.name, "reason": one.reason}
                for one in self._uncaptured()
            ],
            "crash_loops": [
                {"namespace": loop.pod.namespace, "name": loop.pod.name, "reason": loop.reason}
                for loop in self._crash_loops()
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

    async def policies(self, _: Mapping[str, str]) -> list[dict[str, Any]]:
        """Policies that are for pods of this node. In force: the kernel leads what comes to each of those pods to the
        relay, and the relay has what is planned."""
        plan, status = self._cycle.plan.value, self._cycle.status.value
        judged = await asyncio.to_thread(self._datapath.guard_rows)
        names = {pod.netns_cookie: pod.id for pod in plan.pods}
        told = status.appliers.get(POLICIES)
        missing = "" if told is not None and told.generation >= plan.generation else "the relay was not told of it yet"
        found: dict[int, list[int]] = {}
        for cookie, numbers in plan.policies.workloads.items():
            for number in numbers:
                found.setdefault(number, []).append(cookie)
        rows = []
        for number, policy in enumerate(plan.policies.policies, 1):
            open_ = [str(names[c]) for c in found.get(number, ()) if c in names and GuardRow(c) not in judged]
            reason = missing or (f"what comes to {', '.join(open_)} is not led to the relay yet" if open_ else "")
            rows.append(
                {
                    "node": self._node,
                    "policy": policy.key,
                    "action": policy.action.name,
                    "dry_run": policy.dry_run,
                    "in_force": not reason,
                    "reason": reason,
                    "decided_by": "relay",
                    "pods": sorted(str(names[c]) for c in found.get(number, ()) if c in names),
                    "origin": asdict(policy.origin),
                }
            )
        return rows

    async def explain(self, query: Mapping[str, str]) -> dict[str, Any] | None:
        """None if the pod is not on this node."""
        from tidegate.compile.explain.trace import explain  # 10 ms of each start, and few agents are ever asked

        facts = self._cycle.facts.value
        source = WorkloadId.parse(query.get("pod", ""))
        if facts.sandbox(source) is None:
            return None
        host, port = split_destination(query.get("destination", ""))
        sni, dns = query.get("sni", ""), self._asks_here(source)
        return explain(facts, source, host, port, request_asked(query), sni, dns=dns).as_json()

    def _asks_here(self, pod: WorkloadId) -> bool:
        """Whether a pod's questions for names go to the node's DNS."""
        if self._dns is None or self._dns.status().state != "running":
            return False
        told = self._cycle.status.value.appliers.get(DNS, ApplierStatus())
        return not any(outcome.item == f"pod {pod}" for outcome in told.outcomes)

    async def config_dump(self, _: Mapping[str, str]) -> dict[str, Any]:
        """The plan in force, without secrets."""
        return await asyncio.to_thread(dump, self._cycle.plan.value)


def _place(endpoint: L4Endpoint) -> str:
    if endpoint.address == ANYWHERE:
        return f"as dialled, port {endpoint.port}" if endpoint.port else "as dialled"
    return host_port(str(endpoint.address), endpoint.port)
