"""What one client knows of one type of resource, and what it must be told next. Pure.

Names of a refused response are tried again in ever smaller groups until the guilty resource stands alone; that version
of it is then withheld and everything else is in force, since one odd pod must not hold up the others.
Invariant: at most one response of a type is unanswered, so an answer always says which resources it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field

from tidegate.model.identity import is_of_the_mesh
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SCOPES, SECRETS, ResourceRef
from tidegate.xds.again import in_other_words
from tidegate.xds.encode import EMPTY_VERSION, Encoded, Rejection, empty

# A client waits for every route and endpoint name that it asked for; nothing else may be made up for it.
ANSWERED_EMPTY = frozenset({ENDPOINTS, ROUTES})
# Other types end when the client stops asking for them: absence is not deletion.
REMOVED_BY_SERVER = frozenset({CLUSTERS, LISTENERS, SCOPES})


@dataclass(frozen=True, slots=True, eq=False)
class Acknowledged:
    """A resource that the client confirmed. encoded is None if it is from an earlier life of this agent."""

    version: str
    encoded: Encoded | None

    def refers_to(self, ref: ResourceRef) -> bool:
        """Whether it may need what ref names; unknown content may."""
        return self.encoded is None or ref in self.encoded.refs


@dataclass(frozen=True, slots=True, eq=False)
class Push:
    """One response: what changes."""

    kind: str
    nonce: str
    generation: int
    put: tuple[Encoded, ...]
    remove: tuple[str, ...]
    repeated: frozenset[str] = frozenset()  # names that the client waits for, whether they changed or not


@dataclass(slots=True, eq=False)
class Watch:
    """State of one type on one stream."""

    kind: str
    good: MutableMapping[tuple[str, str], Encoded]  # last accepted content by (kind, name), outlives the stream
    target: Mapping[str, Encoded] = field(default_factory=dict)
    subscribed: bool = False
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    held: dict[str, Acknowledged] = field(default_factory=dict)
    unanswered: Push | None = None
    late: dict[str, Push] = field(default_factory=dict)  # by nonce: given up waiting for, may still be answered
    last_nonce: str = ""
    rejected: dict[tuple[str, str], Rejection] = field(default_factory=dict)  # by (name, version)
    refusals: dict[str, int] = field(default_factory=dict)  # of responses with a name, since one was confirmed
    held_back: frozenset[str] = frozenset()  # names that have to wait, see hold_back()
    plain: Callable[[str], Encoded | None] = lambda _: None  # what serves in place of what was refused and never good
    _plain: dict[str, Encoded | None] = field(default_factory=dict)  # found so, as long as the same is refused
    # Names that may have to be sent; all others are known not to, so that nothing walks over everything.
    _open: dict[str, None] = field(default_factory=dict)
    _surplus: list[str] | None = None  # None: to be found again
    _due: set[str] = field(default_factory=set)  # to be answered although nothing changed
    _greet: bool = False
    _undo: set[str] = field(default_factory=set)  # refused, to be overwritten with what was good
    _suspects: list[set[str]] = field(default_factory=list)

    # --- what the client says -----------------------------------------------------------------------------------
    def subscribe(
        self, names: Iterable[str], *, wildcard: bool = False, known: Mapping[str, str] | None = None
    ) -> None:
        """Add names (and all names, if wildcard). known: versions that the client brought along from before."""
        self.subscribed = True
        # A client that asked for everything waits for an answer, also when there is nothing.
        self._greet |= wildcard and not self.wildcard and not known
        if wildcard and not self.wildcard:
            self._reconsider(self.target)
        self.wildcard |= wildcard
        names = set(names)
        self.names |= names
        for name, version in (known or {}).items():
            self.held[name] = Acknowledged(version, self._content(name, version))
        self._due |= {name for name in names if name not in (known or {})}
        self._reconsider(names)
        self._reconsider(known or ())

    def unsubscribe(self, names: Iterable[str], *, wildcard: bool = False) -> None:
        """Forget names. A name that the wildcard still covers is sent again, since the client dropped it."""
        if wildcard:
            self.wildcard = False
        for name in names:
            self.names.discard(name)
            self._due.discard(name)
            self.held.pop(name, None)
            self._reconsider((name,))
        if not self.wildcard:
            self.held = {name: held for name, held in self.held.items() if name in self.names}
            self._surplus = None

    def repeat(self, names: Iterable[str]) -> None:
        """Answer names again although nothing changed: whatever waits for them started anew in the client."""
        again = self.names.intersection(names)
        self._due |= again
        self._reconsider(again)

    def accept(self, nonce: str) -> None:
        """The client confirmed a response."""
        overtaken = nonce in self.late
        push = self._answered(nonce)
        if push is None:
            return
        if not overtaken:
            self._hold(push)
        for encoded in push.put:
            self.refusals.pop(encoded.name, None)
            if encoded.version != EMPTY_VERSION:
                self.good[self.kind, encoded.name] = encoded

    def refuse(self, nonce: str, detail: str) -> Rejection | None:
        """The client refused a response. Returns the rejection if that proves one resource guilty."""
        overtaken = nonce in self.late
        push = self._answered(nonce)
        if push is None:
            return None
        self._due |= {name for name in push.repeated if self.covers(name)}
        self._reconsider((*push.repeated, *(encoded.name for encoded in push.put)))
        for encoded in push.put:
            self.refusals[encoded.name] = self.refusals.get(encoded.name, 0) + 1
            held = self.held.get(encoded.name)
            if overtaken and held is not None and held.version == encoded.version:
                self.held[encoded.name] = Acknowledged("", None)  # taken for granted, wrongly
        if not push.put:
            # A removal can only be refused by a client that is beyond help; asking again would go on for ever.
            self._hold(push)
            return None
        if self.kind == CLUSTERS:
            # Envoy keeps a half-made cluster of what it refused, takes the same content for known when it comes again,
            # and confirms no cluster while that one does not get warm. So the good content comes first.
            self._undo |= {encoded.name for encoded in push.put}
        if len(push.put) == 1:
            guilty = push.put[0]
            rejection = Rejection(self.kind, guilty.name, guilty.version, readable(detail), guilty.origins)
            self.rejected[guilty.name, guilty.version] = rejection
            self._drop_suspect(guilty.name)
            return rejection
        names = {encoded.name for encoded in push.put}
        for name in names:
            self._drop_suspect(name)
        self._suspects[:0] = split(sorted(names), detail)
        return None

    def overtake(self) -> None:
        """Stop waiting for an answer and go on as if it had been a confirmation.

        Envoy confirms clusters only once every cluster is warm, and one that never gets warm must not hold up others.
        """
        push, self.unanswered = self.unanswered, None
        if push is not None:
            self.late[push.nonce] = push
            self._hold(push)

    # --- what it must be told -----------------------------------------------------------------------------------
    def retarget(self, target: Mapping[str, Encoded]) -> None:
        """Set what the client should have. Rejections of content that is no longer wanted are forgotten."""
        before, self.target = self.target, target
        if target is not before:
            self.refusals = {name: count for name, count in self.refusals.items() if name in target}
            self._plain = {name: p for name, p in self._plain.items() if target.get(name) is before.get(name)}
            self._reconsider(name for name, encoded in target.items() if before.get(name) is not encoded)
            self._reconsider(before.keys() - target.keys())
        self._reconsider([name for name, _ in self.rejected])
        self.rejected = {
            (name, version): rejection
            for (name, version), rejection in self.rejected.items()
            if name in target and version in (target[name].version, self._good_version(name), self._plain_version(name))
        }

    def hold_back(self, names: frozenset[str]) -> None:
        """Send nothing of these names until this is called without them."""
        before, self.held_back = self.held_back, names
        self._reconsider(before - names)

    @property
    def busy(self) -> bool:
        """Whether the client does not have yet what it should have (refused content apart)."""
        return self.unanswered is not None or bool(self.pending()) or self._greet or bool(self._undo)

    def settled(self, name: str) -> bool:
        """Whether the client has name in its newest form, or refused it."""
        return name in self.held or any(refused == name for refused, _ in self.rejected)

    def covers(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def desired(self, name: str) -> Encoded | None:
        """The newest content of name that the client has not refused; None: leave it as it is."""
        for candidate in (self.target.get(name), self.good.get((self.kind, name)) if name in self.target else None):
            if candidate is not None and (name, candidate.version) not in self.rejected:
                return candidate
        held = self.held.get(name)
        if held is not None:
            return held.encoded
        if (plain := self._instead(name)) is not None:
            return plain
        return empty(self.kind, name) if self.kind in ANSWERED_EMPTY and name in self.names else None

    def _instead(self, name: str) -> Encoded | None:
        if name not in self.target:
            return None
        if name not in self._plain:
            self._plain[name] = self.plain(name)
        found = self._plain[name]
        return found if found is not None and (name, found.version) not in self.rejected else None

    def pending(self) -> list[Encoded]:
        """What has to be sent: new, changed, or asked for again."""
        out: list[Encoded] = []
        still: dict[str, None] = {}
        for name in self._open:
            if name in self.held_back:
                still[name] = None
                continue
            encoded = self.desired(name) if self.covers(name) else None
            if encoded is None or (name, encoded.version) in self.rejected:
                continue
            held = self.held.get(name)
            if held is None or held.version != encoded.version or name in self._due:
                out.append(encoded)
                still[name] = None
        self._open = still
        return out

    def _reconsider(self, names: Iterable[str]) -> None:
        """What must be known of these names may have changed."""
        if concerned := dict.fromkeys(names):
            self._open.update(concerned)
            self._surplus = None

    def unknown(self) -> list[str]:
        """Names asked for that do not exist; the client is told so once. Certificates of the mesh come as soon as they
        are issued, and whoever was told that there is none would not wait for one."""
        comes = is_of_the_mesh if self.kind == SECRETS else lambda _: False
        return sorted(n for n in self._due if n not in self.held and self.desired(n) is None and not comes(n))

    def surplus(self) -> list[str]:
        """Names that the client has and should not have."""
        if self._surplus is None:
            self._surplus = sorted(self.held.keys() - self.target.keys()) if self.kind in REMOVED_BY_SERVER else []
        return self._surplus

    def push(self, nonce: str, generation: int, remove: Iterable[str]) -> Push | None:
        """Build the next response and wait for its answer; None if there is nothing to say."""
        assert self.unanswered is None, "one response of a type at a time"
        gone = tuple(dict.fromkeys([*remove, *self.unknown()]))
        # Envoy hands the socket of a listener that goes to one with the same address that comes in the same response,
        # also if the netns behind that path is another one by now.
        alone = bool(gone) and self.kind == LISTENERS
        if self._undo:
            put, new = self._undone()
            gone = tuple(dict.fromkeys([*gone, *new]))
        else:
            put = [] if alone else self._next_group(self.pending())
        if not put and not gone and not self._greet:
            return None
        self._greet = False
        said = {encoded.name for encoded in put} | set(gone)
        repeated = frozenset(self._due & said)
        self._due -= said
        offered = tuple(in_other_words(encoded, self.refusals.get(encoded.name, 0)) for encoded in put)
        self.unanswered = Push(self.kind, nonce, generation, offered, gone, repeated)
        self.last_nonce = nonce
        return self.unanswered

    def world(self, push: Push) -> list[Encoded]:
        """All that the client has once it takes the push, for a client that wants the state of the world."""
        world = {name: held.encoded for name, held in self.held.items() if held.encoded and name not in push.remove}
        world |= {encoded.name: encoded for encoded in push.put}
        return list(world.values())

    def retry(self, name: str) -> None:
        """Forget that content of this name was refused, so that it is tried again."""
        self._reconsider((name,))
        self.rejected = {key: rejection for key, rejection in self.rejected.items() if key[0] != name}

    def withheld(self) -> list[Rejection]:
        """Rejections that keep published content from being in force."""
        return [
            rejection
            for (name, version), rejection in sorted(self.rejected.items())
            if name in self.target and self.target[name].version == version
        ]

    # ------------------------------------------------------------------------------------------------------------
    def _answered(self, nonce: str) -> Push | None:
        if self.unanswered is not None and self.unanswered.nonce == nonce:
            push, self.unanswered = self.unanswered, None
            return push
        return self.late.pop(nonce, None)

    def _hold(self, push: Push) -> None:
        self._surplus = None
        for encoded in push.put:
            if self.covers(encoded.name):
                self.held[encoded.name] = Acknowledged(encoded.version, encoded)
        for name in push.remove:
            self.held.pop(name, None)

    def _undone(self) -> tuple[list[Encoded], list[str]]:
        """What was good of everything refused, and the names of which nothing was."""
        names, self._undo = sorted(self._undo), set()
        known = [self.held[name].encoded for name in names if name in self.held]
        return [encoded for encoded in known if encoded is not None], [n for n in names if n not in self.held]

    def _next_group(self, pending: list[Encoded]) -> list[Encoded]:
        self._suspects = [group for group in self._suspects if group]
        suspects = set().union(*self._suspects)
        innocent = [encoded for encoded in pending if encoded.name not in suspects]
        if innocent:
            return innocent
        while self._suspects:
            group = self._suspects.pop(0)
            chosen = [encoded for encoded in pending if encoded.name in group]
            if chosen:
                return chosen
        return []

    def _drop_suspect(self, name: str) -> None:
        for group in self._suspects:
            group.discard(name)

    def _good_version(self, name: str) -> str:
        good = self.good.get((self.kind, name))
        return good.version if good else ""

    def _plain_version(self, name: str) -> str:
        found = self._plain.get(name)
        return found.version if found else ""

    def _content(self, name: str, version: str) -> Encoded | None:
        for candidate in (self.target.get(name), self.good.get((self.kind, name)), self._instead(name)):
            if candidate is not None and candidate.version == version:
                return candidate
        return None


def readable(detail: str) -> str:
    """A refusal in one line of at most 400 characters.

    For a violated constraint Envoy prints the whole resource first, which may hold keys and is of no use to people.
    """
    _, constraint, after = detail.rpartition("Proto constraint validation failed")
    # Of a chain of causes only the last says something.
    text = re.sub(r"[^(|]*: embedded message failed validation \| caused by ", "", constraint + after)
    return " ".join(text.split())[:400]


def split(names: list[str], detail: str) -> list[set[str]]:
    """Groups in which to try names again: those that the detail text names one by one, the others together.

    The text is only a hint (it may name an innocent one, or nobody), so nothing is concluded from it; without a hint
    the names are halved.
    """
    named = [name for name in names if re.search(rf"(?<![\w.|:@-]){re.escape(name)}(?![\w|@-]|\.\w)", detail)]
    others = [name for name in names if name not in named]
    if named and (others or len(named) > 1):
        return [group for group in [set(others), *({name} for name in named)] if group]
    half = len(names) // 2
    return [set(names[:half]), set(names[half:])]
