"""Every field of Envoy's API for HTTP has a row in docs/envoy.md, and what we make of it is what the row says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import re2

from tidegate.compile.envoy.filters import connection_manager
from tidegate.compile.envoy.http_options import UPGRADES, UPSTREAM_OPTIONS, ignored_upgrades, upstream
from tidegate.compile.envoy.prototypes import message_class
from tidegate.model.kube import Protocol, ServicePort
from tidegate.model.traffic import ConnectionPool

PAGE = Path(__file__).parents[3] / "docs" / "envoy.md"
CORE = "envoy.config.core.v3."
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
Json = dict[str, Any]

manager: Json = connection_manager("default/client", 1)["typed_config"]
cluster: Json = upstream(ServicePort(80, protocol=Protocol.HTTP), ConnectionPool())
plain: Json = cluster["use_downstream_protocol_config"]
# Section -> message of the API, and what is made of it by column.
SECTIONS: dict[str, tuple[str, dict[str, Json]]] = {
    "HttpConnectionManager": (MANAGER, {"pods": manager}),
    "HttpProtocolOptions (common_http_protocol_options)": (
        CORE + "HttpProtocolOptions",
        {"pods": manager["common_http_protocol_options"], "endpoints": cluster["common_http_protocol_options"]},
    ),
    "Http1ProtocolOptions": (
        CORE + "Http1ProtocolOptions",
        {"pods": manager["http_protocol_options"], "endpoints": plain["http_protocol_options"]},
    ),
    "Http2ProtocolOptions": (
        CORE + "Http2ProtocolOptions",
        {"pods": manager["http2_protocol_options"], "endpoints": plain["http2_protocol_options"]},
    ),
    "HttpProtocolOptions of a cluster": (UPSTREAM_OPTIONS, {"endpoints": cluster}),
    "Router": (
        "envoy.extensions.filters.http.router.v3.Router",
        {"pods": next(f["typed_config"] for f in manager["http_filters"] if f["name"] == "envoy.filters.http.router")},
    ),
}


def table(section: str) -> dict[str, Json]:
    """Field -> cell by column. A row may be for several fields."""
    text = PAGE.read_text().partition(f"\n### {section}\n")[2]
    assert text, f"{PAGE} has no section {section}"
    rows = re.findall(r"^\|(.*)\|$", text.partition("\n#")[0], re.MULTILINE)
    head, _, *body = ([cell.strip() for cell in row.split(" | ")] for row in rows)
    out: dict[str, Json] = {}
    for cells in body:
        assert len(cells) == len(head), cells
        for field in cells[0].strip().split(", "):
            assert field not in out, f"{field} has two rows"
            out[field] = dict(zip(head[1:], cells[1:], strict=True))
    return out


@pytest.mark.case("C1", "C2")
@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_of_the_api_is_decided(section: str) -> None:
    """A field of a newer Envoy has no row yet: decide what it shall be, and why, before its packages are taken up."""
    message, _ = SECTIONS[section]
    assert sorted(table(section)) == sorted(field.name for field in message_class(message).DESCRIPTOR.fields)


@pytest.mark.case("C1", "C2")
@pytest.mark.parametrize("section", SECTIONS)
def test_what_envoy_gets_is_what_the_page_says(section: str) -> None:
    _, sides = SECTIONS[section]
    for field, cells in table(section).items():
        for side, made in sides.items():
            said = cells[side]
            if said == "default":
                assert field not in made, f"{field} ({side}) is set, and the page says default"
            elif said == "set":
                assert made.get(field), f"{field} ({side}) is not set"
            else:
                assert json.loads(said.strip("`")) == made.get(field), f"{field} ({side})"


def test_every_decision_says_why() -> None:
    unsaid = [
        f"{section}: {field}" for section in SECTIONS for field, cells in table(section).items() if not cells["why"]
    ]
    assert unsaid == []


@pytest.mark.parametrize(
    ("protocol", "pool", "spoken"),
    [
        (Protocol.HTTP, ConnectionPool(), "use_downstream_protocol_config"),
        (Protocol.GRPC_WEB, ConnectionPool(), "use_downstream_protocol_config"),
        (Protocol.HTTP, ConnectionPool(h2_upgrade=True), "http2_protocol_options"),
        (Protocol.HTTP, ConnectionPool(h2_upgrade=False), "http_protocol_options"),
        (Protocol.HTTP2, ConnectionPool(), "http2_protocol_options"),
        (Protocol.GRPC, ConnectionPool(h2_upgrade=False), "http2_protocol_options"),
    ],
)
def test_endpoints_are_spoken_to_in_what_the_port_says(protocol: Protocol, pool: ConnectionPool, spoken: str) -> None:
    made = upstream(ServicePort(80, protocol=protocol), pool)
    explicit: Json = made.get("explicit_http_config", {})
    assert [*explicit, *(k for k in made if k == "use_downstream_protocol_config")] == [spoken]


@pytest.mark.case("C1")
@pytest.mark.parametrize(
    "word", ["TLS/1.2", "h2c", "IRC/6.9", "w", "websockets", "websocke", "spdy/3.0", "tc", "tcp2", "~"]
)
def test_other_upgrades_are_ignored(word: str) -> None:
    assert any(re2.fullmatch(regex, word) for regex in ignored_upgrades())


@pytest.mark.parametrize("word", [case for word in UPGRADES for case in (word, word.lower(), word.upper())])
def test_upgrades_that_are_served_are_not_ignored(word: str) -> None:
    assert not any(re2.fullmatch(regex, word) for regex in ignored_upgrades())


def test_envoy_takes_the_expressions() -> None:
    """Its limit is 100 instructions unless told otherwise."""
    assert max(re2.compile(regex).programsize for regex in ignored_upgrades()) <= 100
    assert len({word[0].lower() for word in UPGRADES}) == len(UPGRADES)
