"""Scopes: dialled addresses as Envoy writes them, and the routes that they lead to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tidegate.compile.outbound.scopes import scope, scope_name
from tidegate.model.plan.envoy import ROUTES, ResourceRef


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.96.0.1", "10.96.0.1:80"),
        ("fd77::1", "[fd77::1]:80"),
        ("FD77:0:0:1::1", "[fd77:0:0:1::1]:80"),
        ("::ffff:10.96.0.1", "[::ffff:10.96.0.1]:80"),
    ],
)
def test_an_address_is_written_as_envoy_writes_it(address: str, name: str) -> None:
    assert scope_name(ip_address(address), 80) == name


def test_a_scope_leads_to_routes_that_are_fetched_when_somebody_asks() -> None:
    made = scope(ip_address("10.96.0.1"), 80, "web:80", ())
    assert made.body == {
        "name": "10.96.0.1:80",
        "on_demand": True,
        "route_configuration_name": "web:80",
        "key": {"fragments": [{"string_key": "10.96.0.1:80"}]},
    }
    assert made.refs == {ResourceRef(ROUTES, "web:80")}
