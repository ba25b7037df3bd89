"""What dataplane.devices.Relay promises: of the real relay and of the one in memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.bpf.pod import Pod
from tests.relay.conftest import service
from tests.support.dataplane import FakeRelay
from tests.support.flows import Flows

from tidegate.dataplane.devices import Relay
from tidegate.dataplane.threaded_relay import ThreadedRelay
from tidegate.errors import Rejected
from tidegate.fastpath import FastPath


@contextmanager
def real() -> Iterator[Relay]:
    flows = Flows()
    engine = FastPath.start(flows_fd=flows.fd, workers=1)
    try:
        yield ThreadedRelay(engine)
    finally:
        engine.stop(0)
        os.close(flows.fd)


@pytest.fixture(params=["fake", "real"])
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    if request.param == "fake":
        yield FakeRelay()
    else:
        with real() as relay:
            yield relay


@pytest.fixture
def pod(make_pod: Callable[[], Pod]) -> Pod:
    return make_pod()


async def test_it_is_there_and_has_nothing(relay: Relay) -> None:
    assert relay.process.value > 0
    assert await relay.pods() == {}


async def test_a_pod_gets_ports_that_are_told_again(relay: Relay, pod: Pod) -> None:
    port4, port6 = await relay.add_pod(pod.cookie, pod.netns_fd, False)
    assert (port4 > 0, port6) == (True, 0)
    assert await relay.pods() == {pod.cookie: (port4, port6)}
    await relay.remove_pod(pod.cookie)
    assert await relay.pods() == {}


async def test_a_pod_twice_is_refused_and_stays(relay: Relay, pod: Pod) -> None:
    ports = await relay.add_pod(pod.cookie, pod.netns_fd, False)
    with pytest.raises(OSError, match=str(pod.cookie)) as refused:
        await relay.add_pod(pod.cookie, pod.netns_fd, False)
    assert refused.value.errno == errno.EEXIST
    assert await relay.pods() == {pod.cookie: ports}


async def test_an_unknown_pod_cannot_be_removed(relay: Relay) -> None:
    with pytest.raises(OSError, match="12345") as refused:
        await relay.remove_pod(12345)
    assert refused.value.errno == errno.ENOENT


async def test_an_image_with_two_claims_is_refused_and_a_good_one_taken_afterwards(relay: Relay) -> None:
    good = service(("10.0.0.1", 80))
    await relay.publish(1, [good])
    with pytest.raises(Rejected, match="two services claim one address"):
        await relay.publish(2, [good, service(("10.0.0.2", 80), number=2)])
    await relay.publish(3, [good, service(("10.0.0.2", 80), number=2, vip="10.96.0.11")])
    await relay.publish(4, [])
