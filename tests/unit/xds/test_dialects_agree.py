"""Whatever changes: who follows by deltas has what one has who asks anew for the state of the world, and nobody is ever
led to a cluster that he does not have."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from tests.support.world import World

from tidegate.compile.facts import Facts, join
from tidegate.compile.others.client import Client, client
from tidegate.compile.others.served import known, resources
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, TYPE_URLS
from tidegate.xds.delta import DeltaStream
from tidegate.xds.encode import AWAITS, KIND_OF_URL, KINDS, Encoder, Image
from tidegate.xds.session import Session
from tidegate.xds.sotw import WHOLE, SotwStream

State = dict[str, dict[str, bytes]]


class Follower:
    """A client that takes everything and asks for whatever that leads to, as Envoy does."""

    def __init__(self, *, delta: bool) -> None:
        self.session = Session({}, repeating=AWAITS)
        self.stream: Any = DeltaStream(self.session) if delta else SotwStream(self.session)
        self.delta = delta
        self.has: State = {kind: {} for kind in (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES)}
        self.asked: dict[str, set[str]] = {ENDPOINTS: set(), ROUTES: set()}
        self.image: Image | None = None
        for kind in (CLUSTERS, LISTENERS):
            self._say(kind)

    def follow(self, image: Image) -> None:
        """Until there is nothing more to say."""
        self.image = image
        self.session.publish(image)
        while answers := self.stream.responses():
            for answer in answers:
                kind = KIND_OF_URL[answer.type_url]
                self._take(kind, answer)
                self._say(kind, answer.nonce)
                for owner, awaited in AWAITS.items():
                    self._ask(awaited, {name for one in self.has[owner] for name in self._awaits(owner, one)})

    def _awaits(self, owner: str, name: str) -> list[str]:
        held = self.session.watches[owner].held.get(name)
        return held.encoded.awaits if held and held.encoded else []

    def _take(self, kind: str, answer: Any) -> None:
        if self.delta:
            self.has[kind] |= {one.name: one.resource.value for one in answer.resources}
            for name in answer.removed_resources:
                self.has[kind].pop(name, None)
            return
        told = {_name(kind, one.value): one.value for one in answer.resources}
        self.has[kind] = told if kind in WHOLE else self.has[kind] | told

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


def _name(kind: str, value: bytes) -> str:
    from tidegate.compile.envoy.prototypes import message_class

    message: Any = message_class(TYPE_URLS[kind].rpartition("/")[2])()
    message.ParseFromString(value)
    return str(message.cluster_name if kind == ENDPOINTS else message.name)


CLIENTS = {
    "by hand": Client(),
    "sidecar": client("sidecar~10.0.0.1~x.a~a.svc.cluster.local", {}),
}


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("who", CLIENTS.values(), ids=CLIENTS)
def test_deltas_lead_to_the_state_of_the_world(who: Client, seed: int) -> None:
    world, encoder = World(seed), Encoder()
    facts: Facts | None = None
    by_delta = Follower(delta=True)
    by_states = Follower(delta=False)
    for generation in range(1, 13):
        for _ in range(6):
            world.change()
        facts = join(world.mesh, (), facts)
        made = resources(facts, known(facts, who))
        image = encoder.publish(generation, {kind: made.get(kind, {}) for kind in KINDS})
        anew = Follower(delta=False)
        for follower in (by_delta, by_states, anew):
            follower.follow(image)
        assert by_delta.has == anew.has
        assert by_states.has == anew.has
        assert by_delta.session.applied == generation
