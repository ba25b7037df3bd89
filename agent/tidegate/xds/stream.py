"""One client's stream with its sense of time, which comes in as an argument. Pure.

Answers that never come and refusals that may pass are the two things that time decides.
"""

from __future__ import annotations

from typing import Any, Protocol

from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, SECRETS
from tidegate.runtime.retries import Retries
from tidegate.xds.encode import Image, Rejection
from tidegate.xds.session import Session
from tidegate.xds.watch import Push, Watch

# How long a response of clusters may stay unanswered before others go on without it, and how long if an earlier one
# still is: then some cluster does not get warm, and Envoy confirms none until it does. What else is not answered is not
# taken for granted, however long that lasts: then the client is silent, and nothing new may lead there.
PATIENCE_SECONDS, SPENT_PATIENCE_SECONDS = 5.0, 0.2

# What makes Envoy refuse a listener is often outside the configuration (its port is taken inside the pod, its netns is
# not there yet), as it is with a secret (its files are not), so unlike other content they are offered again, at ever
# longer intervals.
_TRIED_AGAIN = (LISTENERS, SECRETS)
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 60.0


class Dialect(Protocol):
    """DeltaStream or SotwStream."""

    session: Session

    def receive(self, message: Any) -> Rejection | None: ...

    def responses(self) -> list[Any]: ...


class Stream:
    """A dialect and its session, with deadlines. Times are monotonic seconds."""

    def __init__(self, dialect: Dialect, patience: float = PATIENCE_SECONDS) -> None:
        self._dialect = dialect
        self._patience = patience
        self._sent_at: dict[str, float] = {}  # by nonce
        # One client: there is no herd that jitter would spread.
        self._retries: Retries[tuple[str, str, str]] = Retries(RETRY_SECONDS, LONGEST_RETRY_SECONDS, jitter=lambda: 0.0)
        self.node = ""

    @property
    def session(self) -> Session:
        return self._dialect.session

    def publish(self, image: Image) -> None:
        """Replace what the client should have."""
        self.session.publish(image)
        self._retries.keep((kind, e.name, e.version) for kind in _TRIED_AGAIN for e in image.all(kind).values())

    def receive(self, message: Any, now: float) -> Rejection | None:
        """Take in one request; returns the rejection if it proves one resource guilty."""
        self.node = message.node.id or self.node
        rejection = self._dialect.receive(message)
        if rejection is not None and rejection.kind in _TRIED_AGAIN:
            self._retries.refused((rejection.kind, rejection.name, rejection.version), now)
        return rejection

    def advance(self, now: float) -> tuple[list[Any], list[Push]]:
        """Responses to send now, and those that the client is not waited for any longer."""
        overtaken: list[Push] = []
        clusters = self.session.watches[CLUSTERS]
        if (push := clusters.unanswered) is not None and now >= self._deadline(clusters):
            clusters.overtake()
            overtaken.append(push)
        for kind, name, _ in self._retries.take(now):
            self.session.watches[kind].retry(name)
        self.session.now = now
        responses = self._dialect.responses()
        self._sent_at = {w.last_nonce: self._sent_at.get(w.last_nonce, now) for w in self._unanswered()}
        return responses, overtaken

    def idle_until(self) -> float | None:
        """When advance() is due although nothing arrived; None = not before something does."""
        clusters = self.session.watches[CLUSTERS]
        patience = self._deadline(clusters) if clusters.unanswered is not None else None
        times = (patience, self._retries.next_due(), self.session.next_due())
        return min((time for time in times if time is not None), default=None)

    def _unanswered(self) -> list[Watch]:
        return [watch for watch in self.session.watches.values() if watch.unanswered is not None]

    def _deadline(self, watch: Watch) -> float:
        patience = min(self._patience, SPENT_PATIENCE_SECONDS) if watch.late else self._patience
        return self._sent_at.get(watch.last_nonce, 0.0) + patience
