"""Deadlines of a stream: answers that never come, refusals that may pass."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from tests.support.envoy_resources import cluster
from tests.support.transcript import Delta, Publisher
from tests.unit.xds.test_delta import site

from tidegate.model.plan.envoy import CLUSTERS, LISTENERS
from tidegate.xds.stream import PATIENCE_SECONDS, SPENT_PATIENCE_SECONDS, Stream


def booted(publisher: Publisher) -> tuple[Delta, Stream]:
    client = Delta()
    client.session.publish(publisher.image(*site()))
    client.boot()
    client.settle()
    return client, Stream(client.stream)


def test_a_stream_at_rest_has_no_deadline() -> None:
    _, stream = booted(Publisher())
    assert stream.advance(0.0) == ([], [])
    assert stream.idle_until() is None


def test_patience_counts_from_sending_and_is_shorter_once_it_was_spent() -> None:
    publisher = Publisher()
    _, stream = booted(publisher)
    stream.publish(publisher.image(*site(), cluster("slow", type="STATIC")))
    assert len(stream.advance(100.0)[0]) == 1
    assert stream.idle_until() == 100.0 + PATIENCE_SECONDS
    assert stream.advance(104.9) == ([], [])
    [overtaken] = stream.advance(105.0)[1]
    assert [encoded.name for encoded in overtaken.put] == ["slow"]
    assert stream.session.applied == 2
    stream.publish(publisher.image(*site(), cluster("slow", type="STATIC"), cluster("next", type="STATIC")))
    stream.advance(200.0)
    assert stream.idle_until() == 200.0 + SPENT_PATIENCE_SECONDS


def test_an_answer_ends_the_wait() -> None:
    publisher = Publisher()
    client, stream = booted(publisher)
    stream.publish(publisher.image(*site(), cluster("x", type="STATIC")))
    stream.advance(100.0)
    client.say(CLUSTERS, nonce=client.session.watches[CLUSTERS].last_nonce)
    assert stream.advance(200.0) == ([], [])
    assert stream.idle_until() is None


@pytest.mark.case("A6")
def test_a_client_that_says_nothing_is_never_taken_to_have_what_it_was_told() -> None:
    """However long that lasts: a stopped process has no listener, no scope and no route that it did not have."""
    publisher = Publisher()
    client, stream = booted(publisher)
    assert stream.session.applied == 1
    stream.publish(publisher.image(*site(listeners=("pod", "new"))))
    for now in range(0, 3600, 60):
        assert stream.advance(float(now))[1] == []
    assert stream.session.applied == 0
    assert stream.session.waiting() == {"new"}
    client.say(LISTENERS, nonce=client.session.watches[LISTENERS].last_nonce)
    assert stream.session.waiting() == set()
    assert stream.session.applied == 2


def test_a_stream_offers_a_refused_listener_again_by_itself() -> None:
    publisher = Publisher()
    _, stream = booted(publisher)
    stream.publish(publisher.image(*site(listeners=("pod", "new"))))
    [offer] = stream.advance(10.0)[0]
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=offer.type_url, response_nonce=offer.nonce)
    message.error_detail.message = "port taken"
    assert stream.receive(message, 10.0) is not None
    assert stream.advance(10.5)[0] == []
    assert stream.idle_until() == 11.0
    [again] = stream.advance(11.0)[0]
    assert [r.name for r in again.resources] == ["new"]
