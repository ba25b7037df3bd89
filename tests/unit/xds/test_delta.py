"""The incremental protocol, as transcripts."""

from __future__ import annotations

from tests.support.envoy_resources import cluster, endpoints, listener, route
from tests.support.transcript import Delta, Publisher

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, EnvoyResource

NETNS = "/run/netns/pod"


def site(version: str = "v1", *, listeners: tuple[str, ...] = ("pod",)) -> list[EnvoyResource]:
    """One cluster behind one route behind listeners."""
    return [
        cluster(version),
        endpoints(version, 80),
        route("web", {version: 1}),
        *(listener(name, NETNS, "web") for name in listeners),
    ]


def booted(publisher: Publisher, *items: EnvoyResource) -> Delta:
    """A client that has everything of a first image."""
    client = Delta()
    client.session.publish(publisher.image(*items))
    client.boot()
    client.settle()
    return client


def test_nothing_is_sent_before_the_first_publication() -> None:
    client, publisher = Delta(), Publisher()
    client.boot()
    assert client.hear() == []
    client.session.publish(publisher.image(*site()))
    assert client.hear() == [(CLUSTERS, ["v1"], [])]


def test_first_configuration_goes_out_bottom_up() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image(*site()))
    client.boot()
    assert client.settle() == [
        (CLUSTERS, ["v1"], []),
        (ENDPOINTS, ["v1"], []),
        (LISTENERS, ["pod"], []),
        (ROUTES, ["web"], []),
    ]
    assert client.session.applied == 1


def test_a_wildcard_over_nothing_is_answered_once() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image())
    client.boot()
    assert client.settle() == [(CLUSTERS, [], []), (LISTENERS, [], [])]
    assert client.hear() == []
    assert client.session.applied == 1


def test_an_explicit_star_is_a_wildcard() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image(cluster("a"), cluster("b")))
    client.say(CLUSTERS, add=("*",))
    assert client.hear() == [(CLUSTERS, ["a", "b"], [])]


def test_names_without_a_wildcard_get_only_those() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image(cluster("a"), cluster("b")))
    client.say(CLUSTERS, add=("b",))
    assert client.hear() == [(CLUSTERS, ["b"], [])]


def test_equal_content_is_not_sent_again() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site()))
    assert client.hear() == []
    assert client.session.applied == 2


def test_only_what_changed_is_sent() -> None:
    publisher = Publisher()
    other = [cluster("other"), endpoints("other", 1)]
    client = booted(publisher, *site(), *other)
    client.session.publish(publisher.image(cluster("v1"), endpoints("v1", 81), *site()[2:], *other))
    assert client.settle() == [(ENDPOINTS, ["v1"], [])]


def test_an_answer_to_an_older_response_is_ignored() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site(), cluster("x", type="STATIC")))
    client.hear()
    client.say(CLUSTERS, nonce="clusters-1")
    client.say(CLUSTERS, nonce="clusters-1", error="old complaint")
    assert client.session.applied == 0
    assert client.session.watches[CLUSTERS].withheld() == []
    client.ack(CLUSTERS)
    assert client.session.applied == 2


def test_a_change_while_a_response_is_unanswered_waits_for_the_answer() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(cluster("v1"), endpoints("v1", 81), *site()[2:]))
    assert client.hear() == [(ENDPOINTS, ["v1"], [])]
    client.session.publish(publisher.image(cluster("v1"), endpoints("v1", 82), *site()[2:]))
    assert client.hear() == []
    client.ack(ENDPOINTS)
    assert client.hear() == [(ENDPOINTS, ["v1"], [])]


def test_endpoints_follow_a_changed_cluster_though_nobody_asks() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(cluster("v1", connect_timeout="9s"), *site()[1:]))
    # Envoy confirms the cluster only after it got the endpoints, so they must not wait for that.
    assert client.hear() == [(CLUSTERS, ["v1"], []), (ENDPOINTS, ["v1"], [])]


def test_a_name_asked_for_again_is_answered_again() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.say(ENDPOINTS, add=("v1",))
    assert client.hear() == [(ENDPOINTS, ["v1"], [])]


def test_routes_and_endpoints_that_nobody_defined_are_answered_empty() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image())
    client.say(ENDPOINTS, add=("ghost",))
    client.say(ROUTES, add=("ghost",))
    assert client.hear() == [(ENDPOINTS, ["ghost"], []), (ROUTES, ["ghost"], [])]
    client.ack(ENDPOINTS)
    client.ack(ROUTES)
    assert client.hear() == []


def test_other_unknown_names_are_answered_as_removed() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image())
    client.say(CLUSTERS, add=("ghost",))
    client.say(SECRETS, add=("key",))
    assert client.hear() == [(CLUSTERS, [], ["ghost"]), (SECRETS, [], ["key"])]
    client.ack(CLUSTERS)
    client.ack(SECRETS)
    assert client.hear() == []


def test_an_unknown_name_is_sent_once_it_exists() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image())
    client.say(CLUSTERS, add=("late",))
    client.settle()
    client.session.publish(publisher.image(cluster("late")))
    assert client.hear() == [(CLUSTERS, ["late"], [])]


def test_endpoints_missing_in_the_publication_are_empty_ones() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(cluster("v1"), *site()[2:]))
    assert client.settle() == [(ENDPOINTS, ["v1"], [])]
    assert client.session.watches[ENDPOINTS].held["v1"].version == "empty"


def test_an_unsubscribed_name_is_not_sent_any_more() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.say(ENDPOINTS, drop=("v1",))
    client.session.publish(publisher.image(cluster("v1"), endpoints("v1", 99), *site()[2:]))
    assert client.hear() == []


def test_a_name_dropped_under_a_wildcard_is_sent_again() -> None:
    publisher = Publisher()
    client = booted(publisher, cluster("a", type="STATIC"), cluster("b", type="STATIC"))
    client.say(CLUSTERS, add=("a",))
    client.settle()
    client.say(CLUSTERS, drop=("a",))
    assert client.hear() == [(CLUSTERS, ["a"], [])]


def test_dropping_the_wildcard_leaves_the_names() -> None:
    publisher = Publisher()
    client = booted(publisher, cluster("a", type="STATIC"), cluster("b", type="STATIC"))
    client.say(CLUSTERS, add=("a",), drop=("*",))
    client.settle()
    client.session.publish(publisher.image(cluster("a", type="STATIC"), cluster("b", connect_timeout="9s")))
    assert client.hear() == []


def test_star_added_and_dropped_at_once_asks_for_nothing() -> None:
    client, publisher = Delta(), Publisher()
    client.session.publish(publisher.image(cluster("a")))
    client.say(CLUSTERS, add=("*",), drop=("*",))
    assert client.hear() == []


def versions(client: Delta, kind: str) -> dict[str, str]:
    return {name: held.version for name, held in client.session.watches[kind].held.items()}


def reconnect(old: Delta, image: object) -> Delta:
    """The same client on a new stream to a server that has an image, as Envoy does it."""
    new = Delta()
    new.session.publish(image)  # type: ignore[arg-type]
    new.say(CLUSTERS, known=versions(old, CLUSTERS), add=("*",))
    new.say(ENDPOINTS, known=versions(old, ENDPOINTS), add=tuple(versions(old, ENDPOINTS)))
    new.say(LISTENERS, known=versions(old, LISTENERS), add=("*",))
    new.say(ROUTES, known=versions(old, ROUTES), add=tuple(versions(old, ROUTES)))
    return new


def test_reconnecting_with_the_same_versions_sends_nothing() -> None:
    publisher = Publisher()
    old = booted(publisher, *site())
    new = reconnect(old, Publisher().image(*site()))  # another life of the agent gives the same versions
    assert new.hear() == []
    assert new.session.applied == 1


def test_reconnecting_sends_the_difference_and_removes_what_is_gone() -> None:
    publisher = Publisher()
    old = booted(publisher, *site("v1", listeners=("pod", "gone")))
    new = reconnect(old, Publisher().image(*site("v2")))
    assert new.settle() == [
        (CLUSTERS, ["v2"], []),
        (ENDPOINTS, ["v2"], []),
        (LISTENERS, [], ["gone"]),
        (ROUTES, ["web"], []),
        (CLUSTERS, [], ["v1"]),
    ]


def test_after_a_reconnect_no_cluster_goes_before_listeners_and_routes_reported() -> None:
    old = booted(Publisher(), *site("v1"))
    new = Delta()
    new.session.publish(Publisher().image(cluster("v2"), endpoints("v2", 1)))
    new.say(CLUSTERS, known=versions(old, CLUSTERS), add=("*",))
    assert new.settle() == [(CLUSTERS, ["v2"], []), (ENDPOINTS, ["v2"], [])]
