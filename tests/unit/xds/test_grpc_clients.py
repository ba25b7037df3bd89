"""Real gRPC clients without a proxy: what a rule says is what their calls meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.chance import binomial
from tests.support.eventually import HANG_SECONDS
from tests.support.xds_world import SERVER_TEMPLATE, Backend, Caller, World, serving, story

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, TYPE_URLS

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: story}
spec:
  hosts: [story]
  http:
"""
FOR_EVER = "/story.Story/Hang"


def to(subset: str) -> str:
    return f"route: [{{destination: {{host: story, subset: {subset}}}}}]"


def policy(text: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: story-policy}}
spec: {{host: story, trafficPolicy: {{{text}}}}}
"""


class Story:
    """Two versions, the mesh that they are in, and who calls them."""

    def __init__(self, world: World, caller: Caller, v1: Backend, v2: Backend) -> None:
        self.world, self.caller, self.v1, self.v2 = world, caller, v1, v2
        self.base = story(v1, v2)

    async def rule(self, http: str, *more: str) -> None:
        await self.world.publish(self.base, RULE + http, *more)

    async def ask(self, **order: Any) -> dict[str, Any]:
        return await self.caller.ask(**order)


@pytest.fixture
async def mesh() -> AsyncIterator[Story]:
    v1, v2 = Backend("v1"), Backend("v2")
    for backend in (v1, v2):
        await backend.start()
    async with serving() as world:
        caller = Caller(world.server.port)
        made = Story(world, caller, v1, v2)
        await world.publish(made.base)
        yield made
        caller.close()
    for backend in (v1, v2):
        await backend.stop()


async def test_both_versions_answer_while_no_rule_says_otherwise(mesh: Story) -> None:
    assert await both_answer(mesh)


@pytest.mark.parametrize("suffix", ["", ".default", ".default.svc", ".default.svc.cluster.local"])
async def test_a_service_is_dialled_by_each_spelling_of_its_name(mesh: Story, suffix: str) -> None:
    assert (await mesh.ask(target=f"xds:///story{suffix}:50051"))["codes"] == {"OK": 1}


async def test_calls_are_split_by_weight(mesh: Story) -> None:
    await mesh.rule("""
  - route:
    - {destination: {host: story, subset: v1}, weight: 75}
    - {destination: {host: story, subset: v2}, weight: 25}
""")
    got = await mesh.ask(count=4000)
    assert got["codes"] == {"OK": 4000}
    assert got["versions"]["v1"] in binomial(4000, 0.75)


async def test_jason_gets_v2_and_nobody_else_does(mesh: Story) -> None:
    await mesh.rule(f"""
  - match: [{{headers: {{end-user: {{exact: jason}}}}, uri: {{exact: /story.Story/Ask}}, method: {{exact: POST}}}}]
    {to("v2")}
  - {to("v1")}
""")
    assert (await mesh.ask(count=20, metadata={"end-user": "jason"}))["versions"] == {"v2": 20}
    assert (await mesh.ask(count=20))["versions"] == {"v1": 20}


async def test_a_route_for_another_method_of_http_takes_no_call(mesh: Story) -> None:
    await mesh.rule(f"""
  - match: [{{method: {{exact: GET}}}}]
    {to("v2")}
  - {to("v1")}
""")
    assert (await mesh.ask(count=20))["versions"] == {"v1": 20}


async def test_a_timeout_ends_a_call(mesh: Story) -> None:
    await mesh.rule(f"""
  - timeout: 2s
    {to("v1")}
""")
    got = await mesh.caller.until(
        lambda _: mesh.v1.left, "a call arrives before its time is over", method=FOR_EVER, deadline=HANG_SECONDS
    )
    assert got["codes"] == {"DEADLINE_EXCEEDED": 1}
    assert max(mesh.v1.left) > 1, "its own time was over, and not the route's"


@pytest.mark.parametrize(("attempts", "code"), [(3, "OK"), (1, "UNAVAILABLE"), (0, "UNAVAILABLE")])
async def test_unavailable_is_tried_again(mesh: Story, attempts: int, code: str) -> None:
    more = ", retryOn: unavailable" if attempts else ""
    await mesh.rule(f"""
  - retries: {{attempts: {attempts}{more}}}
    {to("v1")}
""")
    got = await mesh.ask(method="/story.Story/Fail", metadata={"fail": "2", "key": "k"})
    assert got["codes"] == {code: 1}
    assert mesh.v1.tries["k"] == min(attempts, 2) + 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [("grpcStatus: RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"), ("httpStatus: 403", "PERMISSION_DENIED")],
)
async def test_a_fault_aborts_calls(mesh: Story, fault: str, code: str) -> None:
    await mesh.rule(f"""
  - match: [{{headers: {{break: {{exact: it}}}}}}]
    fault: {{abort: {{{fault}, percentage: {{value: 100}}}}}}
    {to("v1")}
  - {to("v1")}
""")
    assert (await mesh.ask(metadata={"break": "it"}))["codes"] == {code: 1}
    assert (await mesh.ask())["codes"] == {"OK": 1}


async def test_what_grpc_cannot_do_of_a_rule_does_not_stand_in_its_way(mesh: Story) -> None:
    await mesh.rule(f"""
  - match: [{{authority: {{exact: elsewhere}}}}]
    {to("v2")}
  - corsPolicy: {{allowOrigins: [{{exact: "*"}}]}}
    rewrite: {{uri: /other}}
    mirror: {{host: story, subset: v2}}
    headers: {{request: {{set: {{x: y}}}}}}
    {to("v1")}
""")
    assert (await mesh.ask(count=20))["versions"] == {"v1": 20}


@pytest.mark.parametrize(
    "balancer",
    [
        "consistentHash: {httpHeaderName: user}",
        "consistentHash: {httpHeaderName: user, maglev: {}}",
        "consistentHash: {useSourceIp: true}",
    ],
)
async def test_a_hash_keeps_a_caller_with_one_server(mesh: Story, balancer: str) -> None:
    await mesh.rule("  - route: [{destination: {host: story}}]\n", policy(f"loadBalancer: {{{balancer}}}"))
    # A ring is built while the first call waits, and calls that find only one server connected go there.
    for _ in range(3):
        got = await mesh.ask(count=30, metadata={"user": "jason"})
        assert got["codes"] == {"OK": 30}
        assert len(got["versions"]) == 1


@pytest.mark.parametrize("simple", ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PASSTHROUGH", "LEAST_CONN"])
async def test_every_simple_balancer_is_taken(mesh: Story, simple: str) -> None:
    await mesh.rule("  - route: [{destination: {host: story}}]\n", policy(f"loadBalancer: {{simple: {simple}}}"))
    assert await both_answer(mesh)
    assert await everything_acked(mesh)


async def test_pools_and_outliers_are_taken(mesh: Story) -> None:
    await mesh.rule(
        "  - route: [{destination: {host: story}}]\n",
        policy(
            "connectionPool: {http: {http2MaxRequests: 1}, tcp: {connectTimeout: 1s}}, "
            "outlierDetection: {consecutive5xxErrors: 3}"
        ),
    )
    assert (await mesh.ask())["codes"] == {"OK": 1}
    await mesh.caller.order(hold="xds:///story:50051")
    await mesh.caller.until(lambda a: a["codes"] == {"UNAVAILABLE": 1}, "one call at a time, and no more")


async def test_a_headless_service_is_balanced(mesh: Story) -> None:
    await mesh.world.publish(mesh.base.replace("clusterIP: 10.96.0.10", "clusterIP: None"))
    assert await both_answer(mesh)


async def test_a_name_that_nobody_has_is_told_so_and_served_when_it_comes(mesh: Story) -> None:
    got = await mesh.ask(target="xds:///later:50051")
    assert got["codes"] == {"UNAVAILABLE": 1}
    await mesh.world.publish(mesh.base, mesh.base.replace("name: story", "name: later"))
    await mesh.caller.until(lambda a: a["codes"] == {"OK": 1}, "it is there", target="xds:///later:50051")


async def test_no_call_fails_while_rules_change(mesh: Story) -> None:
    stop = asyncio.Event()

    async def calls() -> dict[str, int]:
        codes: dict[str, int] = {}
        while not stop.is_set():
            for code, number in (await mesh.ask(count=20))["codes"].items():
                codes[code] = codes.get(code, 0) + number
        return codes

    calling = asyncio.create_task(calls())
    for round_ in range(30):
        await mesh.rule(f"  - {to('v1' if round_ % 2 else 'v2')}\n")
        await asyncio.to_thread(lambda: None)  # others have their turn
    await mesh.caller.until(lambda a: a["versions"] == {"v1": 10}, "the last rule is in force", count=10)
    stop.set()
    assert set(await calling) == {"OK"}


async def test_a_server_is_told_to_serve(mesh: Story) -> None:
    address = f"127.0.0.1:{mesh.v1.port}"
    await mesh.v1.stop()
    await mesh.caller.order(serve=address)
    other = Caller(mesh.world.server.port, "sidecar~10.0.0.8~other.default~default.svc.cluster.local")
    got = await other.until(lambda a: a["codes"] == {"OK": 1}, "it serves", target=f"ipv4:{address}")
    other.close()
    assert got["versions"] == {"xds": 1}
    assert SERVER_TEMPLATE % address in (await mesh.caller.order(status=1))["Listener"]


async def test_the_client_says_that_it_has_what_the_server_says_that_it_has(mesh: Story) -> None:
    await mesh.ask()
    assert await everything_acked(mesh)
    [known] = mesh.world.server.clients()
    own = await mesh.caller.order(status=1)
    for kind in (LISTENERS, ROUTES, CLUSTERS, ENDPOINTS):
        held = {name for watch in known.watches(kind) for name in watch.held}
        assert held == set(own[TYPE_URLS[kind].rpartition(".")[2]])


async def both_answer(mesh: Story) -> bool:
    """Whether every call is answered, by either version; a channel uses the servers that it is connected to already."""
    found = await mesh.caller.until(lambda a: len(a["versions"]) == 2, "both versions answer", count=20)
    return set(found["codes"]) == {"OK"}


async def everything_acked(mesh: Story) -> bool:
    """Whether the client itself says that it took all of what it was told."""
    own = await mesh.caller.order(status=1)
    return {status for kind in own.values() for status in kind.values()} == {"ACKED"}
