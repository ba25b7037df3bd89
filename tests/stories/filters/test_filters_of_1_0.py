"""`filters` of an EnvoyFilter, as Istio 1.0 had them: where they get, and whom they are for, by what requests met."""

from __future__ import annotations

import pytest
from tests.support.eventually import eventually
from tests.support.filtered import CONTEXTS, EDGE, IN, OUT, WAYS, Filtered, code

# Of the root namespace and without labels: for every workload, the gateway too.
HEAD = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: old, namespace: istio-system}
spec:
  filters:"""
LUA = """
  - filterName: envoy.lua
    filterType: HTTP
    listenerMatch: {match}
    insertPosition: {position}
    filterConfig: {{inlineCode: '{code}'}}"""
DENY = """
  - filterName: envoy.filters.network.rbac
    filterType: NETWORK
    listenerMatch: {match}
    filterConfig:
      statPrefix: nobody
      rules: {{action: DENY, policies: {{all: {{permissions: [{{any: true}}], principals: [{{any: true}}]}}}}}}"""
# One after the other, and where all of them are then.
POSITIONS = {
    "a": "{index: LAST}",
    "b": "{index: LAST}",
    "c": "{}",
    "d": "{index: FIRST}",
    "e": "{index: AFTER, relativeTo: envoy.lua}",
    "f": "{index: BEFORE, relativeTo: envoy.lua}",
    "g": "{index: BEFORE, relativeTo: envoy.router}",
    "h": "{index: AFTER, relativeTo: envoy.filters.http.lua}",
    "i": "{index: BEFORE, relativeTo: envoy.filters.http.router}",
    "j": "{index: BEFORE, relativeTo: envoy.buffer}",  # there is none
}
ORDER = "fhdecabgi"
SIGNS = {OUT: "1", IN: "2", EDGE: "3"}  # of a filter for one side


def lua(word: str, match: str = "{}", position: str = "{}") -> str:
    return LUA.format(match=match, position=position, code=code(word))


@pytest.mark.api(
    *("EnvoyFilter.Filter.insertPosition", "EnvoyFilter.InsertPosition.index", "EnvoyFilter.InsertPosition.relativeTo"),
    *("EnvoyFilter.InsertPosition.Index.FIRST", "EnvoyFilter.InsertPosition.Index.LAST"),
    *("EnvoyFilter.InsertPosition.Index.BEFORE", "EnvoyFilter.InsertPosition.Index.AFTER"),
)
def test_filters_stand_where_their_positions_say_on_each_side(lab: Filtered) -> None:
    filters = [
        lua(letter + sign, f"{{listenerType: {CONTEXTS[side]}}}", position)
        for side, sign in SIGNS.items()
        for letter, position in POSITIONS.items()
    ]
    lab.step(HEAD + "".join(filters))
    for way, sides in WAYS.items():
        assert lab.signed(way) == "".join(letter + SIGNS[side] for side in sides for letter in ORDER), way


@pytest.mark.api(
    *("EnvoyFilter.ListenerMatch.listenerType", "EnvoyFilter.ListenerMatch.ListenerType.ANY"),
    *("EnvoyFilter.ListenerMatch.ListenerType.SIDECAR_OUTBOUND", "EnvoyFilter.ListenerMatch.ListenerType.GATEWAY"),
    "EnvoyFilter.ListenerMatch.ListenerType.SIDECAR_INBOUND",
)
def test_a_filter_runs_on_the_sides_that_its_type_of_listener_names(lab: Filtered) -> None:
    sides = {"a": "ANY", "o": "SIDECAR_OUTBOUND", "i": "SIDECAR_INBOUND", "g": "GATEWAY"}
    lab.step(HEAD + "".join(lua(word, f"{{listenerType: {side}}}", "{index: LAST}") for word, side in sides.items()))
    assert (lab.signed(OUT), lab.signed(IN), lab.signed(EDGE)) == ("aoai", "ai", "agai")


@pytest.mark.api("EnvoyFilter.ListenerMatch.portNumber", "EnvoyFilter.ListenerMatch.portNamePrefix")
def test_a_filter_runs_at_the_ports_that_it_names_by_number_or_by_name(lab: Filtered) -> None:
    """Of a gateway's server as of a service; 31400 is the one that leads to the service's 81."""
    ports = {
        "a": "{portNumber: 81}", "b": "{portNamePrefix: HTTP-ADM}", "c": "{portNamePrefix: htt}",
        "d": "{portNumber: 80, portNamePrefix: http-admin}", "e": "{portNumber: 31400}",
    }  # fmt: skip
    lab.step(HEAD + "".join(lua(word, match, "{index: LAST}") for word, match in ports.items()))
    assert {way: (lab.signed(way, 80), lab.signed(way, 81)) for way in WAYS} == {
        OUT: ("cc", "abcabc"),
        IN: ("c", "abc"),
        EDGE: ("cc", "bceabc"),
    }


@pytest.mark.api(
    *("EnvoyFilter.ListenerMatch.listenerProtocol", "EnvoyFilter.ListenerMatch.ListenerProtocol.ALL"),
    *("EnvoyFilter.ListenerMatch.ListenerProtocol.HTTP", "EnvoyFilter.ListenerMatch.ListenerProtocol.TCP"),
    "EnvoyFilter.Filter.FilterType.NETWORK",
)
@pytest.mark.parametrize("side", [OUT, IN, EDGE])
def test_a_filter_of_connections_is_for_http_for_bytes_or_for_both(lab: Filtered, side: str) -> None:
    """It lets nobody through."""
    for protocol, expected in {"HTTP": (False, True), "TCP": (True, False), "ALL": (False, False)}.items():
        lab.put(HEAD + DENY.format(match=f"{{listenerType: {CONTEXTS[side]}, listenerProtocol: {protocol}}}"))
        eventually(
            lambda expected=expected: (lab.answer(side).status == 200, lab.reached(side)) == expected,  # type: ignore[misc]
            f"{protocol}: whether HTTP and whether bytes are answered: {expected}",
        )
