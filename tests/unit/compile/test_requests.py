"""The oracle against tests/vectors/http_match, and its edges."""

from __future__ import annotations

import pytest
from tests.support.http_vectors import Vector, vectors

from tidegate.compile.explain.requests import choose_host, choose_route, host_of, normal_path
from tidegate.model.http import HttpRequest


@pytest.mark.parametrize("vector", tuple(vectors()), ids=lambda v: v.name)
def test_vectors(vector: Vector) -> None:
    (rule,) = vector.config.virtual_services
    for request, expected in vector.cases:
        outcome = choose_route(rule, vector.source, vector.port, request)
        got = outcome.chosen.route.name if outcome.chosen else None
        assert got == expected, (request, [(t.candidate.route.name, t.refusal) for t in outcome.tried])


def test_a_refusal_says_what_did_not_fit() -> None:
    vector = next(v for v in vectors() if v.name == "headers")
    outcome = choose_route(vector.config.virtual_services[0], vector.source, 80, HttpRequest(headers={"end-user": "x"}))
    assert outcome.tried[0].refusal == "header end-user 'x' is not 'jason'"
    assert outcome.chosen is None
    assert outcome.reachable


@pytest.mark.parametrize(
    ("authority", "host"),
    [("Shop.example:80", "shop.example"), ("[fd00::1]:80", "fd00::1"), ("fd00::1", "fd00::1"), ("shop", "shop")],
)
def test_host_of(authority: str, host: str) -> None:
    assert host_of(authority) == host


def test_exact_hosts_win_over_longer_and_shorter_wildcards() -> None:
    hosts = ["a.shop.example", "*.shop.example", "*.example"]
    assert choose_host(hosts, "a.shop.example:80") == "a.shop.example"
    assert choose_host(hosts, "b.shop.example") == "*.shop.example"
    assert choose_host(hosts, "x.example") == "*.example"
    assert choose_host(hosts, "example") is None


def test_normal_path_leaves_plain_paths_alone() -> None:
    assert normal_path("/a/b.c/") == "/a/b.c/"
    assert normal_path("/a/b/..") == "/a/"
    assert normal_path("/..") == "/"
