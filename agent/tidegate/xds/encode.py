"""Proto-JSON resources to the bytes that Envoy gets, when they are needed and once per content.

Invariant: a resource whose new body does not parse keeps its last good encoding and becomes a Rejection with the
objects that it was made from. Fed by AdsServer.publish; read by session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeGuard

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from tidegate.compile.envoy.prototypes import load_nested_types, message_class
from tidegate.errors import Rejected
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import (
    CHECKS,
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    SCOPES,
    SECRETS,
    TYPE_URLS,
    EnvoyResource,
    MadeOnDemand,
    ResourceRef,
)

# The order in which one change goes out: what is pointed at before what points at it.
KINDS = (CLUSTERS, ENDPOINTS, SECRETS, LISTENERS, SCOPES, ROUTES)
KIND_OF_URL: Mapping[str, str] = {url: kind for kind, url in TYPE_URLS.items()}
# What a client waits for by name before the resource that names it takes effect.
AWAITS: Mapping[str, str] = {CLUSTERS: ENDPOINTS, LISTENERS: ROUTES}

# Where else resources of a kind are found by name.
_BESIDE: Mapping[str, tuple[str, ...]] = {ROUTES: (CHECKS,)}

EMPTY_VERSION = "empty"


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One resource as it is sent. Equal content has an equal version, also in a later life of the agent."""

    kind: str
    name: str
    version: str
    data: bytes
    origins: tuple[Origin, ...] = ()
    refs: frozenset[ResourceRef] = frozenset()

    def needs(self, kind: str) -> list[str]:
        """Names of one kind that it refers to."""
        return [ref.name for ref in self.refs if ref.kind == kind]

    @property
    def awaits(self) -> list[str]:
        """Names of kind AWAITS[self.kind] that the client asks for because of it, and waits for."""
        return self.needs(AWAITS[self.kind]) if self.kind in AWAITS else []


@dataclass(frozen=True, slots=True)
class Rejection:
    """A resource that is not in force as published, and why."""

    kind: str
    name: str
    version: str
    detail: str
    origins: tuple[Origin, ...] = ()
    by: str = "envoy"  # or "tidegate": it did not parse and was never sent


@dataclass(slots=True)
class _Part:
    """What is known of the resources of one kind, shared by all images in a row that have the same ones."""

    found: dict[str, Encoded | None] = field(default_factory=dict)
    all: dict[str, Encoded] | None = None
    broken: dict[str, Rejection] = field(default_factory=dict)


class Image:
    """Everything that a client should have at one generation, encoded when it is asked for."""

    def __init__(
        self,
        generation: int,
        resources: Mapping[str, Mapping[str, EnvoyResource]],
        encoder: Encoder | None = None,
        before: Image | None = None,
    ) -> None:
        """before: the encoder's last image; what it found out about resources that are the same holds here, too."""
        self.generation = generation
        self._resources = resources
        self._encoder = encoder or Encoder()
        self._parts: dict[str, _Part] = {}
        for kind in KINDS:
            self._parts[kind] = before._parts[kind] if self.same(before, kind) else _Part()

    def same(self, before: Image | None, kind: str) -> TypeGuard[Image]:
        """Whether an image has the very same resources of a kind."""
        return before is not None and all(
            self._resources.get(table) is before._resources.get(table) for table in (kind, *_BESIDE.get(kind, ()))
        )

    @property
    def broken(self) -> tuple[Rejection, ...]:
        """What did not parse of all that was asked for so far."""
        return tuple(rejection for part in self._parts.values() for rejection in list(part.broken.values()))

    def rejection(self, kind: str, name: str) -> Rejection | None:
        """What is wrong with a resource that was asked for and did not parse."""
        return self._parts[kind].broken.get(name)

    def on_demand(self, kind: str) -> bool:
        """Whether a client gets of this kind only what others lead it to and what it asks for by name."""
        return isinstance(self._resources.get(kind), MadeOnDemand)

    def has(self, kind: str, name: str) -> bool:
        return self._find(kind, name) is not None

    @property
    def checks(self) -> Mapping[str, EnvoyResource]:
        """Route configurations that a client is only shown."""
        return self._resources.get(CHECKS, {})

    @cached_property
    def patch_checks(self) -> Mapping[tuple[str, str], EnvoyResource]:
        """Listeners and clusters that a client is only shown: a patch of an EnvoyFilter is judged by each."""
        shown: dict[tuple[str, str], EnvoyResource] = {}
        clusters = self._resources.get(CLUSTERS, {})
        for name, resource in self._resources.get(LISTENERS, {}).items():
            if resource.judged is not None:
                shown[LISTENERS, name] = resource
                shown |= {(CLUSTERS, c): clusters[c] for c in resource.needs(CLUSTERS) if c in clusters}
        return shown

    def _find(self, kind: str, name: str) -> EnvoyResource | None:
        # No service port is called like a check; and to find that out of what is made on demand, it would be made.
        shown = self.checks.get(name) if kind == ROUTES else None
        return self._resources.get(kind, {}).get(name) if shown is None else shown

    def get(self, kind: str, name: str) -> Encoded | None:
        """A resource; its last good content if it does not parse; None if there is neither."""
        part = self._parts[kind]
        if name not in part.found:
            resource = self._find(kind, name)
            encoded = None
            if resource is not None:
                encoded, rejection = self._encoder.encode(kind, name, resource)
                if rejection is not None:
                    part.broken[name] = rejection
            part.found[name] = encoded
        return part.found[name]

    def plain(self, kind: str, name: str) -> Encoded | None:
        """What serves in place of a resource that was refused and never was good."""
        resource = self._find(kind, name)
        return None if resource is None or resource.plain is None else encode_once(kind, resource.plain())

    def all(self, kind: str) -> dict[str, Encoded]:
        """Every resource of a kind; the same object as long as they are the same."""
        part = self._parts[kind]
        if part.all is None:
            part.all = self._encoder.table(kind, self._resources.get(kind, {}), part.broken)
        return part.all


def empty(kind: str, name: str) -> Encoded:
    """The answer for a route or endpoint name that nobody defined: without one the client would wait for ever."""
    message: Any = message_class(_full_name(kind))()
    setattr(message, _name_field(kind), name)
    return Encoded(kind, name, EMPTY_VERSION, message.SerializeToString(deterministic=True))


class Encoder:
    """Remembers what it encoded as long as it is published. Not thread-safe: one call at a time."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, tuple[EnvoyResource, Encoded | Rejection]]] = {kind: {} for kind in KINDS}
        self._good: dict[tuple[str, str], Encoded] = {}
        self._image: Image | None = None  # the newest
        self.parsed = 0  # how many bodies went through protobuf since the start

    def publish(self, generation: int, resources: Mapping[str, Mapping[str, EnvoyResource]]) -> Image:
        """The image of a generation, with all that is sent unasked and all that was asked for before encoded already.

        A broken resource never stops the others. Costs what is not the very same as before.
        """
        before = self._image
        image = self._image = Image(generation, resources, self, before)
        for kind, known in self._known.items():
            if image.same(before, kind):
                continue
            if not image.on_demand(kind):
                image.all(kind)
            for name in list(known):
                if image.on_demand(kind):
                    image.get(kind, name)  # what is used is made here, and not in the event loop
                if not image.has(kind, name):
                    del known[name]
                    self._good.pop((kind, name), None)
        return image

    def table(
        self, kind: str, resources: Mapping[str, EnvoyResource], broken: dict[str, Rejection]
    ) -> dict[str, Encoded]:
        """Every resource of a kind. Adds what is wrong to broken."""
        out: dict[str, Encoded] = {}
        for name, resource in resources.items():
            encoded, rejection = self.encode(kind, name, resource)
            if rejection is not None:
                broken[name] = rejection
            if encoded is not None:
                out[name] = encoded
        return out

    def encode(self, kind: str, name: str, resource: EnvoyResource) -> tuple[Encoded | None, Rejection | None]:
        """(what to send, what is wrong with the newest content)."""
        key, of_kind = (kind, name), self._known[kind]
        known = of_kind.get(name)
        if known is not None and known[0] is resource:
            result = known[1]
        else:
            result = self._again(known, resource) or self._one(kind, name, resource)
            of_kind[name] = (resource, result)
        if isinstance(result, Rejection):
            return self._good.get(key), result
        self._good[key] = result
        return result, None

    @staticmethod
    def _again(
        known: tuple[EnvoyResource, Encoded | Rejection] | None, resource: EnvoyResource
    ) -> Encoded | Rejection | None:
        """What is known of equal content."""
        if known is None or known[0].body != resource.body or known[0].wrong != resource.wrong:
            return None
        same = known[1]
        if isinstance(same, Rejection):
            return replace(same, origins=resource.origins)
        if (same.origins, same.refs) == (resource.origins, resource.refs):
            return same
        return replace(same, origins=resource.origins, refs=resource.refs)

    def _one(self, kind: str, name: str, resource: EnvoyResource) -> Encoded | Rejection:
        self.parsed += 1
        if resource.wrong:
            return Rejection(
                kind, name, _version(resource.wrong.encode()), resource.wrong, resource.origins, "tidegate"
            )
        try:
            message = _scope(resource.body) if kind == SCOPES else _parse(kind, name, resource.body)
        except (ParseError, Rejected, TypeError, ValueError, KeyError) as error:
            detail = f"does not parse: {_first_line(error)}"
            version = _version(repr(resource.body).encode())
            return Rejection(kind, name, version, detail, resource.origins, by="tidegate")
        data = message.SerializeToString(deterministic=True)
        return Encoded(kind, name, _version(data), data, resource.origins, resource.refs)


def encode_once(kind: str, resource: EnvoyResource) -> Encoded | None:
    """A resource that nobody will ask for again soon; None if it does not parse."""
    encoded, _ = Encoder().encode(kind, resource.name, resource)
    return encoded


def _version(data: bytes) -> str:
    """16 hexadecimal digits that depend on the content only."""
    return sha256(data).hexdigest()[:16]


def referred(resources: Iterable[Encoded], kind: str) -> set[str]:
    """Names of one kind that any of the resources refers to."""
    return {name for encoded in resources for name in encoded.needs(kind)}


def _scope(body: Mapping[str, Any]) -> Message:
    """As _parse, twenty times as fast, for the one kind of which there may be tens of thousands. Raises KeyError for
    a body that is not as compile/outbound/scopes.py makes it."""
    scope: Any = message_class(_full_name(SCOPES))(
        name=body["name"],
        on_demand=body["on_demand"],
        route_configuration_name=body["route_configuration_name"],
        key={"fragments": body["key"]["fragments"]},
    )
    if len(body) != len(scope.ListFields()) + (not body["on_demand"]):
        raise KeyError("another member")
    message: Message = scope
    return message


def encode_scope(resource: EnvoyResource) -> Encoded:
    """A scope that is in no plan. Raises KeyError for a body that is not one."""
    data = _scope(resource.body).SerializeToString(deterministic=True)
    return Encoded(SCOPES, resource.name, _version(data), data, resource.origins, resource.refs)


def _parse(kind: str, name: str, body: Mapping[str, Any]) -> Message:
    load_nested_types(body)
    message = message_class(_full_name(kind))()
    ParseDict(dict(body), message)
    actual = getattr(message, _name_field(kind))
    if actual != name:
        raise Rejected(f"{_name_field(kind)} {actual!r}", f"is not the name {name!r} under which it is published")
    return message


def _first_line(error: Exception) -> str:
    # ParseError lists every member that would have been possible on further lines.
    return str(error).strip().partition("\n")[0]


def _full_name(kind: str) -> str:
    return TYPE_URLS[kind].rpartition("/")[2]


def _name_field(kind: str) -> str:
    return "cluster_name" if kind == ENDPOINTS else "name"
