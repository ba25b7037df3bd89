"""Pods that end and serve still get connections while nobody else would, as kube-proxy has it."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, pod, service

from tidegate.compile.derive import Read
from tidegate.compile.facts import join
from tidegate.compile.registry import Registry

ENDING = "labels: {app: web}, deletionTimestamp: 2026-01-01T00:00:00Z"


def ending(name: str, ip: str, *, ready: bool = True) -> str:
    return pod(name, "app: web", ip, ready=ready).replace("labels: {app: web}", ENDING)


def served_by(*pods: str) -> list[str]:
    config = config_of(service("web", "http:80", ips="10.96.0.1"), *pods)
    registry = Registry(Read(join(config, (), node="").tables))
    web = registry.services["web.default.svc.cluster.local"]
    return [str(endpoint.address) for endpoint in registry.endpoints(web, web.ports[0])]


@pytest.mark.case("D2", "D3")
def test_the_last_pod_serves_until_it_is_gone() -> None:
    assert served_by(ending("a", "10.1.1.1")) == ["10.1.1.1"]
    assert served_by(ending("a", "10.1.1.1"), pod("b", "app: web", "10.1.1.2")) == ["10.1.1.2"]
    assert served_by(ending("a", "10.1.1.1"), pod("b", "app: web", "10.1.1.2", ready=False)) == ["10.1.1.1"]


@pytest.mark.case("D2", "D3")
def test_one_that_serves_no_more_is_nobody() -> None:
    assert served_by(ending("a", "10.1.1.1", ready=False)) == []
