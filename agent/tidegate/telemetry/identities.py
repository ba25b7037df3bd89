"""Counters of certificates: what an authority answered, and how it is with those of a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegate.identity.store import CertificateState, Identities
from tidegate.runtime.clock import Clock


class IssuanceCollector(Collector):
    """Answers of an authority. answers: how many, by what they were."""

    def __init__(self, answers: Callable[[], Mapping[str, int]]) -> None:
        self._answers = answers

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each scrape."""
        family = CounterMetricFamily("tidegate_ca_answers", "Answers to requests for certificates", labels=["outcome"])
        for outcome, value in sorted(self._answers().items()):
            family.add_metric([outcome.replace(" ", "_")], value)
        yield family


class CertificatesCollector(Collector):
    """Certificates of this node."""

    def __init__(self, identities: Identities, clock: Clock) -> None:
        self._identities = identities
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each scrape."""
        now, states = self._clock.now(), self._identities.states()
        by_state = GaugeMetricFamily("tidegate_certificates", "Certificates of workloads here", labels=["state"])
        for state in CertificateState:
            by_state.add_metric([state.replace(" ", "_")], sum(one.state is state for one in states))
        yield by_state
        ends = [one.held.expires - now for one in states if one.held is not None]
        yield GaugeMetricFamily(
            "tidegate_certificates_first_expiry_seconds", "Until the first of them expires", value=min(ends, default=0)
        )
        since = self._identities.away_since
        yield GaugeMetricFamily(
            "tidegate_ca_away_seconds",
            "Since the authority answered nothing; 0: it answers",
            value=now - since if since else 0,
        )
        asked = CounterMetricFamily("tidegate_certificate_requests", "Asked of the authority", labels=["outcome"])
        for outcome, value in sorted(self._identities.counts.items()):
            asked.add_metric([outcome], value)
        yield asked
