"""The logger of a chain that carries: when it counts what, under names that whoever reads the statistics knows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.compile.envoy import private
from tidegate.compile.outbound.counted import CHOSEN, counted
from tidegate.telemetry.carried import parse

SERVICE = "db.default.svc.cluster.local:5432"


def counters(cookie: int = 7, service: str = SERVICE) -> dict[str, list[dict[str, Any]]]:
    """By when they count."""
    found = {}
    for one in counted(cookie, service)["access_log"]:
        (when,) = one["filter"]["log_type_filter"]["types"]
        found[when] = one["typed_config"]["counters"]
    return found


def test_a_connection_is_counted_when_it_has_a_server_and_when_it_ends() -> None:
    names = {when: [one["stat"]["name"] for one in these] for when, these in counters().items()}
    assert names == {
        "TcpUpstreamConnected": [private.CARRIED_OPENED],
        "TcpConnectionEnd": [private.CARRIED_CLOSED, private.CARRIED_SENT, private.CARRIED_RECEIVED],
    }
    amounts = [one.get("value_format") or one["value_fixed"] for these in counters().values() for one in these]
    assert amounts == ["1", "1", "%BYTES_SENT%", "%BYTES_RECEIVED%"]


@pytest.mark.parametrize("service", [SERVICE, CHOSEN])
def test_the_names_are_those_that_are_read(service: str) -> None:
    for one in (one for these in counters(service=service).values() for one in these):
        tags = "".join(f".{tag['name']}.{tag['value_format']}" for tag in one["stat"]["tags"])
        name = f"{private.STATS}.{one['stat']['name']}{tags}"
        name = name.replace("%UPSTREAM_HOST%", "10.0.0.2:8").replace(CHOSEN, "outbound|5432||" + SERVICE[:-5])
        (key,) = parse(json.dumps({"stats": [{"name": name, "value": 1}]}))
        assert (key.what, key.cookie, key.service, str(key.endpoint)) == (one["stat"]["name"], 7, SERVICE, "10.0.0.2")
