"""Whatever changes: who follows by deltas has what one has who asks anew for the state of the world, and nobody is ever
led to a cluster that he does not have."""

from __future__ import annotations

import pytest
from tests.support.follower import Follower
from tests.support.world import World

from tidegate.compile.facts import Facts, join
from tidegate.compile.others.client import Client, client
from tidegate.compile.others.served import known, resources
from tidegate.xds.encode import KINDS, Encoder

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
