"""Refused resources: recorded, withheld, isolated; everything else goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.envoy_resources import cluster, endpoints, route
from tests.support.transcript import Delta, Publisher
from tests.unit.xds.test_delta import booted, site

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from tidegate.xds.encode import Encoded
from tidegate.xds.watch import readable, split


def withheld(client: Delta, kind: str) -> list[tuple[str, str]]:
    return [(r.name, r.detail) for r in client.session.watches[kind].withheld()]


def answer_as(client: Delta, kind: str, bad: set[str], detail: str = "") -> list[list[str]]:
    """Refuse every response of kind that holds a bad name, confirm all others; returns what was offered."""
    offered: list[list[str]] = []
    while heard := client.hear():
        for heard_kind, names, _ in heard:
            if heard_kind == kind:
                offered.append(names)
            guilty = sorted(bad & set(names)) if heard_kind == kind else []
            if guilty:
                client.nack(kind, detail or ", ".join(f"Error adding {name}: broken" for name in guilty))
            else:
                client.ack(heard_kind)
    return offered


def test_a_refused_resource_is_recorded_with_its_origin_and_not_sent_again() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site()[:2], route("web", {"v1": 2}), *site()[3:]))
    assert client.hear() == [(ROUTES, ["web"], [])]
    client.nack(ROUTES, "bad weight")
    assert client.hear() == []
    [rejection] = client.session.watches[ROUTES].withheld()
    assert (rejection.name, rejection.detail, rejection.by) == ("web", "bad weight", "envoy")
    assert str(rejection.origins[0]) == "VirtualService default/web (web.yaml:12)"
    assert client.session.applied == 2, "a refusal is an answer too"


def test_the_same_content_published_again_is_still_withheld() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    bad = [*site()[:2], route("web", {"v1": 2}), *site()[3:]]
    client.session.publish(publisher.image(*bad))
    answer_as(client, ROUTES, {"web"})
    client.session.publish(publisher.image(*bad))
    assert client.hear() == []
    assert withheld(client, ROUTES) != []


def test_corrected_content_is_sent_and_the_record_goes() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site()[:2], route("web", {"v1": 2}), *site()[3:]))
    answer_as(client, ROUTES, {"web"})
    client.session.publish(publisher.image(*site()[:2], route("web", {"v1": 3}), *site()[3:]))
    assert client.settle() == [(ROUTES, ["web"], [])]
    assert withheld(client, ROUTES) == []


def test_going_back_to_the_good_content_sends_nothing() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site()[:2], route("web", {"v1": 2}), *site()[3:]))
    answer_as(client, ROUTES, {"web"})
    client.session.publish(publisher.image(*site()))
    assert client.hear() == []
    assert withheld(client, ROUTES) == []


def test_others_of_a_refused_response_are_sent_without_the_one_that_is_named() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    pods = ("a", "b", "c", "d")
    client.session.publish(publisher.image(*site(listeners=("pod", *pods))))
    assert answer_as(client, LISTENERS, {"b"}) == [["a", "b", "c", "d"], ["a", "c", "d"], ["b"]]
    assert [name for name, _ in withheld(client, LISTENERS)] == ["b"]
    assert client.session.applied == 2


def test_an_innocent_one_that_the_text_names_is_accepted() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site(listeners=("pod", "a", "b", "c"))))
    assert answer_as(client, LISTENERS, {"c"}, detail="b is wrong") == [
        ["a", "b", "c"],
        ["a", "c"],
        ["a"],
        ["c"],
        ["b"],
    ]
    assert [name for name, _ in withheld(client, LISTENERS)] == ["c"]


def test_without_a_name_in_the_text_halves_find_the_guilty_ones() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    names = [f"pod-{index:02}" for index in range(64)]
    client.session.publish(publisher.image(*site(listeners=("pod", *names))))
    offered = answer_as(client, LISTENERS, {"pod-17", "pod-40"}, detail="Proto constraint validation failed (x)")
    assert [name for name, _ in withheld(client, LISTENERS)] == ["pod-17", "pod-40"]
    assert set(client.session.watches[LISTENERS].held) == {"pod", *names} - {"pod-17", "pod-40"}
    assert len(offered) <= 2 * 2 * 6 + 1, "two guilty of 64 cost a logarithmic number of attempts"


def test_a_refused_new_route_is_answered_empty_so_that_its_listener_gets_warm() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image(*site()))
    client.say(ROUTES, add=("web",))
    assert client.hear() == [(ROUTES, ["web"], [])]
    client.nack(ROUTES, "broken")
    assert client.hear() == [(ROUTES, ["web"], [])]
    client.ack(ROUTES)
    assert client.session.watches[ROUTES].held["web"].version == "empty"
    assert withheld(client, ROUTES) == [("web", "broken")]


def test_an_envoy_that_starts_anew_gets_the_last_good_content_of_what_it_refuses() -> None:
    publisher, good = Publisher(), dict[tuple[str, str], Encoded]()
    first = Delta(good)
    first.session.publish(publisher.image(*site()))
    first.boot()
    first.settle()
    accepted = first.session.watches[ROUTES].held["web"].version
    image = publisher.image(*site()[:2], route("web", {"v1": 2}), *site()[3:])
    second = Delta(good)
    second.session.publish(image)
    second.say(ROUTES, add=("web",))
    second.hear()
    second.nack(ROUTES, "broken")
    assert second.hear() == [(ROUTES, ["web"], [])]
    second.ack(ROUTES)
    assert second.session.watches[ROUTES].held["web"].version == accepted


def test_a_retry_offers_refused_content_once_more() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site(listeners=("pod", "new"))))
    client.hear()
    client.nack(LISTENERS, "port taken")
    assert client.hear() == []
    client.session.watches[LISTENERS].retry("new")
    assert client.hear() == [(LISTENERS, ["new"], [])]


def test_refused_endpoints_keep_the_last_good_ones_when_their_cluster_changes() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(cluster("v1", connect_timeout="9s"), endpoints("v1", 99999), *site()[2:]))
    assert client.hear() == [(CLUSTERS, ["v1"], []), (ENDPOINTS, ["v1"], [])]
    client.nack(ENDPOINTS, "port too large")
    assert client.hear() == [(ENDPOINTS, ["v1"], [])], "the cluster waits for endpoints to get warm"


def test_a_refused_cluster_is_overwritten_with_the_good_one_before_it_is_tried_again() -> None:
    publisher = Publisher()
    client = booted(publisher, *site(), cluster("other"), endpoints("other", 1))
    changed = {"connect_timeout": "9s"}
    client.session.publish(
        publisher.image(
            cluster("v1", **changed), *site()[1:], cluster("other", **changed), endpoints("other", 1), cluster("new")
        )
    )
    assert client.hear()[0] == (CLUSTERS, ["new", "other", "v1"], [])
    client.ack(ENDPOINTS)
    client.nack(CLUSTERS, "Error adding/updating cluster(s) v1: odd, new: odd")
    assert client.hear() == [(CLUSTERS, ["other", "v1"], ["new"]), (ENDPOINTS, ["other", "v1"], [])]
    client.ack(ENDPOINTS)
    client.ack(CLUSTERS)
    assert client.hear() == [(CLUSTERS, ["other"], []), (ENDPOINTS, ["other"], [])]
    client.ack(ENDPOINTS)
    client.ack(CLUSTERS)
    assert client.hear() == [(CLUSTERS, ["new"], [])]
    client.nack(CLUSTERS, "odd")
    assert client.hear() == [(CLUSTERS, [], ["new"])]
    client.ack(CLUSTERS)
    assert client.hear() == [(CLUSTERS, ["v1"], []), (ENDPOINTS, ["v1"], [])]
    client.ack(ENDPOINTS)
    client.nack(CLUSTERS, "odd")
    assert client.hear() == [(CLUSTERS, ["v1"], []), (ENDPOINTS, ["v1"], [])]
    client.ack(ENDPOINTS)
    client.ack(CLUSTERS)
    assert client.hear() == []
    assert [name for name, _ in withheld(client, CLUSTERS)] == ["new", "v1"]
    assert client.session.applied == 2


def test_a_response_that_is_never_answered_is_overtaken() -> None:
    publisher = Publisher()
    client = booted(publisher, *site("v1"))
    client.session.publish(publisher.image(*site("v2")))
    client.hear()
    stuck = client.open.pop(CLUSTERS)
    client.say(ENDPOINTS, add=("v2",))
    client.hear()
    client.ack(ENDPOINTS)
    assert client.hear() == []
    client.session.watches[CLUSTERS].overtake()
    assert client.hear() == [(ROUTES, ["web"], [])]
    client.ack(ROUTES)
    client.say(CLUSTERS, nonce=stuck)
    assert client.hear() == [(CLUSTERS, [], ["v1"])]


def test_a_late_refusal_of_an_overtaken_response_counts() -> None:
    publisher = Publisher()
    client = booted(publisher, *site("v1"))
    client.session.publish(publisher.image(*site("v1"), cluster("x", type="STATIC")))
    client.hear()
    stuck = client.open.pop(CLUSTERS)
    client.session.watches[CLUSTERS].overtake()
    client.say(CLUSTERS, nonce=stuck, error="broken after all")
    assert withheld(client, CLUSTERS) == [("x", "broken after all")]
    client.session.publish(publisher.image(*site("v1")))
    assert client.hear() == [(CLUSTERS, [], ["x"])], "whatever the client has of it must go"


def test_names_in_the_text_are_found_whole() -> None:
    names = ["outbound|80||a", "outbound|80||a.b", "pod"]
    assert split(names, "Error adding/updating cluster(s) outbound|80||a.b: x") == [
        {"outbound|80||a", "pod"},
        {"outbound|80||a.b"},
    ]
    assert split(["a", "b"], "a: x\nb: y") == [{"a"}, {"b"}]
    assert split(["a", "b", "c"], "?") == [{"a"}, {"b", "c"}]


def test_the_dump_of_a_resource_is_not_shown_to_people() -> None:
    detail = (
        'goo.gle/debugstr\nprivate_key: "secret"\n: Proto constraint validation failed (X.Port: value must be\n less)'
    )
    assert readable(detail) == "Proto constraint validation failed (X.Port: value must be less)"
    assert readable("failed to open netns file /x\n") == "failed to open netns file /x"


@pytest.mark.case("A2")
def test_a_refused_cluster_that_never_was_good_serves_as_if_nobody_had_said_anything_of_it() -> None:
    """After a restart of both there is no older version: its requests would all be answered with 503."""
    publisher = Publisher()
    plain = cluster("new", connect_timeout="2s")
    odd = replace(cluster("new", connect_timeout="9s"), plain=lambda: plain)
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site(), odd, endpoints("new", 1)))
    client.hear()
    client.nack(CLUSTERS, "odd")
    assert client.hear() == [(CLUSTERS, [], ["new"])]
    client.ack(CLUSTERS)
    assert (CLUSTERS, ["new"], []) in client.hear()
    client.ack(CLUSTERS)
    client.say(ENDPOINTS, add=("new",))
    client.settle()
    held = client.session.watches[CLUSTERS].held["new"].encoded
    assert held is not None
    assert b"\x08\x02" in held.data, "two seconds"
    assert [name for name, _ in withheld(client, CLUSTERS)] == ["new"]
    assert client.session.applied == 2
    client.session.publish(publisher.image(*site(), replace(odd), endpoints("new", 1)))
    assert client.hear() == [], "it is not tried again"


def test_a_plain_cluster_that_is_refused_too_is_left_alone() -> None:
    publisher = Publisher()
    odd = replace(cluster("new", connect_timeout="9s"), plain=lambda: cluster("new", connect_timeout="2s"))
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site(), odd, endpoints("new", 1)))
    for _ in range(2):
        client.hear()
        client.nack(CLUSTERS, "odd")
        assert client.hear() == [(CLUSTERS, [], ["new"])]
        client.ack(CLUSTERS)
    client.settle()
    assert client.session.applied == 2
