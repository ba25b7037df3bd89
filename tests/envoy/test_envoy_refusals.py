"""What a real Envoy refuses is withheld and named with its source object; everything else is in force."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.envoy.envoy_fixtures import node, pod, upstreams
from tests.support.envoy_node import EnvoyNode, Pod, until
from tests.support.envoy_resources import Resources, cluster, endpoints, listener, resources, route, website
from tests.support.eventually import HANG_SECONDS

from tidegate.linux.netns import Netns, NetnsNames
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, EnvoyResource

__all__ = ["node", "pod", "upstreams"]

# The upstream does not answer it, and a cluster is not warm before the first answer.
SLOW_HEALTH_CHECK = {
    "timeout": "36000s",
    "interval": "36000s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "http_health_check": {"path": "/?sleep=36000"},
}


@pytest.fixture
def pods() -> Iterator[list[Pod]]:
    made = [Pod() for _ in range(4)]
    yield made
    for each in made:
        each.delete()


def site(pods: list[Pod], port: int, *, broken: str = "") -> Resources:
    """One route for all pods; the pod of that name gets a netns that does not exist."""
    return resources(
        (CLUSTERS, cluster("web")),
        (ENDPOINTS, endpoints("web", port)),
        (ROUTES, route("web", {"web": 1})),
        *((LISTENERS, listener(p.name, "/run/netns/absent" if p.name == broken else p.path, "web")) for p in pods),
    )


async def test_one_odd_pod_does_not_hold_up_the_others(
    node: EnvoyNode, pods: list[Pod], upstreams: dict[str, int]
) -> None:
    odd = pods[1].name
    await node.publish(site(pods, upstreams["v1"], broken=odd))
    for each in pods:
        if each.name != odd:
            answer = await until(each.ask, "the pod gets an answer")
            assert answer["status"] == 200
    [failure] = node.xds.rejected()
    assert failure.item == odd
    assert "failed to open netns file /run/netns/absent" in failure.reason
    assert failure.origins == (f"Pod default/{odd}",)


async def test_a_refused_listener_is_taken_once_its_obstacle_is_gone(
    node: EnvoyNode, tmp_path: Path, upstreams: dict[str, int]
) -> None:
    late = Pod()
    link = tmp_path / "netns"
    try:
        await node.publish(website(str(link), upstreams, {"v1": 1}))
        assert [failure.item for failure in node.xds.rejected()] == ["pod"]
        link.symlink_to(late.path)
        await until(lambda: not node.xds.rejected(), "the listener is offered again")
        assert (await until(late.ask, "the pod gets an answer"))["status"] == 200
    finally:
        late.delete()


ONE_OF_MANY: dict[str, tuple[str, EnvoyResource, str]] = {
    "cluster, broken constraint": (CLUSTERS, cluster("web-v2", connect_timeout="-1s"), "duration"),
    "endpoints, broken constraint": (ENDPOINTS, endpoints("web-v2", 70000), "PortValue"),
    "route, duplicate domain": (
        ROUTES,
        EnvoyResource("two", {"name": "two", "virtual_hosts": [{"name": n, "domains": ["*"]} for n in "ab"]}),
        "Only a single wildcard domain",
    ),
    "route, broken expression": (
        ROUTES,
        EnvoyResource(
            "two",
            {
                "name": "two",
                "virtual_hosts": [
                    {
                        "name": "a",
                        "domains": ["*"],
                        "routes": [{"match": {"safe_regex": {"regex": "("}}, "route": {"cluster": "web-v1"}}],
                    }
                ],
            },
        ),
        "missing )",
    ),
    "listener, unknown filter": (
        LISTENERS,
        EnvoyResource("second", {"name": "second", "filter_chains": [{"filters": [{"name": "absent"}]}]}),
        "",
    ),
}


@pytest.mark.parametrize(("kind", "bad", "why"), ONE_OF_MANY.values(), ids=ONE_OF_MANY.keys())
async def test_the_guilty_one_is_named_and_its_last_good_content_serves(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int], kind: str, bad: EnvoyResource, why: str
) -> None:
    second = Pod()
    try:
        good = website(pod.path, upstreams, {"v1": 1})
        good[ROUTES]["two"] = route("two", {"web-v2": 1})
        good[LISTENERS]["second"] = listener("second", second.path, "two")
        await node.publish(good)
        mixed = website(pod.path, upstreams, {"v2": 1}, connect_timeout="4s")
        mixed[ROUTES]["two"] = route("two", {"web-v2": 3}, timeout="9s")
        mixed[LISTENERS]["second"] = listener("second", second.path, "two", stat_prefix="changed")
        mixed[kind][bad.name] = bad
        await node.publish(mixed)
        rejected = node.xds.rejected()
        assert [failure.item for failure in rejected] == [bad.name]
        assert why in rejected[0].reason
        assert (await until(second.ask, "the last good content serves"))["body"]["version"] == "v2"
        assert (await until(pod.ask, "the others are in force"))["body"]["version"] == "v2"
        await node.publish(good)
        assert not node.xds.rejected()
    finally:
        second.delete()


async def test_a_body_that_does_not_parse_is_reported_with_its_origin(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    await node.publish(website(pod.path, upstreams, {"v1": 1}, timeout_of_connect="1s"))
    failures = node.xds.rejected()
    assert {f.item for f in failures} == {"web-v1", "web-v2"}
    assert "timeout_of_connect" in failures[0].reason
    assert failures[0].origins == ("Service default/web-v1 (web.yaml:1)",)
    assert (await until(pod.ask, "the last good content serves"))["status"] == 200


@pytest.mark.parametrize("node", [{"patience": 36000}], indirect=True)
async def test_a_refused_cluster_that_envoy_began_to_warm_does_not_hold_up_later_changes(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    odd = website(pod.path, upstreams, {"v1": 1})
    # Envoy 1.40 refuses this table size only after it began to warm the cluster.
    for name in ("web-v1", "new"):
        odd[CLUSTERS][name] = cluster(name, lb_policy="MAGLEV", maglev_lb_config={"table_size": "4"})
        odd[ENDPOINTS][name] = endpoints(name, upstreams["v1"])
    await node.publish(odd)
    assert {failure.item for failure in node.xds.rejected()} == {"web-v1", "new"}
    later = {
        **odd,
        ROUTES: {"web": route("web", {"web-v2": 1})},
        CLUSTERS: {**odd[CLUSTERS], "later": cluster("later")},
    }
    await node.publish(later)
    assert (await until(pod.ask, "the change is in force"))["body"]["version"] == "v2"
    assert node.clusters() == {"web-v1", "web-v2", "later"}


async def test_a_cluster_that_never_gets_warm_does_not_hold_up_later_changes(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    await node.publish(website(pod.path, upstreams, {"v1": 1}))
    waiting = website(pod.path, upstreams, {"v1": 1})
    waiting[CLUSTERS]["cold"] = cluster("cold", health_checks=[SLOW_HEALTH_CHECK])
    waiting[ENDPOINTS]["cold"] = endpoints("cold", upstreams["v1"])
    node.generation += 1
    await node.xds.publish(node.generation, waiting)
    await until(lambda: node.stat("cluster_manager.warming_clusters") == 1, "Envoy warms the cluster")
    assert await node.xds.wait_applied(node.generation, HANG_SECONDS), "patience has an end"
    later = {
        **waiting,
        ROUTES: {"web": route("web", {"web-v2": 1})},
        CLUSTERS: {**waiting[CLUSTERS], "later": cluster("later")},
    }
    await node.publish(later)
    assert (await until(pod.ask, "the change is in force"))["body"]["version"] == "v2"
    assert node.stat("cluster_manager.warming_clusters") == 1
    assert not node.xds.status().types[CLUSTERS].acked


def keep(names: NetnsNames, pod: Pod) -> Netns:
    """As the agent does: Envoy is told a name that means this namespace for ever, not the runtime's."""
    fd = os.open(pod.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return names.keep(fd, names.cookie_of(fd))
    finally:
        os.close(fd)


async def test_a_pod_recreated_at_the_same_path_gets_its_own_listener(
    node: EnvoyNode, upstreams: dict[str, int], tmp_path: Path
) -> None:
    """While the first one's listener drains, Envoy has its socket: at the same path the next one would inherit it."""
    names, first = NetnsNames(tmp_path / "netns"), Pod()
    told = site([first], upstreams["v1"])
    with contextlib.closing(keep(names, first)) as kept:
        await node.publish({**told, LISTENERS: {"sandbox-1": listener("sandbox-1", str(kept.path), "web")}})
        assert (await until(first.ask, "the first pod gets an answer"))["status"] == 200
        first.delete()
        again = Pod(first.name)
        try:
            with contextlib.closing(keep(names, again)) as other:
                await node.publish({**told, LISTENERS: {"sandbox-2": listener("sandbox-2", str(other.path), "web")}})
                answer = await until(lambda: (a := again.ask())["status"] == 200 and a, "the second pod gets an answer")
                assert answer["body"]["version"] == "v1"
                assert not node.xds.rejected()
        finally:
            again.delete()
    names.remove()


async def test_a_listener_whose_netns_is_gone_is_removed_without_complaint(
    node: EnvoyNode, pods: list[Pod], upstreams: dict[str, int]
) -> None:
    await node.publish(site(pods, upstreams["v1"]))
    gone = pods[0]
    gone.delete()
    await node.publish(site(pods[1:], upstreams["v1"]))
    assert not node.xds.rejected()
    active = {e["name"] for e in node.config("dynamic_listeners") if "active_state" in e}
    assert active == {p.name for p in pods[1:]}


@pytest.mark.case("A2")
async def test_a_refused_cluster_that_never_was_good_serves_without_what_was_refused(
    node: EnvoyNode, pod: Pod, upstreams: dict[str, int]
) -> None:
    odd = cluster("web", lb_policy="MAGLEV", maglev_lb_config={"table_size": "1000"})
    await node.publish(
        resources(
            (CLUSTERS, replace(odd, plain=lambda: cluster("web"))),
            (ENDPOINTS, endpoints("web", upstreams["v1"])),
            (ROUTES, route("web", {"web": 1})),
            (LISTENERS, listener(pod.name, pod.path, "web")),
        )
    )
    assert (await until(pod.ask, "the pod gets an answer"))["status"] == 200
    [failure] = node.xds.rejected()
    assert failure.item == "web"
    assert "prime" in failure.reason
