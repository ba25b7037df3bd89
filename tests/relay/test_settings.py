"""What a DestinationRule or a Service asks of TCP connections, on real sockets."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.relay.conftest import Mesh, expect_reset, service
from tests.relay.pods import CLIENT4, SERVER4, ip
from tests.relay.test_balancing import backends, silent_endpoint

from tidegate.model.plan.relay import L4Settings, LoadBalancing
from tidegate.relay.events import CloseReason

OTHER_VIP = "10.96.0.11"


@pytest.mark.case("D1", "D2")
async def test_a_client_comes_back_to_its_endpoint_as_long_as_that_is_there(mesh: Mesh) -> None:
    with backends(mesh, 4) as servers:
        await mesh.publish(service(*servers.addresses, balancing=LoadBalancing.SOURCE))
        [(first, count)] = (await servers.count(30)).items()
        assert count == 30
        others = [address for number, address in enumerate(servers.addresses) if number != first]
        await mesh.publish(service(*reversed(servers.addresses), balancing=LoadBalancing.SOURCE))
        assert await servers.count(10) == Counter({first: 10}), "an image in another order changes nothing"
        await mesh.publish(service(*others, balancing=LoadBalancing.SOURCE))
        [(second, count)] = (await servers.count(10)).items()
        assert (second != first, count) == (True, 10)
        await mesh.publish(service(*servers.addresses, balancing=LoadBalancing.SOURCE))
        assert await servers.count(10) == Counter({first: 10})


@pytest.mark.case("D2")
async def test_an_affinity_outlasts_endpoints_that_come(mesh: Mesh) -> None:
    """Whoever scales a server from one pod to eight keeps the sessions where they are."""
    sticky = L4Settings(affinity_s=3600)
    with backends(mesh, 8) as servers:
        for only in servers.addresses[:3]:
            await mesh.publish(service(only, balancing=LoadBalancing.SOURCE, settings=sticky))
            [(first, _)] = (await servers.count(2)).items()
            await mesh.publish(service(*servers.addresses, balancing=LoadBalancing.SOURCE, settings=sticky))
            assert servers.addresses[first] == only
            assert await servers.count(10) == Counter({first: 10})


@pytest.mark.case("D1", "D2")
async def test_a_client_whose_endpoint_refuses_gets_the_same_other_one_each_time(mesh: Mesh) -> None:
    with backends(mesh, 2) as servers:
        dead = [(SERVER4, port) for port in range(1, 3)]
        await mesh.publish(service(*dead, *servers.addresses, balancing=LoadBalancing.SOURCE))
        assert len(await servers.count(20)) == 1


@pytest.mark.case("D1")
async def test_more_connections_than_allowed_are_reset_and_one_that_ends_makes_room(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        limited = service(listener.getsockname(), settings=L4Settings(max_connections=3))
        unlimited = service(listener.getsockname(), vip=OTHER_VIP, number=2)
        await mesh.publish(limited, unlimited)
        held = [await mesh.pair(listener) for _ in range(3)]
        await mesh.dial_in_vain()
        await mesh.closed(CloseReason.MAX_CONNECTIONS)
        await mesh.publish(service(listener.getsockname(), settings=L4Settings(max_connections=3)), unlimited)
        await mesh.dial_in_vain()
        events = await mesh.closed(CloseReason.MAX_CONNECTIONS, 2)
        assert [(event.service, event.endpoint) for event in events] == [(1, None)] * 2
        await mesh.pair(listener, vip=OTHER_VIP)  # another service of the same endpoint
        for sock in held.pop():
            sock.close()
        await mesh.closed(CloseReason.OK)
        await mesh.pair(listener)


@pytest.mark.case("D1")
async def test_attempts_that_fail_count_once_and_not_for_ever(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as listener:
        allowed = L4Settings(max_connections=1)
        await mesh.publish(service((SERVER4, 1), (SERVER4, 2), settings=allowed))
        for _ in range(5):
            await mesh.dial_in_vain()
        await mesh.closed(CloseReason.CONNECT_REFUSED, 5)
        await mesh.publish(service((SERVER4, 1), listener.getsockname(), settings=allowed))
        await mesh.pair(listener)


@pytest.mark.case("D1")
@pytest.mark.parametrize("mesh", [{"connect_timeout": 3600}], indirect=True)
async def test_a_service_has_a_time_limit_of_its_own_for_attempts(mesh: Mesh) -> None:
    with silent_endpoint(mesh) as silent:
        hasty = service(silent, vip=OTHER_VIP, number=2, settings=L4Settings(connect_timeout_ms=200))
        await mesh.publish(service(silent), hasty)
        patient = await mesh.dial()
        await mesh.counts(lambda stats: stats.active == 1, "the patient one to wait")
        await mesh.dial_in_vain(OTHER_VIP)
        events = await mesh.closed(CloseReason.CONNECT_TIMEOUT)
        assert [event.service for event in events] == [2], "the first one has an hour"
        patient.close()


@pytest.mark.case("D1")
async def test_an_endpoint_that_went_silent_is_noticed_by_keep_alive(mesh: Mesh) -> None:
    """The system's own keep-alive would take two hours."""
    asked = L4Settings(keepalive_time_s=1, keepalive_interval_s=1, keepalive_probes=1)
    with mesh.server.listen(SERVER4) as listener:
        await mesh.publish(service(listener.getsockname(), settings=asked))
        client, _ = await mesh.pair(listener)
        ip("-n", mesh.server.name, "route", "add", "blackhole", CLIENT4)
        try:
            await expect_reset(client)
            await mesh.closed(CloseReason.SERVER_RESET)
        finally:
            ip("-n", mesh.server.name, "route", "del", "blackhole", CLIENT4)
