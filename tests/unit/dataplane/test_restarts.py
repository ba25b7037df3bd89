"""The agent or the relay dies and comes back: what lives on is adopted, what is lost is made anew."""

from __future__ import annotations

from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, at, sandbox

from tidegate.model.status import PodState, State
from tidegate.model.tier import Tier

CONFIG = config_of(
    ENROLLED,
    service("db", "tcp:5432", ips="10.96.0.5"),
    pod("db-1", "app: db", "10.0.0.50"),
    service("web", "http:80", ips="10.96.0.6"),
    pod("client", "app: client"),
    pod("other", "app: other"),
)
SANDBOXES = (sandbox("client", 42, "10.0.0.1"), sandbox("other", 43, "10.0.0.9"))


async def test_a_killed_agents_state_is_adopted_and_nothing_is_written_anew() -> None:
    node = Node(CONFIG, *SANDBOXES)
    async with node.running():
        pass
    rows, dests = dict(node.tables.rows), dict(node.tables.dests)
    calls, asked = len(node.tables.calls), node.relay.asked
    async with node.killed_and_restarted():
        assert (node.tables.rows, node.tables.dests) == (rows, dests)
        assert [
            c
            for c, _ in node.tables.calls[calls:]
            if c not in ("pods", "destinations", "inbound", "guard_rows", "lookups")
        ] == []
        assert node.relay.asked == asked, "listeners that live on are not asked for again"
        assert {p.state for p in node.status.pods} == {PodState.ENROLLED}


async def test_nothing_goes_before_the_configuration_is_there() -> None:
    node = Node(CONFIG, *SANDBOXES)
    async with node.running():
        pass
    rows, dests = dict(node.tables.rows), dict(node.tables.dests)
    await node.config.set(None)
    async with node.killed_and_restarted():
        assert (node.tables.rows, node.tables.dests) == (rows, dests)
        assert set(node.relay.listening) == {42, 43}


async def test_what_ended_while_no_agent_was_there_goes() -> None:
    node = Node(CONFIG, *SANDBOXES)
    async with node.running():
        pass
    node.sandboxes = [s for s in node.sandboxes if s.netns_cookie == 42]
    await node.config.set(config_of(ENROLLED, service("web", "http:80", ips="10.96.0.6"), pod("client", "app: client")))
    async with node.killed_and_restarted():
        assert set(node.tables.rows) == node.tables.guards == set(node.relay.listening) == {42}
        assert at("10.96.0.5", 5432) not in node.tables.dests
        assert node.tables.dests[at("10.96.0.6", 80)][0] is Tier.ENVOY


async def test_a_new_relay_process_gets_pods_and_services_again() -> None:
    node = Node(CONFIG, *SANDBOXES)
    async with node.running():
        before = dict(node.tables.rows)
        await node.relay.restart()
        await node.calm()
        assert set(node.relay.listening) == {42, 43}
        assert [s.name for s in node.relay.services] == ["db.default.svc.cluster.local:5432"]
        for cookie, (port4, port6) in node.relay.listening.items():
            row = node.tables.rows[cookie]
            assert (row.fastpath4, row.fastpath6) == (port4, port6)
            assert (row.envoy4, row.envoy6) == (before[cookie].envoy4, before[cookie].envoy6)
            assert row == before[cookie], "on the port of before"
        assert node.tables.count("delete_pod") == 0, "captured all the time"


async def test_a_relay_process_that_took_the_listeners_over_keeps_them() -> None:
    node = Node(CONFIG, *SANDBOXES)
    async with node.running():
        before = dict(node.tables.rows)
        await node.relay.restart(keeps=True)
        await node.calm()
        assert sorted(node.relay.added) == [42, 43]
        assert node.tables.rows == before
        assert len(node.relay.services) == 1


async def test_a_relay_that_is_away_is_waited_for() -> None:
    node = Node(CONFIG, *SANDBOXES)
    async with node.running():
        await node.relay.process.set(0)
        await node.calm()
        assert not node.cycle.relay_up
        assert set(node.tables.rows) == {42, 43}
        await node.relay.restart()
        await node.calm()
        assert node.cycle.relay_up
        assert set(node.relay.listening) == {42, 43}
        assert len(node.relay.services) == 1


async def test_nothing_is_asked_of_a_relay_that_is_not_there_yet() -> None:
    """After a start it takes a moment until it is found; what it has by then is not known before."""
    node = Node(CONFIG, *SANDBOXES)
    async with node.running():
        pass
    rows, images = dict(node.tables.rows), len(node.relay.images)
    await node.relay.process.set(0)
    async with node.killed_and_restarted():
        assert node.tables.rows == rows
        assert len(node.relay.images) == images
        assert [o.reason for o in node.status.appliers["relay"].of(State.PENDING)] == ["no relay is there"]
        await node.attach(sandbox("late", 44))
        assert node.inside.prepared.count(44) == 0
        await node.relay.process.set(1)
        await node.calm()
        assert node.tables.rows == rows
        assert sorted(node.relay.added) == [42, 43]
        assert not node.status.appliers["relay"].outcomes


async def test_what_one_relay_refused_the_next_one_is_asked_at_once() -> None:
    node = Node(CONFIG, *SANDBOXES)
    node.relay.full = True
    async with node.running():
        assert {p.state for p in node.status.pods} == {PodState.FAILED}
        node.relay.full = False
        await node.relay.restart()
        await node.calm()
        assert {p.state for p in node.status.pods} == {PodState.ENROLLED}


async def test_a_listener_that_nobody_wants_is_closed_when_the_relay_is_met() -> None:
    node = Node(CONFIG, *SANDBOXES)
    node.relay.listening[77] = (1, 2)
    async with node.running():
        assert set(node.relay.listening) == {42, 43}
