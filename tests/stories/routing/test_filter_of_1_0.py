"""`filters` of an EnvoyFilter as Istio 1.0 has them, on the wire: where they are put, which connections meet them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import pytest
import yaml
from tests.support.eventually import eventually
from tests.support.lab import ASK, Lab

# Adds a letter to what filters before it have written.
WRITES = """function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace("x-order", (headers:get("x-order") or "") .. "%s")
end
"""
OTHER_PORT = """
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: web}, ports: [{name: http-other, port: 81, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: bytes}
spec: {selector: {app: web}, ports: [{name: tcp-web, port: 82, targetPort: 8080}]}
"""
# Closes what meets it: no connection is allowed.
CLOSES = {
    "filterName": "envoy.filters.network.rbac",
    "filterType": "NETWORK",
    "filterConfig": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
        "stat_prefix": "closes",
        "rules": {"action": "ALLOW"},
    },
}
OUT = {"listenerType": "SIDECAR_OUTBOUND"}


@pytest.fixture
def apply(web_lab: Lab) -> Iterator[Callable[..., None]]:
    """Apply an EnvoyFilter with these filters, and what goes with it; removed afterwards."""

    def applied(*filters: dict[str, object], more: str = "", labels: str = "client") -> None:
        spec = {"workloadLabels": {"app": labels}, "filters": list(filters)}
        head = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "old"}}
        web_lab.apply(yaml.safe_dump({**head, "spec": spec}) + more)

    yield applied
    web_lab.delete(web_lab.run_dir / "applied-by-test.yaml")


def lua(letter: str, position: dict[str, str] | None = None, **match: object) -> dict[str, object]:
    """A filter that writes a letter."""
    made: dict[str, object] = {"filterName": "envoy.lua", "filterType": "HTTP", "listenerMatch": OUT | match}
    made |= {"filterConfig": {"inlineCode": WRITES % letter}}
    return made if position is None else {**made, "insertPosition": position}


def order(lab: Lab, url: str = "http://web/") -> str:
    """The letters that the server saw, in their order."""
    return str(lab.ask("client", url)["body"]["headers"].get("x-order", ""))


@pytest.mark.api(
    *("EnvoyFilter.Filter.insertPosition", "EnvoyFilter.InsertPosition.index", "EnvoyFilter.InsertPosition.relativeTo"),
    *("EnvoyFilter.InsertPosition.Index.FIRST", "EnvoyFilter.InsertPosition.Index.LAST"),
    *("EnvoyFilter.InsertPosition.Index.BEFORE", "EnvoyFilter.InsertPosition.Index.AFTER"),
)
@pytest.mark.parametrize(
    ("positions", "seen"),
    [
        (["FIRST", "FIRST"], "ba"),
        (["FIRST", "LAST"], "ab"),
        (["FIRST", "AFTER envoy.lua"], "ab"),
        (["FIRST", "BEFORE envoy.lua"], "ba"),
        (["AFTER envoy.fault", "BEFORE envoy.fault"], "ba"),
        (["BEFORE envoy.router", "AFTER envoy.fault"], "ba"),
        (["LAST", ""], "ba"),
    ],
)
def test_filters_stand_where_their_positions_say(
    web_lab: Lab, apply: Callable[..., None], positions: Sequence[str], seen: str
) -> None:
    filters = []
    for letter, words in zip("ab", (text.split() for text in positions), strict=True):
        keys = dict(zip(("index", "relativeTo"), words, strict=False))
        filters.append(lua(letter, keys or None))
    apply(*filters)
    eventually(lambda: order(web_lab) == seen, f"{positions} give {seen}")


HERE, ELSEWHERE = "http://web/", "http://other:81/"


@pytest.mark.api(
    *("EnvoyFilter.ListenerMatch.portNumber", "EnvoyFilter.ListenerMatch.portNamePrefix"),
    *("EnvoyFilter.ListenerMatch.listenerType", "EnvoyFilter.ListenerMatch.ListenerType.ANY"),
    *("EnvoyFilter.ListenerMatch.listenerProtocol", "EnvoyFilter.ListenerMatch.ListenerProtocol.ALL"),
    *("EnvoyFilter.ListenerMatch.ListenerProtocol.HTTP", "EnvoyFilter.ListenerMatch.ListenerProtocol.TCP"),
    "EnvoyFilter.ListenerMatch.ListenerType.GATEWAY",
)
@pytest.mark.parametrize(
    ("match", "seen"),
    [
        ({"portNumber": 80}, ("a", "")),
        ({"portNumber": 81}, ("", "a")),
        ({"portNamePrefix": "http-"}, ("", "a")),
        ({"portNamePrefix": "http"}, ("a", "a")),
        ({"listenerProtocol": "ALL"}, ("a", "a")),
        ({"listenerProtocol": "HTTP"}, ("a", "a")),
        ({"listenerProtocol": "TCP"}, ("", "")),
        ({"listenerType": "ANY"}, ("a", "a")),
        ({"listenerType": "GATEWAY"}, ("", "")),
    ],
)
def test_only_listeners_that_match_have_the_filter(
    web_lab: Lab, apply: Callable[..., None], match: dict[str, object], seen: tuple[str, str]
) -> None:
    """Another one that stands everywhere tells when both are in force."""
    everywhere = lua("!", {"index": "LAST"})
    apply(lua("a", {"index": "FIRST"}, **match), everywhere, more=OTHER_PORT)
    wanted = tuple(f"{letter}!" for letter in seen)
    eventually(lambda: (order(web_lab, HERE), order(web_lab, ELSEWHERE)) == wanted, f"{match} gives {wanted}")


@pytest.mark.api("EnvoyFilter.ListenerMatch.address")
def test_an_address_is_one_that_is_dialled(web_lab: Lab, apply: Callable[..., None]) -> None:
    apply(lua("!", {"index": "LAST"}), more=OTHER_PORT)
    eventually(lambda: order(web_lab, ELSEWHERE) == "!", "the service is there")
    rows = json.loads(web_lab.tidegate("lab", "services", "-o", "json").stdout)
    vip = next(row["addresses"][0] for row in rows if row["name"] == "other")
    apply(lua("a", {"index": "FIRST"}, address=[vip]), lua("!", {"index": "LAST"}), more=OTHER_PORT)
    eventually(lambda: (order(web_lab, HERE), order(web_lab, ELSEWHERE)) == ("!", "a!"), "that address alone")


@pytest.mark.api("EnvoyFilter.Filter.FilterType.NETWORK")
@pytest.mark.parametrize(
    ("protocol", "closed"), [("TCP", (False, True)), ("HTTP", (True, False)), ("ALL", (True, True))]
)
def test_a_filter_of_connections_meets_those_of_its_protocol(
    web_lab: Lab, apply: Callable[..., None], protocol: str, closed: tuple[bool, bool]
) -> None:
    def is_closed(url: str) -> bool:
        done = web_lab.exec("client", "/usr/bin/python3", ASK, url, check=False)
        return done.returncode != 0 or json.loads(done.stdout)["status"] != 200

    apply(CLOSES | {"listenerMatch": OUT | {"listenerProtocol": protocol}}, more=OTHER_PORT)
    wanted = f"{protocol}: {closed}"
    eventually(lambda: (is_closed(HERE), is_closed("http://bytes:82/")) == closed, wanted)
