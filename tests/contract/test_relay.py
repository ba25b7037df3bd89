"""What dataplane.devices.Relay promises: of the real relay and of the one in memory."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.bpf.pod import Pod
from tests.relay.conftest import service, until
from tests.support.dataplane import FakeRelay
from tests.support.flows import Flows

from tidegate.dataplane.devices import Relay
from tidegate.errors import Rejected
from tidegate.linux.cgroup import cgroup2_mount
from tidegate.model.plan.policy import NO_POLICIES, PolicyTable
from tidegate.relay.client import RelayClient
from tidegate.relay.connection import RelayConfig
from tidegate.relay.supervisor import RelaySupervisor
from tidegate.settings import relay_binary


@asynccontextmanager
async def real(directory: Path) -> AsyncIterator[Relay]:
    """A process in a cgroup of its own, as an agent has it."""
    flows, cgroup = Flows(), cgroup2_mount() / f"tg-contract-{secrets.token_hex(4)}"
    relays = RelaySupervisor(relay_binary(), directory, cgroup, RelayConfig(workers=1))
    client = RelayClient(relays, flows.fd)
    tasks = [asyncio.create_task(work) for work in (relays.run(), client.run())]
    try:
        await until(lambda: client.process.value, "the relay is there")
        yield client
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await RelaySupervisor(relay_binary(), directory, cgroup, RelayConfig()).end(0)
        flows.close()


@pytest.fixture(params=["fake", "real"])
async def relay(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Relay]:
    if request.param == "fake":
        yield FakeRelay()
    else:
        async with real(tmp_path) as relay:
            yield relay


@pytest.fixture
def pod(make_pod: Callable[[], Pod]) -> Pod:
    return make_pod()


async def test_it_is_there_and_has_nothing(relay: Relay) -> None:
    assert relay.process.value > 0
    assert await relay.sandboxes() == {}


async def test_a_pod_gets_ports_that_are_told_again(relay: Relay, pod: Pod) -> None:
    port4, port6 = await relay.add_sandbox(pod.cookie, pod.netns_fd, False)
    assert (port4 > 0, port6) == (True, 0)
    assert await relay.sandboxes() == {pod.cookie: (port4, port6)}
    await relay.remove_sandbox(pod.cookie)
    assert await relay.sandboxes() == {}


async def test_a_pod_gets_the_port_that_is_asked_for(relay: Relay, pod: Pod) -> None:
    assert await relay.add_sandbox(pod.cookie, pod.netns_fd, True, 65000) == (65000, 65000)


async def test_a_pod_twice_keeps_its_listeners(relay: Relay, pod: Pod) -> None:
    """An answer may be lost, and who asks again has to learn it."""
    ports = await relay.add_sandbox(pod.cookie, pod.netns_fd, False)
    assert await relay.add_sandbox(pod.cookie, pod.netns_fd, False) == ports
    assert await relay.sandboxes() == {pod.cookie: ports}


async def test_a_pod_that_is_not_there_is_removed(relay: Relay) -> None:
    """Of a relay that was killed meanwhile, the next one knows nothing."""
    await relay.remove_sandbox(12345)
    assert await relay.sandboxes() == {}


async def test_an_image_with_two_claims_is_refused_and_a_good_one_taken_afterwards(relay: Relay) -> None:
    good = service(("10.0.0.1", 80))
    await relay.publish(1, [good])
    with pytest.raises(Rejected, match="two services claim one address"):
        await relay.publish(2, [good, service(("10.0.0.2", 80), number=2)])
    await relay.publish(3, [good, service(("10.0.0.2", 80), number=2, vip="10.96.0.11")])
    await relay.publish(4, [])


async def test_policies_are_taken_whole_and_again(relay: Relay) -> None:
    table = PolicyTable((), {1: (), 2: ()}, {1: "spiffe://cluster.local/ns/a/sa/b"})
    await relay.publish_policies(1, table)
    await relay.publish_policies(2, NO_POLICIES)
