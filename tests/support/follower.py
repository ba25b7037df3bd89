"""An xDS client that takes everything and asks for whatever that leads to, as Envoy does; it never refuses anything.

Whatever it holds leads to what it holds as well: looked at after each answer, and once more when all is said.
"""

from __future__ import annotations

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from tidegate.compile.envoy.prototypes import message_class
from tidegate.model.plan.envoy import (
    CLUSTERS,
    ENDPOINTS,
    EVERY,
    LISTENERS,
    ROUTES,
    SCOPES,
    SECRETS,
    TYPE_URLS,
    ResourceRef,
)
from tidegate.xds.delta import DeltaStream
from tidegate.xds.encode import AWAITS, KIND_OF_URL, KINDS, Image
from tidegate.xds.session import LINGER_SECONDS, Session
from tidegate.xds.sotw import WHOLE, SotwStream

State = dict[str, dict[str, bytes]]


class Follower:
    """has: what it holds, by kind and name."""

    def __init__(self, *, delta: bool, scoped: bool = False) -> None:
        """scoped: it is a node's own Envoy, which asks for scopes and for the routes of all of them."""
        self.session = Session({}) if scoped else Session({}, repeating=AWAITS)
        self.stream: Any = DeltaStream(self.session) if delta else SotwStream(self.session)
        self.delta = delta
        self.has: State = {kind: {} for kind in KINDS}
        self.asked: dict[str, set[str]] = {ENDPOINTS: set(), ROUTES: set(), SECRETS: set()}
        for kind in (CLUSTERS, LISTENERS, *((SCOPES,) if scoped else ())):
            self._say(kind)

    def follow(self, image: Image) -> None:
        """Until there is nothing more to say, also when what lingers is gone."""
        self.image = image
        self.session.publish(image)
        while self._hear() or self.session.now < image.generation * LINGER_SECONDS * 2:
            self.session.now = image.generation * LINGER_SECONDS * 2
        assert self.missing() == [], "what is there is held"

    def missing(self) -> list[tuple[str, ResourceRef]]:
        """Resources that are there, and that something held leads to without that they are held."""
        return [
            (name, ref)
            for name, ref in self._led_to()
            if ref.name not in self.has[ref.kind] and self.image.has(ref.kind, ref.name)
        ]

    def nowhere(self) -> set[str]:
        """Clusters that something held leads to and that are nowhere."""
        clusters = {ref.name for _, ref in self._led_to() if ref.kind == CLUSTERS}
        return {name for name in clusters if not self.image.has(CLUSTERS, name)}

    def _led_to(self) -> list[tuple[str, ResourceRef]]:
        held = [
            (name, found.encoded)
            for kind in (LISTENERS, ROUTES, CLUSTERS)
            for name, found in self.session.watches[kind].held.items()
            if found.encoded is not None and name in self.has[kind]
        ]
        return [(name, ref) for name, encoded in held for ref in encoded.refs if ref.name != EVERY]

    def _hear(self) -> bool:
        heard = False
        while answers := self.stream.responses():
            heard = True
            for answer in answers:
                kind = KIND_OF_URL[answer.type_url]
                had = set(self.has[CLUSTERS])
                self._take(kind, answer)
                self._check(kind, answer, had)
                self._say(kind, answer.nonce)
            for kind, names in self._wanted().items():
                self._ask(kind, names)
        return heard

    def _wanted(self) -> dict[str, set[str]]:
        held = {kind: [h.encoded for h in self.session.watches[kind].held.values() if h.encoded] for kind in KINDS}
        routes = {_message(SCOPES, value).route_configuration_name for value in self.has[SCOPES].values()}
        return {
            ENDPOINTS: {name for encoded in held[CLUSTERS] for name in encoded.awaits},
            ROUTES: routes.union(*(encoded.awaits for encoded in held[LISTENERS])),
            SECRETS: {name for kind in (CLUSTERS, LISTENERS) for e in held[kind] for name in e.needs(SECRETS)},
        }

    def _take(self, kind: str, answer: Any) -> None:
        if self.delta:
            self.has[kind] |= {one.name: one.resource.value for one in answer.resources}
            for name in answer.removed_resources:
                self.has[kind].pop(name, None)
            return
        told = {_name(kind, one.value): one.value for one in answer.resources}
        self.has[kind] = told if kind in WHOLE else self.has[kind] | told

    def _check(self, kind: str, answer: Any, had: set[str]) -> None:
        """Make before break: who is led somewhere has been told of it, and what something of before still leads to does
        not go. had: the clusters of before the answer."""
        gone = had - self.has[CLUSTERS].keys()
        for name, ref in self._led_to() if gone else ():
            newest = (self.image.get(of, name) for of in (LISTENERS, ROUTES, CLUSTERS))
            if ref.kind == CLUSTERS and ref.name in gone:
                assert any(n is not None and ref in n.refs for n in newest), f"{ref.name} went before {name} changed"
        if kind in (LISTENERS, ROUTES):
            for name, value in self.has[kind].items():
                encoded = self.image.get(kind, name)
                needed = encoded.needs(CLUSTERS) if encoded and encoded.data == value else ()
                lacks = [n for n in needed if n not in self.has[CLUSTERS] and self.image.has(CLUSTERS, n)]
                assert not lacks, f"{name} leads to {lacks} before they are told of"

    def _ask(self, kind: str, names: set[str]) -> None:
        if names == self.asked[kind]:
            return
        more, fewer = names - self.asked[kind], self.asked[kind] - names
        self.asked[kind] = names
        self.has[kind] = {name: value for name, value in self.has[kind].items() if name in names}
        if self.delta:
            request = discovery_pb2.DeltaDiscoveryRequest(
                type_url=TYPE_URLS[kind],
                resource_names_subscribe=sorted(more),
                resource_names_unsubscribe=sorted(fewer),
            )
            self.stream.receive(request)
        else:
            self._say(kind, self.session.watches[kind].last_nonce)

    def _say(self, kind: str, nonce: str = "") -> None:
        if self.delta:
            self.stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE_URLS[kind], response_nonce=nonce))
        else:
            names = sorted(self.asked.get(kind, ()))
            self.stream.receive(
                discovery_pb2.DiscoveryRequest(type_url=TYPE_URLS[kind], response_nonce=nonce, resource_names=names)
            )


def _message(kind: str, value: bytes) -> Any:
    message: Any = message_class(TYPE_URLS[kind].rpartition("/")[2])()
    message.ParseFromString(value)
    return message


def _name(kind: str, value: bytes) -> str:
    message = _message(kind, value)
    return str(message.cluster_name if kind == ENDPOINTS else message.name)
