"""Make before break: what a change looks like on the wire, step by step."""

from __future__ import annotations

from tests.support.envoy_resources import cluster, endpoints, listener, route
from tests.support.transcript import Publisher
from tests.unit.xds.test_delta import NETNS, booted, site

from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES


def test_a_route_moves_only_after_its_new_cluster_is_confirmed_and_the_old_one_goes_last() -> None:
    publisher = Publisher()
    client = booted(publisher, *site("old"))
    client.session.publish(publisher.image(*site("new")))
    assert client.hear() == [(CLUSTERS, ["new"], [])]
    client.say(ENDPOINTS, add=("new",))
    client.ack(CLUSTERS)
    assert client.hear() == [(ENDPOINTS, ["new"], [])]
    assert client.hear() == [], "the route must wait for the endpoints' answer"
    client.ack(ENDPOINTS)
    assert client.hear() == [(ROUTES, ["web"], [])]
    assert client.hear() == [], "the old cluster must wait for the route's answer"
    client.ack(ROUTES)
    assert client.hear() == [(CLUSTERS, [], ["old"])]
    client.ack(CLUSTERS)
    assert client.hear() == []


def test_a_confirmed_cluster_without_endpoints_asked_for_is_not_ready() -> None:
    publisher = Publisher()
    client = booted(publisher, *site("old"))
    client.session.publish(publisher.image(*site("new")))
    client.hear()
    client.ack(CLUSTERS)  # Envoy has not asked for its endpoints yet
    assert client.hear() == []
    assert client.session.applied == 0


def test_a_changed_cluster_stays_usable_while_listeners_wait() -> None:
    publisher = Publisher()
    client = booted(publisher, *site("v1"))
    client.session.publish(
        publisher.image(
            cluster("v1", connect_timeout="9s"), endpoints("v1", 80), route("web", {"v1": 2}), *site("v1")[3:]
        )
    )
    assert client.hear() == [(CLUSTERS, ["v1"], []), (ENDPOINTS, ["v1"], [])]
    client.ack(ENDPOINTS)
    assert client.hear() == []
    client.ack(CLUSTERS)
    assert client.hear() == [(ROUTES, ["web"], [])]


def test_a_cluster_stays_while_a_route_of_a_draining_listener_names_it() -> None:
    publisher = Publisher()
    client = booted(
        publisher,
        *site("v1"),
        route("old-web", {"v0": 1}),
        listener("old-pod", NETNS, "old-web", port=2),
        cluster("v0"),
        endpoints("v0", 1),
    )
    client.session.publish(publisher.image(*site("v1")))
    assert client.hear() == [(LISTENERS, [], ["old-pod"])]
    client.ack(LISTENERS)
    assert client.hear() == [], "Envoy still asks for the route of the listener that drains"
    assert client.session.applied == 2, "lingering clusters do not hold up a generation"
    client.say(ROUTES, drop=("old-web",))
    assert client.hear() == [(CLUSTERS, [], ["v0"])]


def test_a_cluster_stays_while_the_last_good_route_names_it() -> None:
    publisher = Publisher()
    client = booted(publisher, *site("v1"))
    client.session.publish(publisher.image(*site("v2")))
    client.hear()
    client.say(ENDPOINTS, add=("v2",))
    client.ack(CLUSTERS)
    client.hear()
    client.ack(ENDPOINTS)
    assert client.hear() == [(ROUTES, ["web"], [])]
    client.nack(ROUTES, "no such thing")
    assert client.hear() == [], "v1 serves the last good route"
    client.session.publish(publisher.image(cluster("v2"), endpoints("v2", 80), route("web", {"v2": 3}), *site()[3:]))
    assert client.settle() == [(ROUTES, ["web"], []), (CLUSTERS, [], ["v1"])]


def test_a_newer_publication_half_way_wins() -> None:
    publisher = Publisher()
    client = booted(publisher, *site("v1"))
    client.session.publish(publisher.image(*site("v2")))
    client.hear()
    client.session.publish(publisher.image(*site("v3")))
    client.say(ENDPOINTS, add=("v2",))
    client.ack(CLUSTERS)
    heard = client.settle()
    assert heard[-2:] == [(ROUTES, ["web"], []), (CLUSTERS, [], ["v1", "v2"])]
    assert client.session.applied == 3


def test_a_listener_goes_before_another_may_take_its_address() -> None:
    publisher = Publisher()
    client = booted(publisher, *site(listeners=("first",)))
    client.session.publish(publisher.image(*site(listeners=("second",))))
    assert client.settle() == [(LISTENERS, [], ["first"]), (LISTENERS, ["second"], [])]


def test_listeners_wait_for_clusters_that_they_may_name() -> None:
    publisher = Publisher()
    client = booted(publisher, *site())
    client.session.publish(publisher.image(*site(listeners=("pod", "fresh")), cluster("x"), endpoints("x", 1)))
    assert client.settle() == [(CLUSTERS, ["x"], []), (ENDPOINTS, ["x"], []), (LISTENERS, ["fresh"], [])]
