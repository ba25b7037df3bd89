"""The cycle with devices in memory: what it reports, and what it does when something refuses."""

from __future__ import annotations

import pytest
from tests.support.configs import ENROLLED, config_of, pod, service
from tests.support.dataplane import Node, at, sandbox

from tidegate.bpf.records import PodRow
from tidegate.compile.outbound.listeners import listener_name
from tidegate.errors import Rejected
from tidegate.model.plan.envoy import LISTENERS
from tidegate.model.status import Outcome, PodState, State
from tidegate.model.tier import Tier
from tidegate.model.workload import Capture

CONFIG = config_of(
    ENROLLED,
    service("db", "tcp:5432", ips="10.96.0.5"),
    pod("db", "app: db", "10.0.0.2"),
    pod("client", "app: client", "10.0.0.1"),
)
WITH_HTTP = config_of(
    ENROLLED,
    service("web", "http:80", ips="10.96.0.6"),
    pod("web", "app: web", "10.0.0.3"),
    pod("client", "app: client"),
    pod("other", "app: other"),
)
CLIENT = sandbox("client", 42, "10.0.0.1")
OTHER = sandbox("other", 43, "10.0.0.9")
DB = at("10.96.0.5", 5432)
WEB = at("10.96.0.6", 80)


async def test_nothing_is_touched_before_the_first_configuration() -> None:
    node = Node()
    node.tables.rows[7] = PodRow()
    async with node.running():
        assert node.tables.rows == {7: PodRow()}
        assert (node.tables.calls, node.relay.images, node.envoy.published) == ([], [], [])


async def test_destinations_reach_the_kernel_and_strangers_leave_it() -> None:
    node = Node(CONFIG)
    node.tables.rows[7] = PodRow()
    node.tables.guards.add(8)
    node.tables.dests[at("10.96.9.9", 1)] = (Tier.FASTPATH, 9)
    async with node.running():
        assert (node.tables.rows, node.tables.guards) == ({}, set())
        assert node.tables.dests[DB][0] is Tier.FASTPATH
        assert at("10.96.9.9", 1) not in node.tables.dests
        assert not any(a.outcomes for a in node.status.appliers.values())


async def test_a_full_table_is_reported_and_the_other_rows_are_in_force() -> None:
    node = Node(CONFIG)
    node.tables.room = 2
    async with node.running():
        assert len(node.tables.dests) == 2
        [(item, reason)] = node.failures("destinations past envoy")
        assert (item.startswith("destination"), reason) == (True, "[Errno 7] tg_dests: Argument list too long")


@pytest.mark.parametrize("refusal", [Rejected("services", "two claim one address"), OSError(12, "no memory")])
async def test_a_refusing_relay_does_not_hold_up_the_rest(refusal: Exception) -> None:
    node = Node(CONFIG)
    node.relay.refusal = refusal
    async with node.running():
        assert node.failures("relay") == [("services of the relay", str(refusal))]
        assert node.tables.dests[at("10.0.0.2", 0)][0] is Tier.DIRECT
        assert DB not in node.tables.dests, "nobody would be there"
        pending = node.status.appliers["destinations past envoy"].of(State.PENDING)
        assert [o.reason for o in pending] == ["the relay does not serve it yet"]
        assert node.status.generation == 1, "all is dealt with: it is in force or refused"


async def test_the_relay_reports_the_generation_that_serves() -> None:
    node = Node(CONFIG)
    async with node.running():
        node.relay.refusal = OSError(12, "no memory")
        await node.configure(config_of(ENROLLED, service("new", "tcp:1", ips="10.96.0.8")))
        generations = {name: applier.generation for name, applier in node.status.appliers.items()}
        assert (generations["relay"], generations["envoy"]) == (1, 2)
        assert DB not in node.tables.dests


async def test_a_silent_envoy_is_reported_and_holds_up_no_others() -> None:
    node = Node(WITH_HTTP, CLIENT)
    node.envoy.answers = False
    async with node.running():
        assert node.failures("envoy") == []
        assert [o.reason for o in node.status.appliers["envoy"].of(State.PENDING)] == ["has not answered yet"]
        await node.later(3.0)
        assert node.failures("envoy") == [("envoy", "no answer within 3 s")]
        assert (node.status.appliers["envoy"].generation, node.status.generation) == (0, 0)
        assert node.tables.dests[at("10.0.0.3", 0)][0] is Tier.DIRECT
        assert WEB not in node.tables.dests
        await node.envoy.answer()
        await node.calm()
        assert (node.failures("envoy"), node.status.generation > 0) == ([], True)
        assert node.tables.dests[WEB][0] is Tier.ENVOY


async def test_what_envoy_refuses_is_reported_with_its_source() -> None:
    refused = Outcome("web.default.svc.cluster.local:80", State.FAILED, "envoy: no such thing", ("VirtualService d/w",))
    node = Node(CONFIG)
    node.envoy.refused = (refused,)
    async with node.running():
        assert node.status.appliers["envoy"].failures == (refused,)


async def test_a_pod_whose_listener_envoy_refuses_is_not_captured() -> None:
    """It would lose its HTTP: nobody listens where its connections are sent."""
    node = Node(WITH_HTTP, CLIENT, OTHER)
    listener = listener_name(CLIENT)
    node.envoy.refused = (Outcome(listener, State.FAILED, "envoy: cannot bind"),)
    async with node.running():
        reason = f"Envoy rejected {listener}, see status of envoy"
        verdict = node.pod("client")
        assert verdict is not None
        assert (verdict.state, verdict.reason) == (PodState.FAILED, reason)
        assert node.failures("enrolment") == [("pod default/client", reason)]
        assert set(node.tables.rows) == {43}


async def test_a_pod_waits_for_its_own_listener_only() -> None:
    node = Node(WITH_HTTP, CLIENT)
    async with node.running():
        node.envoy.answers = False
        await node.attach(OTHER)
        verdict = node.pod("other")
        assert verdict is not None
        assert (verdict.state, verdict.reason) == (PodState.PENDING, "Envoy has not opened this pod's listener yet")
        await node.envoy.answer(but=[listener_name(OTHER)])
        await node.calm()
        assert set(node.tables.rows) == {42}
        third = sandbox("web", 44, "10.0.0.3")
        await node.attach(third)
        await node.envoy.answer(but=[listener_name(OTHER)])
        await node.calm()
        assert set(node.tables.rows) == {42, 44}, "the one behind is not held up"
        await node.envoy.answer()
        await node.calm()
        assert set(node.tables.rows) == {42, 43, 44}


async def test_a_captured_pod_stays_captured_while_envoy_says_nothing() -> None:
    node = Node(WITH_HTTP, CLIENT)
    async with node.running():
        node.envoy.answers = False
        await node.configure(
            config_of(ENROLLED, service("web", "http:80", "http2:81", ips="10.96.0.6"), pod("client", "app: client"))
        )
        assert set(node.tables.rows) == {42}
        assert node.pod("client").state is PodState.ENROLLED  # type: ignore[union-attr]


async def test_an_error_nobody_thought_of_does_not_end_the_agent() -> None:
    node = Node(CONFIG)
    node.relay.refusal = ZeroDivisionError("oops")
    async with node.running():
        assert node.failures("relay") == [("relay", "ZeroDivisionError: oops")]
        assert node.tables.dests[at("10.0.0.2", 0)][0] is Tier.DIRECT, "the others go on"
        node.relay.refusal = None
        await node.later(1.0)
        assert node.tables.dests[DB][0] is Tier.FASTPATH


async def test_a_pod_whose_netns_is_gone_fails_alone() -> None:
    node = Node(CONFIG, CLIENT, sandbox("db", 44, "10.0.0.2"), sandbox("new", 45))
    node.inside.gone.add(42)
    async with node.running():
        states = {p.id.name: p.state for p in node.status.pods}
        assert states == {"client": PodState.FAILED, "db": PodState.ENROLLED, "new": PodState.PENDING}
        assert node.status.generation > 0


async def test_a_pod_whose_namespace_hangs_holds_up_no_others() -> None:
    import threading

    node = Node(CONFIG)
    release = node.inside.stuck[42] = threading.Event()
    try:
        async with node.running():
            node.cycle.set_sandboxes([CLIENT, sandbox("db", 44, "10.0.0.2")])
            assert (await node.cycle.settling.settled(44, 60)).state is PodState.ENROLLED  # type: ignore[union-attr]
            assert 42 not in node.tables.rows
            release.set()
            assert (await node.cycle.settling.settled(42, 60)).state is PodState.ENROLLED  # type: ignore[union-attr]
    finally:
        release.set()


async def test_a_pod_outside_the_mesh_waits_for_nothing() -> None:
    """Neither for a plan nor for Envoy or the relay: nothing is done for it."""
    node = Node(config_of(pod("plain", "app: plain")), sandbox("plain", 50), sandbox("nobody", 51, kubernetes=False))
    node.relay.refusal = ZeroDivisionError("oops")
    node.envoy.answers = False
    async with node.running():
        states = {p.id.name: (p.state, p.reason) for p in node.status.pods}
        assert states["plain"][0] is PodState.NOT_ENROLLED
        assert states["nobody"] == (
            PodState.NOT_ENROLLED,
            "a container outside Kubernetes, and no Pod document has this name",
        )


async def test_a_pod_that_leaves_the_mesh_is_released_and_then_closed() -> None:
    node = Node(WITH_HTTP, CLIENT)
    async with node.running():
        assert set(node.tables.rows) == set(node.relay.listening) == {42}
        seen: list[bool] = []
        node.envoy.told = lambda: seen.append(
            42 in node.tables.rows and listener_name(CLIENT) not in node.envoy.published[-1][LISTENERS]
        )
        await node.configure(config_of(service("web", "http:80", ips="10.96.0.6"), pod("client", "app: client")))
        assert (node.tables.rows, node.tables.guards, node.relay.listening) == ({}, set(), {})
        assert seen, "Envoy was told"
        assert not any(seen), "never without the listener of a pod that is captured"
        assert listener_name(CLIENT) not in node.envoy.published[-1].get(LISTENERS, {})
        assert node.pod("client").state is PodState.NOT_ENROLLED  # type: ignore[union-attr]


async def test_cni_del_releases_at_once() -> None:
    """Also while Envoy is silent; the listeners follow."""
    node = Node(WITH_HTTP, CLIENT)
    async with node.running():
        node.envoy.answers = False
        await node.detach(42)
        assert (node.tables.rows, node.tables.guards) == ({}, set())
        await node.calm()
        assert node.relay.listening == {}
        assert node.pod("client") is None


async def test_ports_of_an_earlier_life_are_kept_for_envoy() -> None:
    node = Node(WITH_HTTP, sandbox("client", 42, "10.0.0.1", capture=Capture(1, 2, 5, 6)))
    async with node.running():
        assert (node.tables.rows[42].envoy4, node.tables.rows[42].envoy6) == (5, 6)
        assert node.inside.remembered[42].capture.envoy4 == 5
