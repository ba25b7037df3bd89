"""One client: what it subscribed to, and in which order it learns of a change. Pure.

Make before break: listeners and routes wait until the client confirmed every cluster and endpoint; a cluster goes only
when nothing that the client still holds refers to it. Nothing is sent before the first image.

Of kinds that are made on demand a client gets what it asks for by name and what that leads to: it asks for the routes
of a scope when the first request comes, and their clusters follow from that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tidegate.model.plan.envoy import (
    CLUSTERS,
    ENDPOINTS,
    EVERY,
    INBOUND,
    LISTENERS,
    ROUTES,
    SCOPES,
    SECRETS,
    ResourceRef,
)
from tidegate.model.verdict import Verdict
from tidegate.xds.checks import CHECK, Checks
from tidegate.xds.encode import AWAITS, KINDS, Encoded, Image, Rejection, empty, referred
from tidegate.xds.patch_checks import PatchChecks
from tidegate.xds.watch import Push, Watch

# How long a scope stays after its service went: connections that were kept open are served as before until then. Long,
# because a client cannot be asked to connect anew, and cheap, because only what is in use stays in more than name.
LINGER_SECONDS = 600.0
# How long the clusters of a listener in front of a pod stay after it went: it answers once more on each connection that
# it had, and ends what is left when it has drained (envoy/supervisor.py, 45 s).
INBOUND_SECONDS = 60.0
# How long users of clusters wait until a client with a stream for each type has asked for the clusters' endpoints. It
# confirms a cluster before it is warm, and answers 503 for one that is not; who never asks is not waited for.
ENDPOINTS_SECONDS = 5.0
# What leads to resources of a kind; what leads stands before what it leads to.
_LEADING: Mapping[str, tuple[str, ...]] = {
    SECRETS: (),
    LISTENERS: (),
    SCOPES: (),
    ROUTES: (LISTENERS,),
    CLUSTERS: (LISTENERS, ROUTES),
    ENDPOINTS: (CLUSTERS,),
}
# What a client needs more or less of when it asks for more or less of a kind.
_FOLLOWING = {
    LISTENERS: (LISTENERS, ROUTES, CLUSTERS, ENDPOINTS),
    ROUTES: (ROUTES, CLUSTERS, ENDPOINTS),
    CLUSTERS: (CLUSTERS, ENDPOINTS),
    ENDPOINTS: (ENDPOINTS,),
}
_ALL_SCOPES = ResourceRef(SCOPES, EVERY)


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
    """State of one stream. good: last accepted content by (kind, name), shared by all streams of equal clients.

    kinds: what the stream is about; all, unless the client has one stream for each. Then peers are the sessions of all
    its streams, and the order holds across them.
    """

    def __init__(
        self,
        good: MutableMapping[tuple[str, str], Encoded],
        kinds: Collection[str] = KINDS,
        peers: Sequence[Session] = (),
        repeating: Collection[str] = (CLUSTERS,),
    ) -> None:
        """repeating: kinds of which a change makes the client wait anew for what it names."""
        self._kinds = kinds
        self._peers = peers
        self._repeating = repeating
        self.watches = {kind: Watch(kind, good) for kind in KINDS}
        for kind, watch in self.watches.items():
            watch.plain = partial(self._plain, kind)
        self.image: Image | None = None
        self.now = 0.0  # monotonic seconds, set by whoever asks for pushes
        self._checks = Checks()
        self._patches = PatchChecks()
        self._gone: dict[str, float] = {}  # scopes that no service has, and since when
        self._left: dict[str, float] = {}  # clusters that inbound listeners had, likewise
        self._sent = 0
        self._cold_since: float | None = None  # clusters of peers lack endpoints
        # By kind, what the client should have: what was asked for, what it was made of, and it.
        self._targets: dict[str, tuple[tuple[object, ...], tuple[object, ...], Mapping[str, Encoded]]] = {}

    def publish(self, image: Image) -> None:
        """Replace what the client should have. Costs what is not the very same as before."""
        for kind in KINDS:
            if not image.same(self.image, kind):
                self._targets.pop(kind, None)
        self.image = image
        self._checks.want(image)
        for kind in _LEADING:
            if kind in self._kinds:
                self._retarget(image, kind)

    def _plain(self, kind: str, name: str) -> Encoded | None:
        return self.image.plain(kind, name) if self.image else None

    def _retarget(self, image: Image, kind: str) -> None:
        """Set what the client should have of a kind, after the kinds that lead to it."""
        shown = self._checks.scopes() if kind == SCOPES else {}
        leading = [self.watches[leads].target for leads in _LEADING[kind]]
        owners = [self.watches[owner].target for owner, awaited in AWAITS.items() if awaited == kind]
        names = self.watches[kind].names if image.on_demand(kind) else ()
        asked, made_of = (frozenset(names), frozenset(shown)), (*leading, *owners)
        known = self._targets.get(kind)
        if known is None or known[0] != asked or not all(a is b for a, b in zip(known[1], made_of, strict=True)):
            known = self._targets[kind] = (asked, made_of, self._target(image, kind, leading, owners, shown))
        if kind == ROUTES and image.on_demand(kind):
            self._hold_back_doubtful(known[2])
        self.watches[kind].retarget(known[2])

    def _target(
        self,
        image: Image,
        kind: str,
        leading: Sequence[Mapping[str, Encoded]],
        owners: Sequence[Mapping[str, Encoded]],
        shown: Mapping[str, Encoded],
    ) -> Mapping[str, Encoded]:
        if image.on_demand(kind):
            wanted = set(self.watches[kind].names)
            for target in leading:
                wanted |= referred(target.values(), kind)
            found = ((name, image.get(kind, name)) for name in sorted(wanted))
            out: Mapping[str, Encoded] = {name: encoded for name, encoded in found if encoded is not None}
        else:
            out = image.all(kind)
        awaited = {name for owner in owners for name in referred(owner.values(), kind)} - out.keys() if owners else ()
        empties = {name: empty(kind, name) for name in awaited}
        return {**out, **shown, **empties} if shown or empties else out

    def _hold_back_doubtful(self, target: Mapping[str, Encoded]) -> None:
        """Tables wait for the verdict on each rule in them; for a scope that waits for its table the client waits.

        A table that the client has already, and that alone has the rule in it, does not: if it is refused the client
        keeps what it has, and nobody else is concerned.
        """
        watch, refused, unjudged = self.watches[ROUTES], self._checks.refused(), self._checks.unjudged()
        if not refused and not unjudged:
            watch.hold_back(frozenset())
            return
        tables = {name: encoded for name, encoded in target.items() if not name.startswith(CHECK)}
        rules = {name: {origin.object for origin in encoded.origins} for name, encoded in tables.items()}
        users = Counter(rule for those in rules.values() for rule in unjudged & those)
        watch.hold_back(
            frozenset(
                name
                for name, those in rules.items()
                if not refused.isdisjoint(those)
                or any(rule in users and (users[rule] > 1 or name not in watch.held) for rule in those)
            )
        )

    def take_verdicts(self) -> list[Verdict]:
        """What the client said of rules since this was called last."""
        return [*self._checks.take_verdicts(), *self._patches.take_verdicts(self.image, self.watches)]

    def receive(self, request: Request) -> Rejection | None:
        """Take in one message; returns the rejection if it proves one resource guilty."""
        watch = self.watches[request.kind]
        rejection = self._answer(watch, request) if request.nonce else None
        if request.unsubscribe or request.unsubscribe_all:
            watch.unsubscribe(request.unsubscribe, wildcard=request.unsubscribe_all)
        if request.subscribe or request.subscribe_all or request.known:
            watch.subscribe(request.subscribe, wildcard=request.subscribe_all, known=request.known)
        asked = request.subscribe or request.unsubscribe or request.known
        if asked and self.image is not None and request.kind in _FOLLOWING and self.image.on_demand(request.kind):
            for kind in _FOLLOWING[request.kind]:
                self._retarget(self.image, kind)
        return rejection

    def pushes(self) -> list[Push]:
        """Responses that may go out now, in the order in which they must be sent."""
        if self.image is None:
            return []
        if (
            self._asks_for_scopes()
            and self._upstreams_ready()
            and self._checks.advance(self.image, self.watches[ROUTES])
        ):
            for kind in (SCOPES, *_FOLLOWING[ROUTES]):
                self._retarget(self.image, kind)
        out: list[Push] = []
        for kind, watch in self.watches.items():
            if not watch.subscribed or watch.unanswered is not None:
                continue
            if kind in (LISTENERS, ROUTES) and not self._upstreams_ready():
                continue
            remove = self._surplus(watch)
            push = watch.push(f"{kind}-{self._sent + 1}", self.image.generation, remove)
            if push is not None:
                self._sent += 1
                out.append(push)
                self._repeat_awaited(push)
        return out

    def _asks_for_scopes(self) -> bool:
        """Whether the client looks at scopes, and has those of addresses first; a gateway has none of those."""
        scopes = self.watches[SCOPES]
        return bool(scopes.held) or (scopes.subscribed and not scopes.target and not scopes.busy)

    @property
    def applied(self) -> int:
        """The published generation once the client confirmed or refused each part of it, else 0.

        Clusters that linger because a draining listener still uses them do not count, nor do scopes that linger.
        """
        done = self.image is not None and self._upstreams_ready() and self._users_settled()
        return self.image.generation if done and self.image is not None else 0

    def waiting(self) -> frozenset[str]:
        """Listeners that the client neither has as they are published, with all that they wait for, nor refused."""
        listeners, routes, scopes = self.watches[LISTENERS], self.watches[ROUTES], self.watches[SCOPES]
        # The first listener makes the client ask for scopes; each further scope is no reason to wait.
        scopeless = not scopes.subscribed or (bool(scopes.target) and not scopes.held)
        return frozenset(
            name
            for name, wanted in listeners.target.items()
            if (name, wanted.version) not in listeners.rejected
            and not (
                name in listeners.held
                and listeners.held[name].version == wanted.version
                and all(routes.settled(awaited) for awaited in wanted.awaits)
                and not (scopeless and _ALL_SCOPES in wanted.refs)
            )
        )

    def next_due(self) -> float | None:
        """Monotonic time at which a scope has lingered, or endpoints were awaited, long enough; None if none is."""
        cold = None if self._cold_since is None else self._cold_since + ENDPOINTS_SECONDS
        left = min(self._left.values()) + INBOUND_SECONDS if self._left else None
        times = [min(self._gone.values()) + LINGER_SECONDS if self._gone else None, cold, left]
        waits = (time for time in times if time is not None and (time not in (cold, left) or time > self.now))
        return min(waits, default=None)

    def _surplus(self, watch: Watch) -> list[str]:
        """What may be taken from the client now."""
        if watch.kind == CLUSTERS:
            return self._unused_clusters()
        surplus = watch.surplus()
        if watch.kind != SCOPES:
            return surplus
        checked = [name for name in surplus if name.startswith(CHECK)]
        self._gone = {name: self._gone.get(name, self.now) for name in surplus if not name.startswith(CHECK)}
        return checked + [name for name, since in self._gone.items() if self.now >= since + LINGER_SECONDS]

    def _answer(self, watch: Watch, request: Request) -> Rejection | None:
        # A nonce that is not open any more is about an older response: what was sent since supersedes it.
        if request.error is not None:
            return watch.refuse(request.nonce, request.error)
        watch.accept(request.nonce)
        return None

    def _repeat_awaited(self, push: Push) -> None:
        # Envoy warms a changed cluster anew, does not ask for its endpoints again, and confirms the cluster only once
        # it is warm: both would wait for each other for ever (envoy#13009).
        if push.kind in self._repeating:
            self.watches[AWAITS[push.kind]].repeat(name for encoded in push.put for name in encoded.awaits)

    def _upstreams_ready(self) -> bool:
        if any(peer.watches[kind].busy for peer in self._peers for kind in (CLUSTERS, ENDPOINTS)):
            return False
        if self._cold():
            return False
        clusters = self.watches[CLUSTERS]
        return not clusters.subscribed or len(self._kinds) == 1 or self._complete(clusters, self.watches[ENDPOINTS])

    def _cold(self) -> bool:
        """Whether clusters of the peers are still without endpoints that the client will ask for."""
        clusters = (h.encoded for peer in self._peers for h in peer.watches[CLUSTERS].held.values() if h.encoded)
        awaited = referred(clusters, ENDPOINTS)
        if awaited and awaited - {name for peer in self._peers for name in peer.watches[ENDPOINTS].held}:
            self._cold_since = self.now if self._cold_since is None else self._cold_since
            return self.now < self._cold_since + ENDPOINTS_SECONDS
        self._cold_since = None
        return False

    def _users_settled(self) -> bool:
        listeners = self.watches[LISTENERS]
        if not listeners.subscribed or listeners.surplus() or not self._complete(listeners, self.watches[ROUTES]):
            return False
        scopes = self.watches[SCOPES]
        needed = any(_ALL_SCOPES in encoded.refs for encoded in listeners.target.values())
        return not needed or (scopes.subscribed and not scopes.busy and not self._checks.busy)

    def withheld(self) -> list[Rejection]:
        """Refusals that keep published content from being in force, or would if somebody used it."""
        all_of_them = (rejection for watch in self.watches.values() for rejection in watch.withheld())
        found = list(all_of_them)
        used = [rejection for rejection in found if not rejection.name.startswith(CHECK)]
        known = {origin.object for rejection in used for origin in rejection.origins}
        used += [r for r in found if r.name.startswith(CHECK) and r.kind != ROUTES]
        alone = self._checks.withheld()
        return used + [one for one in alone if known.isdisjoint(origin.object for origin in one.origins)]

    @staticmethod
    def _complete(owners: Watch, awaited: Watch) -> bool:
        if owners.busy or awaited.busy:
            return False
        return all(
            awaited.settled(name) for held in owners.held.values() if held.encoded for name in held.encoded.awaits
        )

    def _unused_clusters(self) -> list[str]:
        surplus = self.watches[CLUSTERS].surplus()
        self._left = {name: since for name, since in self._left.items() if name in surplus}
        users = [s.watches[kind] for s in (self._peers or (self,)) for kind in (LISTENERS, ROUTES)]
        settled = not any(w.busy or w.surplus() for w in users) if self._peers else self._users_settled()
        if not surplus or not settled:
            return []
        # Last good content of something refused, and routes of listeners that still drain.
        old = [
            held
            for watch in users
            for name, held in watch.held.items()
            if name not in watch.target or watch.target[name].version != held.version
        ]
        refs = {name: ResourceRef(CLUSTERS, name) for name in surplus}
        unused = [name for name, ref in refs.items() if not any(held.refers_to(ref) for held in old)]
        for name in unused:
            if name.startswith(INBOUND) and not name.endswith("|"):
                self._left.setdefault(name, self.now)
        return [
            name for name in unused if self.now >= self._left.get(name, self.now - INBOUND_SECONDS) + INBOUND_SECONDS
        ]
