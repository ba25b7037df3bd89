"""What became of the fast path's connections, turned into metrics and, if the access log is on, one line each."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

from tidegate.compile.facts import Facts
from tidegate.model.kube import Pod
from tidegate.model.net import IPAddress
from tidegate.relay.events import FlowEvent
from tidegate.telemetry.judged import Refusals
from tidegate.telemetry.metrics import PolicyMetrics, TcpMetrics
from tidegate.telemetry.pairs import Pairs

log = logging.getLogger("tidegate.access")


def workload_name(pod: Pod) -> str:
    """The Deployment of a pod, else the pod: Istio's `workload`, which outlives a single pod.

    A Deployment's pods are called NAME-HASH-RANDOM and carry HASH as label pod-template-hash.
    """
    template = pod.labels.get("pod-template-hash")
    return pod.id.name.rpartition(f"-{template}-")[0] or pod.id.name if template else pod.id.name


class Clients:
    """Who made a connection, by the network namespace that it came from: an address is what a pod may put on its own
    lo and bind, a namespace is where its processes are. Remembers pods that are gone, for connections that outlive
    their sandbox by the time that it takes to tell of them."""

    def __init__(self, limit: int = 4096) -> None:
        """limit: namespaces that are remembered; the one that was met first goes."""
        self._limit = limit
        self._known: dict[int, tuple[str, str]] = {}
        self._of: Facts | None = None

    def workload(self, facts: Facts, cookie: int) -> tuple[str, str]:
        """(namespace, workload); empty strings for a namespace that no pod of this node ever had."""
        if facts is not self._of:
            self._meet(facts)
        return self._known.get(cookie, ("", ""))

    def _meet(self, facts: Facts) -> None:
        if self._of is None or self._of.sandboxes is not facts.sandboxes or self._of.pods is not facts.pods:
            for sandbox in facts.sandboxes:
                if (pod := facts.pods.get(sandbox.id)) is not None:
                    self._known[sandbox.netns_cookie] = (pod.id.namespace, workload_name(pod))
            while len(self._known) > max(self._limit, len(facts.sandboxes)):
                del self._known[next(iter(self._known))]
        self._of = facts


def workload_at(facts: Facts, address: IPAddress | None) -> tuple[str, str]:
    """(namespace, workload) of an address; empty strings for one that is no pod's."""
    pod = facts.pod_at(address) if address is not None else None
    return (pod.id.namespace, workload_name(pod)) if pod is not None else ("", "")


class Judged:
    """What is made of connections to pods that policies are for."""

    def __init__(self, metrics: PolicyMetrics, refusals: Refusals, name: Callable[[int, int], str]) -> None:
        """name: of a policy, by the generation of its table and its number there."""
        self._metrics = metrics
        self._refusals = refusals
        self._name = name

    def observe(self, event: FlowEvent, source: tuple[str, str], destination: tuple[str, str]) -> str:
        """Returns the name of the policy that decided; "" where none did."""
        judged = event.judged
        assert judged is not None
        self._metrics.observe(event, lambda number: self._name(judged.generation, number))
        policy = self._name(judged.generation, judged.policy)
        self._refusals.observe(event, source, destination, policy)
        return policy


def _log_inbound(event: FlowEvent, source: tuple[str, str], destination: tuple[str, str], policy: str) -> None:
    assert event.judged is not None
    log.info(
        "inbound src=%s:%d (%s/%s) dst=%s:%d (%s/%s) verdict=%s policy=%s reason=%s sent=%d received=%d "
        "duration=%.1fms",
        event.client,
        event.client_port,
        *source,
        event.dst or "-",
        event.dst_port,
        *destination,
        event.judged.verdict.name.lower(),
        policy or "-",
        event.reason,
        event.earlier_to_client + event.bytes_to_client,
        event.earlier_to_server + event.bytes_to_server,
        event.duration_ns / 1e6,
    )


async def follow_flows(
    events: AsyncIterator[FlowEvent],
    metrics: TcpMetrics,
    facts: Callable[[], Facts],
    service_name: Callable[[int], str],
    pairs: Pairs,
    policies: Judged,
) -> None:
    """Until cancelled: count what the fast path tells about, and log each connection that ended."""
    clients = Clients()
    async for event in events:
        known = facts()
        if event.judged is not None:
            source, destination = (clients.workload(known, at) for at in (event.caller, event.netns_cookie))
            metrics.observe(event, source, destination, "")
            policy = policies.observe(event, source, destination)
            if event.connections and log.isEnabledFor(logging.INFO):
                _log_inbound(event, source, destination, policy)
            continue
        source, destination = clients.workload(known, event.netns_cookie), workload_at(known, event.endpoint)
        service = service_name(event.service)
        metrics.observe(event, source, destination, service)
        pairs.observe(event, service)
        if not event.connections or not log.isEnabledFor(logging.INFO):
            continue
        log.info(
            'src=%s/%s dst=%s:%d service="%s" endpoint=%s reason=%s sent=%d received=%d duration=%.1fms',
            *source,
            event.dst or "-",
            event.dst_port,
            service,
            event.endpoint or "-",
            event.reason,
            event.earlier_to_client + event.bytes_to_client,
            event.earlier_to_server + event.bytes_to_server,
            event.duration_ns / 1e6,
        )
