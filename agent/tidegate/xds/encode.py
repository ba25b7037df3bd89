"""Proto-JSON resources to the bytes that Envoy gets, each content parsed once.

Invariant: a resource whose new body does not parse keeps its last good encoding and becomes a Rejection with the
objects that it was made from. Fed by AdsServer.publish; read by session.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from tidegate.errors import Rejected
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, TYPE_URLS, EnvoyResource
from tidegate.xds.prototypes import load_nested_types, message_class

# The order in which one change goes out: what is pointed at before what points at it.
KINDS = (CLUSTERS, ENDPOINTS, SECRETS, LISTENERS, ROUTES)
KIND_OF_URL: Mapping[str, str] = {url: kind for kind, url in TYPE_URLS.items()}
# What a client waits for by name before the resource that names it takes effect.
AWAITS: Mapping[str, str] = {CLUSTERS: ENDPOINTS, LISTENERS: ROUTES}

EMPTY_VERSION = "empty"


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One resource as it is sent. Equal content has an equal version, also in a later life of the agent."""

    kind: str
    name: str
    version: str
    data: bytes
    awaits: tuple[str, ...] = ()  # names of kind AWAITS[kind] that the client will ask for because of it
    origins: tuple[Origin, ...] = ()

    def mentions(self, name: str) -> bool:
        """Whether the name occurs anywhere in it. Protobuf keeps strings as they are, also inside Any."""
        return name.encode() in self.data


@dataclass(frozen=True, slots=True)
class Rejection:
    """A resource that is not in force as published, and why."""

    kind: str
    name: str
    version: str
    detail: str
    origins: tuple[Origin, ...] = ()
    by: str = "envoy"  # or "tidegate": it did not parse and was never sent


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """Everything that a client should have at one generation."""

    generation: int
    resources: Mapping[str, Mapping[str, Encoded]]
    broken: tuple[Rejection, ...] = ()

    def of(self, kind: str) -> Mapping[str, Encoded]:
        return self.resources.get(kind, {})


def empty(kind: str, name: str) -> Encoded:
    """The answer for a route or endpoint name that nobody defined: without one the client would wait for ever."""
    message: Any = message_class(_full_name(kind))()
    setattr(message, _name_field(kind), name)
    return Encoded(kind, name, EMPTY_VERSION, message.SerializeToString(deterministic=True))


class Encoder:
    """Remembers the encodings of the last publication. Not thread-safe: one call at a time."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, str], tuple[Mapping[str, Any], Encoded | Rejection]] = {}
        self._good: dict[tuple[str, str], Encoded] = {}
        self.parsed = 0  # how many bodies went through protobuf since the start

    def encode(self, generation: int, resources: Mapping[str, Mapping[str, EnvoyResource]]) -> Image:
        """Make the image of a generation. A broken resource never stops the others."""
        bodies: dict[tuple[str, str], tuple[Mapping[str, Any], Encoded | Rejection]] = {}
        good: dict[tuple[str, str], Encoded] = {}
        out: dict[str, dict[str, Encoded]] = {kind: {} for kind in KINDS}
        broken: list[Rejection] = []
        for kind in KINDS:
            for name, resource in resources.get(kind, {}).items():
                key = (kind, name)
                result = self._one(kind, name, resource)
                bodies[key] = (resource.body, result)
                if isinstance(result, Rejection):
                    broken.append(result)
                    previous = self._good.get(key)
                    if previous is None:
                        continue
                    result = previous
                good[key] = out[kind][name] = result
        for kind, awaited_kind in AWAITS.items():
            for encoded in out[kind].values():
                for name in encoded.awaits:
                    out[awaited_kind].setdefault(name, empty(awaited_kind, name))
        self._bodies, self._good = bodies, good
        return Image(generation, out, tuple(broken))

    def _one(self, kind: str, name: str, resource: EnvoyResource) -> Encoded | Rejection:
        known = self._bodies.get((kind, name))
        if known is not None and known[0] == resource.body:
            same = known[1]
            return same if same.origins == resource.origins else replace(same, origins=resource.origins)
        version = content_version(resource.body)
        self.parsed += 1
        try:
            message = _parse(kind, name, resource.body)
        except (ParseError, Rejected, TypeError, ValueError, KeyError) as error:
            return Rejection(
                kind, name, version, f"does not parse: {_first_line(error)}", resource.origins, by="tidegate"
            )
        return Encoded(
            kind,
            name,
            version,
            message.SerializeToString(deterministic=True),
            tuple(sorted(_awaits(kind, message, resource.body))),
            resource.origins,
        )


def content_version(body: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that depend on the content only, not on the order of members."""
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":"), default=dict).encode()).hexdigest()[:16]


def _parse(kind: str, name: str, body: Mapping[str, Any]) -> Message:
    load_nested_types(body)
    message = message_class(_full_name(kind))()
    ParseDict(dict(body), message)
    actual = getattr(message, _name_field(kind))
    if actual != name:
        raise Rejected(f"{_name_field(kind)} {actual!r}", f"is not the name {name!r} under which it is published")
    return message


def _awaits(kind: str, message: Any, body: Mapping[str, Any]) -> set[str]:
    if kind == CLUSTERS:
        is_eds = message.type == message.EDS and message.eds_cluster_config.eds_config.HasField("ads")
        return {message.eds_cluster_config.service_name or message.name} if is_eds else set()
    if kind == LISTENERS:
        return set(_route_names(body))
    return set()


def _route_names(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        rds = value.get("rds")
        if isinstance(rds, Mapping) and "ads" in (rds.get("config_source") or rds.get("configSource") or {}):
            name = rds.get("route_config_name") or rds.get("routeConfigName")
            if isinstance(name, str):
                yield name
        for item in value.values():
            yield from _route_names(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _route_names(item)


def _first_line(error: Exception) -> str:
    # ParseError lists every member that would have been possible on further lines.
    return str(error).strip().partition("\n")[0]


def _full_name(kind: str) -> str:
    return TYPE_URLS[kind].rpartition("/")[2]


def _name_field(kind: str) -> str:
    return "cluster_name" if kind == ENDPOINTS else "name"
