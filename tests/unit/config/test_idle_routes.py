"""Routes that nothing ever asks for are named, with file and line; those that somebody asks for are not."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, service, virtual_service

ROUTE = "- route: [{destination: {host: web}}]"
WEB = service("web", "http:80", ips="10.96.0.1")


def alias(of: str, name: str = "old") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{type: ExternalName, externalName: {of}}}
"""


def told(*texts: str) -> list[tuple[str, str]]:
    """Code and path of what is said about rules."""
    return [(p.code, p.path) for p in config_of(*texts).problems if p.about.kind == "VirtualService"]


@pytest.mark.case("D1")
@pytest.mark.parametrize("port", ["tcp:80", "web:80", "https:443", "httpx-admin:80"])
def test_routes_for_a_service_without_an_http_port_are_told(port: str) -> None:
    rule = virtual_service("v", "db", ROUTE)
    assert told(rule, WEB, service("db", port, ips="10.96.0.2")) == [("TG0514", "spec.hosts")]


@pytest.mark.case("D1")
@pytest.mark.parametrize("ports", [("http:80",), ("tcp:1", "grpc-api:2")])
def test_one_http_port_is_enough(ports: tuple[str, ...]) -> None:
    assert told(virtual_service("v", "db", ROUTE), WEB, service("db", *ports, ips="10.96.0.2")) == []


@pytest.mark.case("C7")
def test_a_rule_for_an_alias_of_a_name_outside_is_told() -> None:
    rule = virtual_service("v", "old", ROUTE)
    assert told(rule, WEB, alias("Example.com.")) == [("TG0513", "spec.hosts")]
    assert told(rule, WEB, alias("web.default.svc.cluster.local")) == []
    assert told(rule, WEB) == []


@pytest.mark.case("D1")
def test_a_condition_on_a_port_that_no_host_has_is_told() -> None:
    rule = "- match: [{port: 80}, {port: 8080}]\n  route: [{destination: {host: web}}]"
    assert told(virtual_service("v", "web", rule), WEB) == [("TG0511", "spec.http[0].match[1].port")]
    other = virtual_service("v", "web, shop.example.com", rule)
    assert told(other, WEB) == [], "whatever port shop.example.com is asked at"


@pytest.mark.case("D1")
@pytest.mark.parametrize("host", ["example.com", "web.default", "web.default.svc", "10.96.0.1"])
def test_a_destination_that_is_no_service_is_told(host: str) -> None:
    rule = virtual_service("v", "web", f"- route: [{{destination: {{host: {host}}}}}]")
    assert told(rule, WEB) == [("TG0502", "spec.http[0].route[0].destination")]
