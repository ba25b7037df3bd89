"""Kinds that are made on demand: a client gets what it asks for and what that leads to, and nothing else is made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest
from tests.support.envoy_resources import cluster, endpoints, listener, route
from tests.support.transcript import Delta

from tidegate.compile.outbound.scopes import scope
from tidegate.model.net import parse_ip
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import (
    CHECKS,
    CLUSTERS,
    ENDPOINTS,
    EVERY,
    INBOUND,
    LISTENERS,
    REFUSED,
    ROUTES,
    SCOPES,
    EnvoyResource,
    MadeOnDemand,
    ResourceRef,
    overlaid,
)
from tidegate.xds.checks import AT_A_TIME
from tidegate.xds.encode import Encoder, Image
from tidegate.xds.session import INBOUND_SECONDS, LINGER_SECONDS
from tidegate.xds.stream import Stream

NETNS = "/run/netns/pod"


class Node:
    """Plans of a node with one pod and these services, each at an address of its own."""

    def __init__(self) -> None:
        self.encoder = Encoder()
        self.generation = 0
        self.made: list[str] = []

    def image(self, *services: str, weights: int = 1) -> Image:
        self.generation += 1
        pod = listener("pod", NETNS, "unused")
        pod = EnvoyResource(pod.name, pod.body, pod.origins, frozenset({ResourceRef(SCOPES, EVERY)}))
        scopes = [scope(parse_ip(f"10.96.0.{1 + ord(s[0])}"), 80, s, ()) for s in services]
        return self.encoder.publish(
            self.generation,
            {
                LISTENERS: {"pod": pod},
                SCOPES: {s.name: s for s in scopes},
                ROUTES: self.kind(services, lambda name: route(name, {f"to-{name}": weights})),
                CLUSTERS: self.kind([f"to-{s}" for s in services], cluster),
                ENDPOINTS: self.kind([f"to-{s}" for s in services], lambda name: endpoints(name, 80)),
            },
        )

    def kind(self, names: Collection[str], make: object) -> MadeOnDemand:
        def made(name: str) -> EnvoyResource | None:
            if name not in names:
                return None
            self.made.append(name)
            resource: EnvoyResource = make(name)  # type: ignore[operator]
            return resource

        return MadeOnDemand(made, lambda: names)


def booted(node: Node, *services: str) -> Delta:
    client = Delta()
    client.session.publish(node.image(*services))
    client.boot()
    assert client.settle() == [(CLUSTERS, [], []), (LISTENERS, ["pod"], [])]
    assert client.session.applied == 0, "the listener waits for the scopes"
    client.say(SCOPES)
    assert client.settle() == [(SCOPES, sorted(f"10.96.0.{1 + ord(s[0])}:80" for s in services), [])]
    assert client.session.applied == node.generation
    return client


def test_a_service_that_nobody_uses_costs_a_scope() -> None:
    node = Node()
    booted(node, "a", "b")
    assert node.made == []


def test_the_first_request_brings_the_route_after_its_cluster() -> None:
    node = Node()
    client = booted(node, "a", "b")
    client.say(ROUTES, add=("a",))
    assert client.hear() == [(CLUSTERS, ["to-a"], [])]
    client.say(ENDPOINTS, add=("to-a",))
    client.ack(CLUSTERS)
    assert client.hear() == [(ENDPOINTS, ["to-a"], [])]
    client.ack(ENDPOINTS)
    assert client.hear() == [(ROUTES, ["a"], [])]
    assert set(node.made) == {"a", "to-a"}


def test_what_is_not_there_is_answered_with_nothing() -> None:
    client = booted(Node(), "a")
    client.say(ROUTES, add=("gone",))
    assert client.settle() == [(ROUTES, ["gone"], [])]
    assert client.session.watches[ROUTES].held["gone"].version == "empty"


def test_a_change_of_what_nobody_uses_says_nothing() -> None:
    node = Node()
    client = booted(node, "a", "b")
    client.say(ROUTES, add=("a",))
    client.settle()
    client.session.publish(node.image("a", "b"))
    assert client.hear() == []
    client.session.publish(node.image("a", "b", weights=2))
    assert client.settle() == [(ROUTES, ["a"], [])]
    client.session.publish(node.image("a", "b", "c", weights=2))
    assert client.settle() == [(SCOPES, ["10.96.0.100:80"], [])]


def test_what_is_not_used_any_more_goes() -> None:
    client = booted(Node(), "a")
    client.say(ROUTES, add=("a",))
    client.settle()
    client.say(ROUTES, drop=("a",))
    assert client.settle() == [(CLUSTERS, [], ["to-a"])]


def test_a_new_agent_learns_from_envoy_what_is_in_use() -> None:
    node = Node()
    before = booted(node, "a", "b")
    before.say(ROUTES, add=("a",))
    before.settle()
    known = {
        kind: {name: held.version for name, held in before.session.watches[kind].held.items()}
        for kind in (CLUSTERS, ENDPOINTS, LISTENERS, SCOPES, ROUTES)
    }
    client = Delta()
    client.session.publish(Node().image("a", "b"))
    client.say(CLUSTERS, known=known[CLUSTERS])
    client.say(LISTENERS, known=known[LISTENERS])
    client.say(SCOPES, known=known[SCOPES])
    client.say(ENDPOINTS, add=("to-a",), known=known[ENDPOINTS])
    client.say(ROUTES, add=("a",), known=known[ROUTES])
    assert client.settle() == [], "nothing is taken away, nothing is sent again"
    assert client.session.applied == 1


def test_the_scope_of_a_service_that_went_lingers_for_kept_connections() -> None:
    node = Node()
    client = booted(node, "a", "b")
    client.say(ROUTES, add=("a",))
    client.settle()
    stream = Stream(client.stream)
    stream.publish(node.image("b"))
    assert stream.advance(1000.0) == ([], [])
    assert client.session.applied == node.generation, "nobody waits for it"
    assert stream.idle_until() == 1000.0 + LINGER_SECONDS
    assert stream.advance(999.0 + LINGER_SECONDS) == ([], [])
    ((removal,), _) = stream.advance(1000.0 + LINGER_SECONDS)
    assert list(removal.removed_resources) == ["10.96.0.98:80"]


def test_a_service_that_comes_back_keeps_its_scope() -> None:
    node = Node()
    client = booted(node, "a", "b")
    stream = Stream(client.stream)
    stream.publish(node.image("b"))
    stream.advance(1000.0)
    stream.publish(node.image("a", "b"))
    assert stream.advance(2000.0 + LINGER_SECONDS) == ([], [])
    assert stream.idle_until() is None


def in_front(*ports: int) -> dict[str, EnvoyResource]:
    """A pod's inbound listener that leads to a cluster for each port; none, and it is not there."""
    made = listener("in front", NETNS, "unused")
    refs = frozenset(ResourceRef(CLUSTERS, f"{INBOUND}{port}||1") for port in ports)
    return {made.name: EnvoyResource(made.name, {**made.body, "stat_prefix": str(ports)}, (), refs)} if ports else {}


def test_what_an_inbound_listener_led_to_stays_until_it_has_drained() -> None:
    encoder = Encoder()

    def image(generation: int, *ports: int) -> Image:
        clusters = {f"{INBOUND}{port}||1": cluster(f"{INBOUND}{port}||1") for port in (1, 2)}
        made = MadeOnDemand(clusters.get, lambda: clusters)
        nobody = MadeOnDemand(lambda _: None)
        kinds = {LISTENERS: in_front(*ports), CLUSTERS: made, ENDPOINTS: nobody, SCOPES: {}, ROUTES: nobody}
        return encoder.publish(generation, kinds)

    client = Delta()
    client.session.publish(image(1, 1, 2))
    client.boot()
    client.settle()
    stream = Stream(client.stream)
    client.session.publish(image(2, 1))
    assert client.settle() == [(LISTENERS, ["in front"], [])], "connections of the other port answer once more"
    client.session.publish(image(3))
    assert client.settle() == [(LISTENERS, [], ["in front"])]
    assert client.session.applied == 3, "nobody waits for it"
    assert stream.advance(1.0) == ([], [])
    assert stream.idle_until() == INBOUND_SECONDS
    assert stream.advance(INBOUND_SECONDS - 1.0) == ([], [])
    ((removal,), _) = stream.advance(INBOUND_SECONDS)
    assert sorted(removal.removed_resources) == [f"{INBOUND}1||1", f"{INBOUND}2||1"]


def test_a_listener_waits_for_the_scopes_and_for_no_later_one() -> None:
    node = Node()
    client = Delta()
    client.session.publish(node.image("a"))
    client.boot()
    client.settle()
    assert client.session.waiting() == {"pod"}
    client.say(SCOPES)
    client.settle()
    assert client.session.waiting() == set()
    client.session.publish(node.image("a", "b"))
    assert client.session.waiting() == set()


def test_what_is_made_on_demand_stays_so_when_more_is_laid_over_it() -> None:
    node = Node()
    below, above = (node.kind(names, cluster) for names in (("a", "b"), ("b", "c")))
    both = overlaid(below, above)
    assert node.made == []
    assert both["b"] == above["b"]
    assert set(both) == {"a", "b", "c"}
    assert overlaid({"a": cluster("a")}, {}) == {"a": cluster("a")}


def checked(node: Node, *rules: str, used: str = "a") -> Image:
    """An image of service `used` and of rules that nobody uses."""
    image = node.image(used) if used else node.image()
    tables = {**image._resources, CHECKS: {f"check|{r}": route(f"check|{r}", {"x": 1}) for r in rules}}
    return node.encoder.publish(node.generation, tables)


def fetch(client: Delta, name: str, refusal: str = "") -> None:
    """What Envoy does with a scope that is not on demand: fetch the routes, and judge them."""
    client.say(ROUTES, add=(name,))
    assert client.hear() == [(ROUTES, [name], [])]
    client.nack(ROUTES, refusal) if refusal else client.ack(ROUTES)


def test_a_rule_that_nobody_uses_is_shown_once_and_taken_away() -> None:
    node = Node()
    client = booted(node, "a")
    client.session.publish(checked(node, "odd"))
    assert client.hear() == [(SCOPES, ["check|odd"], [])]
    client.ack(SCOPES)
    assert client.session.applied == 0, "nobody knows yet whether it is good"
    fetch(client, "check|odd")
    assert client.hear() == [(SCOPES, [], ["check|odd"])]
    client.ack(SCOPES)
    client.say(ROUTES, drop=("check|odd",))
    assert client.hear() == []
    assert client.session.applied == node.generation
    assert "to-a" not in node.made, "its clusters are nobody's either"
    assert client.session.withheld() == []


def test_a_client_without_scopes_of_addresses_is_shown_rules_once_it_has_asked_for_scopes() -> None:
    """As a gateway's."""
    node = Node()
    client = Delta()
    client.session.publish(checked(node, "odd", used=""))
    client.boot()
    client.settle()
    assert client.session.applied == 0
    client.say(SCOPES)
    assert client.hear() == [(SCOPES, [], [])], "what it waits for first"
    client.ack(SCOPES)
    assert client.hear() == [(SCOPES, ["check|odd"], [])]
    client.ack(SCOPES)
    fetch(client, "check|odd")
    client.settle()
    assert client.session.applied == node.generation


def test_a_refused_rule_that_nobody_uses_is_named_until_it_changes() -> None:
    node = Node()
    client = booted(node, "a")
    image = checked(node, "odd")
    client.session.publish(image)
    client.settle()
    fetch(client, "check|odd", refusal="no such operator")
    assert client.hear() == [(SCOPES, [], ["check|odd"]), (ROUTES, ["check|odd"], [])], "gone, and empty until then"
    client.ack(SCOPES)
    client.ack(ROUTES)
    client.say(ROUTES, drop=("check|odd",))
    client.settle()
    assert client.session.applied == node.generation
    client.session.publish(image)
    assert [r.name for r in client.session.withheld()] == ["check|odd"]
    assert client.hear() == [], "it was judged"
    client.session.publish(checked(node))
    assert client.session.withheld() == []


def test_rules_are_shown_few_at_a_time() -> None:
    node = Node()
    client = booted(node, "a")
    rules = [f"r{n:03}" for n in range(AT_A_TIME + 1)]
    client.session.publish(checked(node, *rules))
    ((_, shown, _),) = client.hear()
    assert len(shown) == AT_A_TIME
    client.ack(SCOPES)
    fetch(client, shown[0])
    assert client.hear() == [(SCOPES, [f"check|{rules[-1]}"], [shown[0]])]


RULE = Origin("VirtualService", "default", "odd")
IN_IT = replace(RULE, line=7)  # a route of it, which another rule delegates to


class Judged:
    """A node with services a and b, whose tables have a rule in them that was not judged yet; `weights` tell versions
    apart. In b's only if `both`."""

    def __init__(self, *, both: bool = True) -> None:
        self.node = Node()
        self.client = Delta()
        self.both = both
        self.rules: dict[int, object] = {}

    def image(self, weights: int, *, refused: int = 0) -> Image:
        """The table with one version of the rule, and perhaps another one that was refused."""
        plain = self.node.image("a", "b")
        made = {
            name: replace(route(name, {f"to-{name}": weights}), origins=(IN_IT,) if weights and rule else ())
            for name, rule in (("a", True), ("b", self.both))
        }
        shown = {"check|odd": self.check("check|odd", weights)} if weights else {}
        if refused:
            name = f"check|odd{REFUSED}"
            shown[name] = self.check(name, refused)
        tables = {**plain._resources, ROUTES: MadeOnDemand(made.get), CHECKS: shown}
        return self.node.encoder.publish(self.node.generation, tables)

    def check(self, name: str, weights: int) -> EnvoyResource:
        judged = self.rules.setdefault(weights, object())
        return replace(route(name, {"x": weights}), origins=(RULE,), judged=judged)

    def boot(self, image: Image) -> None:
        self.client.session.publish(image)
        self.client.boot()
        self.client.settle()
        self.client.say(SCOPES)
        self.client.settle()

    def judge(self, refusal: str = "", name: str = "check|odd") -> list[tuple[object, str]]:
        fetch(self.client, name, refusal)
        self.heard = self.client.settle()
        self.client.say(ROUTES, drop=(name,))
        self.client.settle()
        return [(v.rule, v.refused) for v in self.client.session.take_verdicts()]

    @property
    def held(self) -> str | None:
        found = self.client.session.watches[ROUTES].held.get("a")
        return found.version if found else None


def version(image: Image) -> str:
    found = image.get(ROUTES, "a")
    assert found is not None
    return found.version


@pytest.mark.case("A1")
def test_a_table_waits_for_the_verdict_on_each_rule_in_it() -> None:
    """Also the first time that somebody asks for it: the client waits, and is told nothing that is not so."""
    judged = Judged()
    first = judged.image(1)
    judged.boot(first)
    judged.client.say(ROUTES, add=("a",))
    assert [kind for kind, _, _ in judged.client.settle()] == [CLUSTERS, ENDPOINTS]
    assert judged.held is None
    assert judged.judge() == [(judged.rules[1], "")]
    assert (ROUTES, ["a"], []) in judged.heard
    assert judged.held == version(first)


@pytest.mark.case("A1")
def test_a_refused_rule_gets_into_no_table() -> None:
    judged = Judged()
    judged.boot(judged.image(1))
    judged.client.say(ROUTES, add=("a", "b"))
    judged.client.settle()
    judged.judge()
    before = judged.held
    judged.client.session.publish(judged.image(2))
    judged.client.settle()
    assert judged.judge("no such operator") == [(judged.rules[2], "no such operator")]
    assert judged.held == before, "as it was"
    assert [r.name for r in judged.client.session.withheld()] == ["check|odd"]
    without = judged.image(1, refused=2)
    judged.client.session.publish(without)
    assert [r.name for r in judged.client.session.withheld()] == [f"check|odd{REFUSED}"], "it is still said"
    judged.client.settle()
    judged.judge()
    assert judged.held == version(without) == before
    assert judged.client.session.applied == judged.node.generation


@pytest.mark.case("A2")
def test_after_a_restart_of_both_only_the_refused_rule_is_missing() -> None:
    """Nobody remembers anything: neither the agent nor the client has seen a good version."""
    judged = Judged()
    judged.boot(judged.image(2))
    judged.client.say(ROUTES, add=("a",))
    judged.client.settle()
    judged.judge("no such operator")
    assert judged.held is None, "the request waits"
    without = judged.image(0, refused=2)
    judged.client.session.publish(without)
    judged.client.settle()
    assert judged.held == version(without)
    assert judged.client.session.applied == judged.node.generation


def test_a_refused_rule_is_shown_again_to_a_client_that_starts_anew() -> None:
    """It may be of another version, and take it."""
    judged = Judged()
    judged.boot(judged.image(0, refused=2))
    assert judged.judge(name=f"check|odd{REFUSED}") == [(judged.rules[2], "")]
    assert judged.client.session.withheld() == []


def test_a_table_that_alone_has_a_rule_in_it_does_not_wait_once_the_client_has_it() -> None:
    """If it is refused the client keeps what it has. So a change of a service's own rule costs no time."""
    judged = Judged(both=False)
    judged.boot(judged.image(1))
    judged.client.say(ROUTES, add=("a", "b"))
    judged.client.settle()
    judged.judge()
    second = judged.image(2)
    judged.client.session.publish(second)
    judged.client.settle()
    assert judged.held == version(second)
