"""Who is looked for by whom: what lets a change check again only those whom it concerns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidegate.model.hosts import host_matches
from tidegate.model.mesh import MeshObject
from tidegate.model.names import ObjectKey

Topic = tuple[str, str]  # what is looked for ("service", "subsets", ...), host name; a provider's may start with "*"


class Links:
    """Which object provides which topics, and who looks at them. No I/O."""

    def __init__(self) -> None:
        self._providers: dict[str, dict[str, dict[ObjectKey, MeshObject]]] = {}  # what -> host -> who
        self._patterns: dict[str, set[str]] = {}  # hosts of those that start with "*"
        self._lookers: dict[str, dict[str, set[ObjectKey]]] = {}
        self._looking_wide: dict[str, set[str]] = {}  # hosts of lookers that start with "*"

    def provide(self, key: ObjectKey, topics: Iterable[Topic], value: MeshObject | None) -> set[ObjectKey]:
        """Say what an object provides now (None: no longer). Returns who has to be checked again."""
        concerned: set[ObjectKey] = set()
        for what, host in topics:
            hosts = self._providers.setdefault(what, {})
            was_empty = not hosts
            if value is not None:
                hosts.setdefault(host, {})[key] = value
            elif host in hosts:
                hosts[host].pop(key, None)
                if not hosts[host]:
                    del hosts[host]
            if host.startswith("*"):
                patterns = self._patterns.setdefault(what, set())
                (patterns.add if host in hosts else patterns.discard)(host)
            concerned |= self._looking(what, "*" if was_empty != (not hosts) else host)
        return concerned

    def look(self, key: ObjectKey, topics: Iterable[Topic], *, looking: bool) -> None:
        """Say at which topics an object looks, or looks no longer."""
        for what, host in topics:
            lookers = self._lookers.setdefault(what, {}).setdefault(host, set())
            (lookers.add if looking else lookers.discard)(key)
            if not lookers:
                del self._lookers[what][host]
            if host.startswith("*"):
                wide = self._looking_wide.setdefault(what, set())
                (wide.add if lookers else wide.discard)(host)

    def of(self, what: str, host: str) -> Iterator[MeshObject]:
        """Who provides a topic by exactly this name."""
        yield from self._providers.get(what, {}).get(host, {}).values()

    def covering(self, what: str, host: str) -> Iterator[MeshObject]:
        """Who provides a topic by this name or by a pattern that fits it."""
        yield from self.of(what, host)
        for pattern in self._patterns.get(what, ()):
            if host_matches(pattern, host):
                yield from self.of(what, pattern)

    def under(self, what: str, pattern: str) -> Iterator[MeshObject]:
        """Who provides a topic by a name that fits this one, which may start with "*"."""
        if not pattern.startswith("*"):
            yield from self.of(what, pattern)
            return
        for host, providers in self._providers.get(what, {}).items():
            if host_matches(pattern, host):
                yield from providers.values()

    def any(self, what: str) -> bool:
        """Whether there is any provider of that sort."""
        return bool(self._providers.get(what))

    def _looking(self, what: str, host: str) -> set[ObjectKey]:
        lookers = self._lookers.get(what, {})
        if not host.startswith("*"):
            wide = (lookers[pattern] for pattern in self._looking_wide.get(what, ()) if host_matches(pattern, host))
            return lookers.get(host, set()).union(*wide)
        return {key for name, keys in lookers.items() if host_matches(host, name) for key in keys}
