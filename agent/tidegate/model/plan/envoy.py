"""xDS resources as the compiler makes them: proto-JSON with the objects that they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.model.origin import Origin

# How filter chains of a pod's listener are called that carry connections to a service port without looking into them.
FORWARD = "forward|"
# How clusters are called that lead from a listener in front of a pod to the pod itself: inbound|PORT||COOKIE. Without
# the cookie they are somebody else's Envoy's.
INBOUND = "inbound|"
# Short names used as keys of Plan.envoy and in `tidegate compile`.
LISTENERS = "listeners"
ROUTES = "routes"
SCOPES = "scopes"
# Route configurations that serve nobody: a client is shown each once, so that it can say what is wrong with a rule
# before the rule gets among those of others. REFUSED: how the names of those end that were refused and serve nowhere.
CHECKS = "checks"
REFUSED = "|refused"
CLUSTERS = "clusters"
ENDPOINTS = "endpoints"
SECRETS = "secrets"
TYPE_URLS: Mapping[str, str] = {
    LISTENERS: "type.googleapis.com/envoy.config.listener.v3.Listener",
    SCOPES: "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
    ROUTES: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    CLUSTERS: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    ENDPOINTS: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    SECRETS: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}


@dataclass(frozen=True, slots=True, order=True)
class ResourceRef:
    """A resource by which another one cannot be served: its kind, one of the names above, and its name."""

    kind: str
    name: str


# In place of a name: all resources of the kind. A listener refers to its scopes so.
EVERY = "*"


@dataclass(frozen=True, slots=True)
class EnvoyResource:
    """One xDS resource as proto-JSON, with what it needs and the objects that it was made from.

    Nobody changes a body once it is made: bodies share parts, and are compared by identity first.
    """

    name: str
    body: Mapping[str, Any]  # without @type
    origins: tuple[Origin, ...] = ()
    refs: frozenset[ResourceRef] = frozenset()
    judged: object = field(default=None, repr=False, compare=False)  # of a check: what a verdict on it is about
    wrong: str = ""  # why it could not be made as it should be: it is reported, and never sent
    # What serves in its place if it is refused and nothing of that name was ever good; of no interest otherwise.
    plain: Callable[[], EnvoyResource] | None = field(default=None, repr=False, compare=False)

    def needs(self, kind: str) -> list[str]:
        """Names of one kind that it refers to, in order."""
        return sorted(ref.name for ref in self.refs if ref.kind == kind)


ResourcesByName = Mapping[str, EnvoyResource]
Resources = Mapping[str, ResourcesByName]  # by kind, as Plan.envoy


class MadeOnDemand(Mapping[str, EnvoyResource]):
    """Resources that are made when somebody asks for them by name: what nobody on the node uses is never made, and a
    client gets only what others lead it to.

    make: the resource of a name, None if there is none; names: all of them, for those who want to see everything. Both
    are asked at most once for the same.
    """

    __slots__ = ("_made", "_make", "_names")

    def __init__(
        self, make: Callable[[str], EnvoyResource | None], names: Callable[[], Iterable[str]] = lambda: ()
    ) -> None:
        self._make = make
        self._names: Callable[[], Iterable[str]] | tuple[str, ...] = names
        self._made: dict[str, EnvoyResource | None] = {}

    def listing(self, names: Callable[[], Iterable[str]]) -> MadeOnDemand:
        """The same resources, those made already among them, with other names for who wants to see everything."""
        other = MadeOnDemand(self._make, names)
        other._made = self._made
        return other

    def __getitem__(self, name: str) -> EnvoyResource:
        if name not in self._made:
            self._made[name] = self._make(name)
        found = self._made[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        if callable(self._names):
            self._names = tuple(name for name in sorted(set(self._names())) if name in self)
        return iter(self._names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]  # as any mapping that compares by content


def overlaid(below: Mapping[str, EnvoyResource], above: Mapping[str, EnvoyResource]) -> Mapping[str, EnvoyResource]:
    """Resources of both; of equal names those above. Made on demand if any of them are."""
    if isinstance(below, MadeOnDemand) or isinstance(above, MadeOnDemand):
        return MadeOnDemand(lambda name: above.get(name) or below.get(name), lambda: (*below, *above))
    return {**below, **above}
