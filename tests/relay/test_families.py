"""An endpoint that does not listen in the family that was dialled is reached in the other one."""

from __future__ import annotations

import pytest
from tests.relay.conftest import VIP4, VIP6, Mesh, service
from tests.relay.pods import CLIENT4, CLIENT6, SERVER4, SERVER6
from tests.relay.traffic import exchange

from tidegate.relay.events import CloseReason

SIX_TO_FOUR = (VIP6, SERVER6, SERVER4, CLIENT4)
FOUR_TO_SIX = (VIP4, SERVER4, SERVER6, CLIENT6)
WAYS = pytest.mark.parametrize(
    ("vip", "dialled", "listening", "seen"), [SIX_TO_FOUR, FOUR_TO_SIX], ids=["only-v4", "only-v6"]
)


@pytest.mark.case("B2")
@WAYS
async def test_a_server_of_one_family_answers_those_who_dial_the_other(
    mesh: Mesh, vip: str, dialled: str, listening: str, seen: str
) -> None:
    with mesh.server.listen(listening) as listener:
        port = listener.getsockname()[1]
        await mesh.publish(service((dialled, port), vip=vip, other=listening))
        for _ in range(3):
            client, server = await mesh.pair(listener, vip=vip)
            with client, server:
                assert server.getpeername()[0] == seen
                await exchange(client, server, 1 << 16)
    events = await mesh.closed(CloseReason.OK, 3)
    assert {(str(event.dst), str(event.endpoint), event.endpoint_port) for event in events} == {(vip, listening, port)}


@pytest.mark.case("B2")
@pytest.mark.parametrize("mesh", [{"connect_timeout": 3600}], indirect=True)
async def test_a_family_that_leads_nowhere_is_not_waited_for(mesh: Mesh) -> None:
    """As for clients that try both: nothing answers in the first one, not even with a refusal."""
    nowhere = "fd00:77::dead"  # on the link, but nobody there
    with mesh.server.listen(SERVER4) as listener:
        port = listener.getsockname()[1]
        await mesh.publish(service((nowhere, port), vip=VIP6, other=SERVER4))
        client, server = await mesh.pair(listener, vip=VIP6)
        with client, server:
            await exchange(client, server, 1 << 16)
    [event] = await mesh.closed(CloseReason.OK)
    assert str(event.endpoint) == SERVER4


@pytest.mark.case("B2")
async def test_a_server_of_both_families_is_dialled_in_the_one_that_was_asked_for(mesh: Mesh) -> None:
    with mesh.server.listen(SERVER4) as four:
        port = four.getsockname()[1]
        with mesh.server.listen(SERVER6, port) as six:
            await mesh.publish(service((SERVER6, port), vip=VIP6, other=SERVER4))
            client, server = await mesh.pair(six, vip=VIP6)
            with client, server:
                await exchange(client, server, 1 << 16)
            await mesh.closed(CloseReason.OK)
            with pytest.raises(BlockingIOError):
                four.accept()


@pytest.mark.case("B2")
@pytest.mark.case("B3")
@pytest.mark.parametrize("mesh", [{"connect_timeout": 3600}], indirect=True)
async def test_a_server_that_listens_in_neither_family_is_refused_at_once(mesh: Mesh) -> None:
    await mesh.publish(service((SERVER6, 1), vip=VIP6, other=SERVER4))
    await mesh.dial_in_vain(vip=VIP6)
    [event] = await mesh.closed(CloseReason.CONNECT_REFUSED)
    assert str(event.endpoint) == SERVER6
