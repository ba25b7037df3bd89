"""An xDS client as a script: says what Envoy would say and shows what the server answers, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SCOPES, TYPE_URLS, EnvoyResource
from tidegate.xds.delta import DeltaStream
from tidegate.xds.encode import KIND_OF_URL, Encoded, Encoder, Image, empty
from tidegate.xds.session import Session
from tidegate.xds.sotw import SotwStream


class Publisher:
    """Makes images as AdsServer.publish does."""

    def __init__(self) -> None:
        self.encoder = Encoder()
        self.generation = 0

    def image(self, *items: EnvoyResource) -> Image:
        self.generation += 1
        resources: dict[str, dict[str, EnvoyResource]] = {}
        for item in items:
            resources.setdefault(_kind(item), {})[item.name] = item
        return self.encoder.publish(self.generation, resources)


def _kind(item: EnvoyResource) -> str:
    if "cluster_name" in item.body:
        return ENDPOINTS
    if "virtual_hosts" in item.body:
        return ROUTES
    if "route_configuration_name" in item.body:
        return SCOPES
    return LISTENERS if "address" in item.body else CLUSTERS


class Delta:
    """A client that speaks the incremental dialect. Names of resources are given and shown as sorted lists."""

    def __init__(self, good: dict[tuple[str, str], Encoded] | None = None) -> None:
        self.stream = DeltaStream(Session({} if good is None else good))
        self.open: dict[str, str] = {}  # kind -> nonce of the response that was not answered yet

    @property
    def session(self) -> Session:
        return self.stream.session

    def say(
        self,
        kind: str,
        *,
        add: tuple[str, ...] = (),
        drop: tuple[str, ...] = (),
        known: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str = "",
    ) -> None:
        message = discovery_pb2.DeltaDiscoveryRequest(
            type_url=TYPE_URLS[kind],
            resource_names_subscribe=add,
            resource_names_unsubscribe=drop,
            initial_resource_versions=known or {},
            response_nonce=nonce,
        )
        if error:
            message.error_detail.message = error
        self.stream.receive(message)

    def ack(self, kind: str) -> None:
        self.say(kind, nonce=self.open.pop(kind))

    def nack(self, kind: str, error: str) -> None:
        self.say(kind, nonce=self.open.pop(kind), error=error)

    def hear(self) -> list[tuple[str, list[str], list[str]]]:
        """What arrives now: (kind, resources, removed), in order."""
        out = []
        for message in self.stream.responses():
            kind = KIND_OF_URL[message.type_url]
            assert kind not in self.open, f"a second {kind} response while the first is unanswered"
            self.open[kind] = message.nonce
            out.append((kind, sorted(r.name for r in message.resources), sorted(message.removed_resources)))
        return out

    def settle(self) -> list[tuple[str, list[str], list[str]]]:
        """Confirm everything that arrives and subscribe as Envoy does, until silence; returns all that arrived."""
        heard: list[tuple[str, list[str], list[str]]] = []
        while new := self.hear():
            heard += new
            for kind, names, _ in new:
                self._follow(kind, names)
            for kind, _, _ in new:
                self.ack(kind)
        return heard

    def boot(self) -> None:
        """What Envoy asks for at its start."""
        self.say(CLUSTERS)
        self.say(LISTENERS)

    def _follow(self, kind: str, names: list[str]) -> None:
        below = {CLUSTERS: ENDPOINTS, LISTENERS: ROUTES}.get(kind)
        if below is None or self.session.image is None:
            return
        wanted = {a for name in names for a in (self.session.image.get(kind, name) or empty(kind, name)).awaits}
        fresh = tuple(sorted(wanted - self.session.watches[below].names))
        if fresh:
            self.say(below, add=fresh)


class Sotw:
    """A client that speaks the state-of-the-world dialect."""

    def __init__(self, session: Session | None = None) -> None:
        self.stream = SotwStream(session or Session({}))
        self.nonces: dict[str, str] = {}

    @property
    def session(self) -> Session:
        return self.stream.session

    def say(self, kind: str, *names: str, nonce: str | None = None, error: str = "") -> None:
        """Ask for names with the newest nonce of the kind, or with the one given."""
        message = discovery_pb2.DiscoveryRequest(
            type_url=TYPE_URLS[kind],
            resource_names=names,
            response_nonce=self.nonces.get(kind, "") if nonce is None else nonce,
        )
        if error:
            message.error_detail.message = error
        self.stream.receive(message)

    def hear(self) -> list[tuple[str, list[str]]]:
        out = []
        for message in self.stream.responses():
            kind = KIND_OF_URL[message.type_url]
            self.nonces[kind] = message.nonce
            out.append((kind, sorted(_name(r) for r in message.resources)))
        return out


def _name(packed: Any) -> str:
    from tidegate.compile.envoy.prototypes import message_class

    message: Message = message_class(packed.type_url.rpartition("/")[2])()
    packed.Unpack(message)
    name: str = getattr(message, "cluster_name", "") or getattr(message, "name", "")
    return name
