"""One client: what it subscribed to, and in which order it learns of a change. Pure.

Make before break: listeners and routes wait until the client confirmed every cluster and endpoint; a cluster goes only
when nothing that the client still holds mentions it. Nothing is sent before the first image.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from tidegate.xds.encode import KINDS, Encoded, Image, Rejection
from tidegate.xds.watch import Push, Watch


@dataclass(frozen=True, slots=True)
class Request:
    """What a client says about one type, in either dialect."""

    kind: str
    nonce: str = ""  # "" = not an answer
    error: str | None = None  # text of a refusal
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    subscribe_all: bool = False
    unsubscribe_all: bool = False
    known: Mapping[str, str] = field(default_factory=dict)  # name -> version, from before a reconnect


class Session:
    """State of one stream. good: last accepted content by (kind, name), shared by all streams of the server."""

    def __init__(self, good: MutableMapping[tuple[str, str], Encoded]) -> None:
        self.watches = {kind: Watch(kind, good) for kind in KINDS}
        self.image: Image | None = None
        self._sent = 0

    def publish(self, image: Image) -> None:
        """Replace what the client should have."""
        self.image = image
        for kind, watch in self.watches.items():
            watch.retarget(image.of(kind))

    def receive(self, request: Request) -> Rejection | None:
        """Take in one message; returns the rejection if it proves one resource guilty."""
        watch = self.watches[request.kind]
        rejection = self._answer(watch, request) if request.nonce else None
        if request.unsubscribe or request.unsubscribe_all:
            watch.unsubscribe(request.unsubscribe, wildcard=request.unsubscribe_all)
        if request.subscribe or request.subscribe_all or request.known:
            watch.subscribe(request.subscribe, wildcard=request.subscribe_all, known=request.known)
        return rejection

    def pushes(self) -> list[Push]:
        """Responses that may go out now, in the order in which they must be sent."""
        if self.image is None:
            return []
        out: list[Push] = []
        for kind, watch in self.watches.items():
            if not watch.subscribed or watch.unanswered is not None:
                continue
            if kind in (LISTENERS, ROUTES) and not self._upstreams_ready():
                continue
            remove = self._unused_clusters() if kind == CLUSTERS else watch.surplus()
            push = watch.push(f"{kind}-{self._sent + 1}", self.image.generation, remove)
            if push is not None:
                self._sent += 1
                out.append(push)
                self._repeat_awaited(push)
        return out

    @property
    def applied(self) -> int:
        """The published generation once the client confirmed or refused each part of it, else 0.

        Clusters that linger because a draining listener still uses them do not count.
        """
        done = self.image is not None and self._upstreams_ready() and self._users_settled()
        return self.image.generation if done and self.image is not None else 0

    def waiting(self) -> frozenset[str]:
        """Listeners that the client neither has as they are published, with all that they wait for, nor refused."""
        listeners, routes = self.watches[LISTENERS], self.watches[ROUTES]
        return frozenset(
            name
            for name, wanted in listeners.target.items()
            if (name, wanted.version) not in listeners.rejected
            and not (
                name in listeners.held
                and listeners.held[name].version == wanted.version
                and all(routes.settled(awaited) for awaited in wanted.awaits)
            )
        )

    def _answer(self, watch: Watch, request: Request) -> Rejection | None:
        # A nonce that is not open any more is about an older response: what was sent since supersedes it.
        if request.error is not None:
            return watch.refuse(request.nonce, request.error)
        watch.accept(request.nonce)
        return None

    def _repeat_awaited(self, push: Push) -> None:
        # Envoy warms a changed cluster anew, does not ask for its endpoints again, and confirms the cluster only once
        # it is warm: both would wait for each other for ever (envoy#13009).
        if push.kind == CLUSTERS:
            self.watches[ENDPOINTS].repeat(name for encoded in push.put for name in encoded.awaits)

    def _upstreams_ready(self) -> bool:
        clusters = self.watches[CLUSTERS]
        return not clusters.subscribed or self._complete(clusters, self.watches[ENDPOINTS])

    def _users_settled(self) -> bool:
        listeners = self.watches[LISTENERS]
        return listeners.subscribed and not listeners.surplus() and self._complete(listeners, self.watches[ROUTES])

    @staticmethod
    def _complete(owners: Watch, awaited: Watch) -> bool:
        if owners.busy or awaited.busy:
            return False
        return all(
            awaited.settled(name) for held in owners.held.values() if held.encoded for name in held.encoded.awaits
        )

    def _unused_clusters(self) -> list[str]:
        surplus = self.watches[CLUSTERS].surplus()
        if not surplus or not self._users_settled():
            return []
        # Last good content of something refused, and routes of listeners that still drain.
        old = [
            held
            for watch in (self.watches[LISTENERS], self.watches[ROUTES])
            for name, held in watch.held.items()
            if name not in watch.target or watch.target[name].version != held.version
        ]
        return [name for name in surplus if not any(held.mentions(name) for held in old)]
