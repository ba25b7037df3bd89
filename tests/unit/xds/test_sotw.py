"""The state-of-the-world protocol, as transcripts."""

from __future__ import annotations

from tests.support.envoy_resources import cluster, endpoints, route
from tests.support.transcript import Publisher, Sotw
from tests.unit.xds.test_delta import site

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES


def booted(publisher: Publisher, version: str = "v1") -> Sotw:
    """A client that has one site."""
    client = Sotw()
    client.session.publish(publisher.image(*site(version)))
    client.say(CLUSTERS)
    assert client.hear() == [(CLUSTERS, [version])]
    client.say(ENDPOINTS, version, nonce="")
    client.say(CLUSTERS)
    assert client.hear() == [(ENDPOINTS, [version])]
    client.say(ENDPOINTS, version)
    client.say(LISTENERS, nonce="")
    assert client.hear() == [(LISTENERS, ["pod"])]
    client.say(ROUTES, "web", nonce="")
    client.say(LISTENERS)
    assert client.hear() == [(ROUTES, ["web"])]
    client.say(ROUTES, "web")
    assert client.hear() == []
    assert client.session.applied == 1
    return client


def test_first_configuration_goes_out_bottom_up() -> None:
    booted(Publisher())


def test_clusters_are_a_union_until_routes_moved() -> None:
    publisher = Publisher()
    client = booted(publisher, "old")
    client.session.publish(publisher.image(*site("new")))
    assert client.hear() == [(CLUSTERS, ["new", "old"])]
    client.say(CLUSTERS)
    client.say(ENDPOINTS, "new", "old")
    assert client.hear() == [(ENDPOINTS, ["new"])]
    client.say(ENDPOINTS, "new", "old")
    assert client.hear() == [(ROUTES, ["web"])]
    client.say(ROUTES, "web")
    assert client.hear() == [(CLUSTERS, ["new"])]
    client.say(CLUSTERS)
    client.say(ENDPOINTS, "new")
    assert client.hear() == []


def test_a_second_first_request_with_more_names_is_answered_with_the_union() -> None:
    client, publisher = Sotw(), Publisher()
    client.say(ENDPOINTS, "a")
    client.say(ENDPOINTS, "a", "b")
    client.session.publish(publisher.image(cluster("a"), cluster("b"), endpoints("a", 1), endpoints("b", 2)))
    assert client.hear() == [(ENDPOINTS, ["a", "b"])]


def test_fewer_names_need_no_answer_and_none_ends_the_subscription() -> None:
    client, publisher = Sotw(), Publisher()
    client.session.publish(publisher.image(cluster("a"), cluster("b"), endpoints("a", 1), endpoints("b", 2)))
    client.say(ENDPOINTS, "a", "b")
    client.hear()
    client.say(ENDPOINTS, "a")
    assert client.hear() == []
    client.say(ENDPOINTS)
    client.session.publish(publisher.image(cluster("a"), endpoints("a", 9)))
    assert client.hear() == []


def test_an_answer_to_an_older_response_changes_nothing() -> None:
    publisher = Publisher()
    client = booted(publisher)
    client.session.publish(publisher.image(*site()[:2], route("web", {"v1": 2}), *site()[3:]))
    stale = client.nonces[ROUTES]
    assert client.hear() == [(ROUTES, ["web"])]
    client.say(ROUTES, "web", "other", nonce=stale)
    assert client.session.applied == 0
    assert client.hear() == []
    client.say(ROUTES, "web", "other")
    assert client.hear() == [(ROUTES, ["other"])]


def test_a_repeated_empty_nonce_is_answered_always() -> None:
    publisher = Publisher()
    client = booted(publisher)
    client.say(ROUTES, "web", nonce="")
    assert client.hear() == [(ROUTES, ["web"])]


def test_a_refused_listener_leaves_the_others_in_the_world() -> None:
    publisher = Publisher()
    client = booted(publisher)
    client.session.publish(publisher.image(*site(listeners=("pod", "good", "bad"))))
    assert client.hear() == [(LISTENERS, ["bad", "good", "pod"])]
    client.say(LISTENERS, error="Error adding/updating listener(s) bad: no such netns")
    assert client.hear() == [(LISTENERS, ["good", "pod"])]
    client.say(LISTENERS)
    assert client.hear() == [(LISTENERS, ["bad", "good", "pod"])]
    client.say(LISTENERS, error="Error adding/updating listener(s) bad: no such netns")
    assert client.hear() == []
    [rejection] = client.session.watches[LISTENERS].withheld()
    assert rejection.name == "bad"


def test_named_clusters_are_not_a_wildcard() -> None:
    client, publisher = Sotw(), Publisher()
    client.session.publish(publisher.image(cluster("a"), cluster("b")))
    client.say(CLUSTERS, "a")
    assert client.hear() == [(CLUSTERS, ["a"])]
    client.say(CLUSTERS)
    assert client.hear() == [], "an empty list after a non-empty one ends the subscription"
