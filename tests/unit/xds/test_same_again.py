"""What is the very same as before costs nothing again, however much of it there is: pods come and go often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.support.envoy_resources import cluster, endpoints, listener, route
from tests.support.transcript import Delta

from tidegate.compile.outbound.scopes import scope
from tidegate.model.net import parse_ip
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, EVERY, LISTENERS, ROUTES, SCOPES, EnvoyResource, ResourceRef
from tidegate.xds.encode import Encoder, Image

SERVICES = ("a", "b", "c")


class Watched(Mapping[str, EnvoyResource]):
    """Resources that count how often somebody looks at them."""

    def __init__(self, resources: Mapping[str, EnvoyResource]) -> None:
        self._resources = resources
        self.looks = 0

    def __getitem__(self, name: str) -> EnvoyResource:
        self.looks += 1
        return self._resources[name]

    def __iter__(self) -> Iterator[str]:
        self.looks += 1
        return iter(self._resources)

    def __len__(self) -> int:
        return len(self._resources)


def pod(name: str) -> EnvoyResource:
    made = listener(name, f"/run/netns/{name}", "unused")
    return EnvoyResource(made.name, made.body, made.origins, frozenset({ResourceRef(SCOPES, EVERY)}))


def tables() -> dict[str, Watched]:
    scopes = [scope(parse_ip(f"10.96.0.{n + 1}"), 80, name, ()) for n, name in enumerate(SERVICES)]
    return {
        SCOPES: Watched({s.name: s for s in scopes}),
        ROUTES: Watched({name: route(name, {f"to-{name}": 1}) for name in SERVICES}),
        CLUSTERS: Watched({f"to-{name}": cluster(f"to-{name}") for name in SERVICES}),
        ENDPOINTS: Watched({f"to-{name}": endpoints(f"to-{name}", 80) for name in SERVICES}),
    }


def test_a_pod_that_comes_makes_nobody_look_at_the_services() -> None:
    encoder, same = Encoder(), tables()
    first = encoder.publish(1, {**same, LISTENERS: {"one": pod("one")}})
    client = Delta()
    client.session.publish(first)
    client.boot()
    client.settle()
    client.say(SCOPES)
    client.settle()
    before = {kind: table.looks for kind, table in same.items()}
    client.session.publish(encoder.publish(2, {**same, LISTENERS: {"one": pod("one"), "two": pod("two")}}))
    assert client.settle() == [(LISTENERS, ["two"], [])]
    assert client.session.applied == 2
    assert {kind: table.looks for kind, table in same.items()} == before


def test_what_was_wrong_is_still_wrong_where_nothing_changed() -> None:
    encoder, bad = Encoder(), {"r": EnvoyResource("r", {"name": "r", "no_such": 1}, ())}
    images: list[Image] = [encoder.publish(g, {ROUTES: bad, LISTENERS: {str(g): pod(str(g))}}) for g in (1, 2)]
    assert [[r.name for r in image.broken] for image in images] == [["r"], ["r"]]
    mended = encoder.publish(3, {ROUTES: {"r": route("r", {"c": 1})}})
    assert not mended.broken
    assert mended.get(ROUTES, "r") is not None


def test_what_a_client_wants_again_is_found_although_nothing_changed() -> None:
    encoder, same = Encoder(), tables()
    client = Delta()
    client.session.publish(encoder.publish(1, {**same, LISTENERS: {"one": pod("one")}}))
    client.boot()
    client.settle()
    client.say(SCOPES)
    client.settle()
    client.session.publish(encoder.publish(2, {LISTENERS: {"one": pod("one")}, **tables(), SCOPES: Watched({})}))
    assert client.settle() == []
    assert len(client.session.watches[SCOPES].target) == 0
