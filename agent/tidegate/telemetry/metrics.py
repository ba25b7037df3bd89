"""Prometheus metrics of one agent. The only file that imports prometheus_client; the registry is passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from tidegate.relay.events import CloseReason, FlowEvent
from tidegate.xds.status import OthersStatus

disable_created_metrics()  # type: ignore[no-untyped-call]  # the *_created series double what a scrape carries and nobody here reads them

# Istio's telemetry labels; a label whose value nobody knows says so in Istio's word.
UNKNOWN = "unknown"
_TCP_LABELS = (
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "destination_workload",
    "destination_workload_namespace",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "connection_security_policy",
)


@dataclass(frozen=True, slots=True)
class NewOfConnections:
    """What is new of connections that are alike: how many were opened and closed, and bytes."""

    opened: int = 0
    closed: int = 0
    to_client: int = 0
    to_server: int = 0


class TcpMetrics:
    """Istio's TCP metrics, fed by the fast path's events, which come when a connection ends and while it lives, and by
    what Envoy counted of connections that it carries (carried.py)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, _TCP_LABELS, registry=registry)

        self._families = (
            counter("istio_tcp_connections_opened", "TCP connections opened"),
            counter("istio_tcp_connections_closed", "TCP connections closed"),
            counter("istio_tcp_sent_bytes", "Bytes sent to the client as response"),
            counter("istio_tcp_received_bytes", "Bytes received from the client as request"),
        )
        # Looking children up by eight labels costs more than everything else that is done for a connection.
        self._children: dict[tuple[object, ...], tuple[Counter, ...]] = {}

    def observe(self, flow: FlowEvent, source: tuple[str, str], destination: tuple[str, str], service: str) -> None:
        """Count what an event says is new."""
        new = NewOfConnections(flow.opened, flow.connections, flow.bytes_to_client, flow.bytes_to_server)
        self.count(new, source, destination, service, "destination" if flow.judged else "source")

    def count(
        self,
        new: NewOfConnections,
        source: tuple[str, str],
        destination: tuple[str, str],
        service: str,
        reporter: str = "source",
    ) -> None:
        """Count what is new of connections. reporter: in front of which end they were seen.

        source and destination are (namespace, workload), service is FQDN:port as in model.plan.relay.L4Service; all
        empty when unknown.
        """
        key = (source, destination, service, reporter)
        children = self._children.get(key)
        if children is None:
            host = service.rpartition(":")[0]
            host = "" if host == "*" else host  # of a range, by no name that somebody has
            name, namespace = [*host.split("."), "", ""][:2]
            ends = (source[1], source[0], destination[1], destination[0], host, name, namespace)
            labels = (reporter, *(end or UNKNOWN for end in ends), "tcp", "none")
            children = self._children[key] = tuple(family.labels(*labels) for family in self._families)
        amounts = (new.opened, new.closed, new.to_client, new.to_server)
        for child, amount in zip(children, amounts, strict=True):
            child.inc(amount)


class PolicyMetrics:
    """What was decided of connections to pods of this node that policies are for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "tidegate_policy_decisions",
            "Connections to pods that policies are for, by what was decided (enum fp_policy_verdict, deny_late)",
            ("verdict",),
            registry=registry,
        )
        self._would = Counter(
            "tidegate_policy_would",
            "What policies on trial would have decided if there were no others",
            ("verdict", "policy"),
            registry=registry,
        )
        self._audited = Counter(
            "tidegate_policy_audited", "Connections that an AUDIT policy matches", ("policy",), registry=registry
        )

    def observe(self, flow: FlowEvent, name: Callable[[int], str]) -> None:
        """Count what an event says is new. name: of a policy by its number."""
        judged = flow.judged
        if judged is None:
            return
        if flow.reason is CloseReason.DENY_LATE:
            self._decisions.labels(flow.reason.value).inc(flow.connections)
        if not flow.opened:
            return
        if flow.reason is not CloseReason.DENY_LATE:
            self._decisions.labels(judged.verdict.name.lower()).inc(flow.opened)
        if judged.would_policy or not judged.would.allows:
            self._would.labels(judged.would.name.lower(), name(judged.would_policy)).inc(flow.opened)
        if judged.audited:
            self._audited.labels(name(judged.audited)).inc(flow.opened)


class AgentCollector(Collector):
    """Counters that live elsewhere (kernel, C, supervisor), read when somebody scrapes."""

    def __init__(
        self,
        verdicts: Callable[[], Mapping[str, int]],
        closed: Callable[[], Mapping[str, int]],
        questions: Callable[[], Mapping[str, int]],
        gauges: Callable[[], Mapping[str, float]],
    ) -> None:
        self._verdicts = verdicts
        self._closed = closed
        self._questions = questions
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each scrape."""
        verdicts = CounterMetricFamily(
            "tidegate_verdicts", "Verdicts of the kernel programs (bpf/include/tg_reason.h)", labels=["reason"]
        )
        for reason, value in self._verdicts().items():
            verdicts.add_metric([reason], value)
        yield verdicts
        closed = CounterMetricFamily(
            "tidegate_fastpath_closed", "Connections that the fast path ended, by reason", labels=["reason"]
        )
        for reason, value in self._closed().items():
            closed.add_metric([reason], value)
        yield closed
        questions = CounterMetricFamily(
            "tidegate_dns_questions", "Questions that pods asked the node's DNS, by who answers", labels=["answer"]
        )
        for answer, value in self._questions().items():
            questions.add_metric([answer], value)
        yield questions
        for name, number in self._gauges().items():
            yield GaugeMetricFamily(f"tidegate_{name}", name.replace("_", " "), value=number)


class EarlierCollector(Collector):
    """Connections of before the policies of their pods, which the agent ended: they passed no relay."""

    def __init__(self) -> None:
        self._ended = 0

    def ended(self) -> None:
        """One more. On one thread."""
        self._ended += 1

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each scrape."""
        yield CounterMetricFamily(
            "tidegate_policy_earlier_ended",
            "Connections that were there before the policies that deny them",
            value=self._ended,
        )


Counts = Mapping[str, int]


class OthersCollector(Collector):
    """Clients that are not ours, and what they were told. Labels are kinds, never what a client says of itself."""

    def __init__(self, status: Callable[[], OthersStatus], counts: Callable[[], tuple[Counts, Counts]]) -> None:
        """counts: responses by kind of resource, and how many of them were refused."""
        self._status = status
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each scrape."""
        status, (told, refused) = self._status(), self._counts()
        clients = GaugeMetricFamily("tidegate_xds_clients", "Clients that are connected", labels=["flavour"])
        for flavour, value in sorted(status.flavours.items()):
            clients.add_metric([flavour], value)
        yield clients
        yield GaugeMetricFamily("tidegate_xds_streams", "Streams that are open", value=status.streams)
        yield GaugeMetricFamily("tidegate_xds_synced_clients", "Clients that have all of it", value=status.synced)
        yield GaugeMetricFamily("tidegate_xds_withheld", "Resources that clients refuse", value=status.refusals)
        left = len(status.left_out)
        yield GaugeMetricFamily("tidegate_xds_left_out", "Patches of EnvoyFilters that cannot be applied", value=left)
        for name, text, counts in (
            ("tidegate_xds_responses", "Responses to clients, by kind of resource", told),
            ("tidegate_xds_refused_responses", "Responses that clients refused, by kind of resource", refused),
        ):
            family = CounterMetricFamily(name, text, labels=["kind"])
            for kind, value in sorted(counts.items()):
                family.add_metric([kind], value)
            yield family


class ClusterCollector(Collector):
    """Sources of configuration that are API servers: how old what they told is, and how much of it is not as it should
    be. status: as config.sources.opening.ConfigSources tells it."""

    def __init__(self, status: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each scrape."""
        ages = GaugeMetricFamily(
            "tidegate_source_age_seconds", "Since what is known was known to be so", labels=["source"]
        )
        known = GaugeMetricFamily("tidegate_source_in_sync", "1 once all kinds were read", labels=["source"])
        objects = GaugeMetricFamily("tidegate_source_objects", "Objects that are known", labels=["source", "resource"])
        states = GaugeMetricFamily("tidegate_source_kinds", "Kinds by how it is with them", labels=["source", "state"])
        for one in self._status():
            source = one["source"]
            ages.add_metric([source], one["age_seconds"])
            known.add_metric([source], float(one["in_sync"]))
            counted: dict[str, int] = {}
            by_state = {"not installed": len(one["not_installed"])}
            for kind in one["kinds"]:
                resource, state = kind["resource"].partition(" ")[0], str(kind["state"])
                counted[resource] = counted.get(resource, 0) + kind["objects"]
                by_state[state] = by_state.get(state, 0) + 1
            for resource, count in sorted(counted.items()):
                objects.add_metric([source, resource], count)
            for state, count in sorted(by_state.items()):
                states.add_metric([source, state], count)
        return [ages, known, objects, states]


def exposition(registry: CollectorRegistry) -> bytes:
    """The text that /metrics serves."""
    return generate_latest(registry)
