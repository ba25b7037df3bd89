"""Rules that nobody uses yet, shown to a client once, so that it can say what is wrong with them. Pure.

A client that is made to fetch a route configuration judges it. So each is put under a scope of its own, which no
address has and which is fetched at once, and taken away when the client has answered. Few at a time: what is shown
takes memory.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from tidegate.model.plan.envoy import ROUTES, EnvoyResource, ResourceRef
from tidegate.xds.encode import Encoded, Image, Rejection, encode_scope
from tidegate.xds.watch import Watch

AT_A_TIME = 50
CHECK = "check|"  # how their names begin, and those of no address


class Checks:
    """What one client was shown, is shown and has still to be shown."""

    def __init__(self, before: MutableMapping[str, Image] | None = None) -> None:
        """before: by name of a check, the last image in which it was not refused; shared by all streams of a server."""
        self._before = {} if before is None else before
        self._image: Image | None = None
        self._judged: dict[str, tuple[EnvoyResource, Rejection | None]] = {}
        self._shown: dict[str, EnvoyResource] = {}
        self._wanted: Mapping[str, EnvoyResource] = {}
        self._due: dict[str, EnvoyResource] = {}

    @property
    def busy(self) -> bool:
        """Whether something was not judged yet."""
        return bool(self._shown or self._due)

    def withheld(self) -> list[Rejection]:
        """What the client said against rules that are still published."""
        return [rejection for _, rejection in self._judged.values() if rejection is not None]

    def instead(self, encoded: Encoded) -> Encoded:
        """Routes, or if a rule of theirs was refused what they were before it was so."""
        for _, rejection in self._judged.values():
            if rejection is not None and not set(rejection.origins).isdisjoint(encoded.origins):
                before = self._before.get(rejection.name)
                return (before.get(ROUTES, encoded.name) if before else None) or encoded
        return encoded

    def scopes(self) -> dict[str, Encoded]:
        """What to show now."""
        return {name: _scope(name) for name in self._shown}

    def want(self, image: Image) -> None:
        """Set what has to be shown; what is the same object as before was judged already."""
        last, self._image = self._image, image
        if image.checks is self._wanted:
            return
        changed = (n for n, r in image.checks.items() if self._wanted.get(n) is not r)
        if last is not None:
            for name in changed:
                self._before.setdefault(name, last)
        for name in [n for n in self._before if n not in image.checks]:
            del self._before[name]
        self._wanted = image.checks
        self._judged = {n: known for n, known in self._judged.items() if self._wanted.get(n) is known[0]}
        self._shown = {n: shown for n, shown in self._shown.items() if self._wanted.get(n) is shown}
        self._due = {n: r for n, r in self._wanted.items() if n not in self._judged and n not in self._shown}

    def advance(self, image: Image, routes: Watch) -> bool:
        """Take in what the client answered and show it the next ones; whether scopes() became something else."""
        answered = False
        for name, resource in list(self._shown.items()):
            encoded = image.get(ROUTES, name)
            held = routes.held.get(name)
            rejection = routes.rejected.get((name, encoded.version)) if encoded else None
            if encoded is None or rejection or (held is not None and held.version == encoded.version):
                self._judged[name] = (resource, rejection)
                if rejection is None:
                    self._before.pop(name, None)
                del self._shown[name]
                answered = True
        more = list(self._due)[: AT_A_TIME - len(self._shown)]
        for name in more:
            self._shown[name] = self._due.pop(name)
        return answered or bool(more)


def _scope(name: str) -> Encoded:
    body = {
        "name": name,
        "on_demand": False,
        "route_configuration_name": name,
        "key": {"fragments": [{"string_key": name}]},
    }
    return encode_scope(EnvoyResource(name, body, (), frozenset({ResourceRef(ROUTES, name)})))
