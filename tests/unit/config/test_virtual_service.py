"""VirtualService: what reaches the model."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, virtual_service

from tidegate.config.documents import parse_text
from tidegate.model.routing import HttpRoute, Match, StringMatch, VirtualService

ROUTE = "route: [{destination: {host: reviews}}]"


def rule(http: str, **more: str) -> VirtualService:
    (found,) = config_of(virtual_service("v", more.pop("hosts", "reviews"), http, **more)).virtual_services
    return found


def route(text: str) -> HttpRoute:
    return rule("- " + text.strip() + f"\n  {ROUTE}").http[0]


def test_short_names_belong_to_the_namespace_of_the_rule() -> None:
    found = rule(f"- {ROUTE}", hosts="reviews, reviews.prod, Ratings.Prod.svc.cluster.local", namespace="shop")
    assert found.hosts == ("reviews.shop.svc.cluster.local", "reviews.prod", "ratings.prod.svc.cluster.local")
    assert found.http[0].targets[0].target.host == "reviews.shop.svc.cluster.local"


def test_match_becomes_conditions() -> None:
    match = route("match: [{uri: {prefix: /a}, headers: {End-User: {exact: jason}, x: {}}, port: 80}]").matches[0]
    assert match.uri == StringMatch(Match.PREFIX, "/a")
    assert match.headers == (("end-user", StringMatch(Match.EXACT, "jason")), ("x", StringMatch(Match.PRESENT)))
    assert match.port == 80


def test_percentages_are_parts_per_million_cut_off() -> None:
    fault = route("fault: {delay: {fixedDelay: 1.5s, percentage: {value: 33.33339}}}").fault
    assert fault is not None
    assert (fault.delay_ms, fault.delay_share) == (1500, 333333)


def test_old_percent_is_read() -> None:
    fault = route("fault: {abort: {httpStatus: 400, percent: 10}}").fault
    assert fault is not None
    assert (fault.abort_status, fault.abort_share) == (400, 100_000)


def test_grpc_status_by_name() -> None:
    fault = route("fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}").fault
    assert fault is not None
    assert fault.abort_grpc == 14


def test_mirror_without_a_share_mirrors_everything_and_zero_nothing() -> None:
    assert route("mirror: {host: b}").mirrors[0].share == 1_000_000
    assert route("mirror: {host: b}\n  mirrorPercentage: {value: 0}").mirrors == ()
    assert route("mirrors: [{destination: {host: b}, percentage: {value: 5}}]").mirrors[0].share == 50_000


def test_old_header_fields() -> None:
    found = route("appendHeaders: {a: b}\n  removeResponseHeaders: [c]\n  headers: {request: {set: {d: e}}}")
    assert found.headers.request.add == (("a", "b"),)
    assert found.headers.request.set == (("d", "e"),)
    assert found.headers.response.remove == ("c",)


def test_retries_and_timeout() -> None:
    found = route("timeout: 1m\n  retries: {attempts: 3, perTryTimeout: 2s, retryOn: '5xx,503'}")
    assert found.timeout_ms == 60_000
    assert found.retries is not None
    assert (found.retries.attempts, found.retries.per_try_timeout_ms) == (3, 2000)
    assert route("timeout: 0s").timeout_ms == 0


def test_lines_of_routes_and_matches() -> None:
    found = rule(f"- name: a\n  match:\n  - uri: {{exact: /}}\n  {ROUTE}\n- {ROUTE}")
    assert [r.line for r in found.http] == [9, 13]
    assert found.http[0].matches[0].line == 11


def test_export_to_and_gateways() -> None:
    found = rule(f"- {ROUTE}", more="exportTo: ['.', shop]\n  gateways: [mesh, ingress]")
    assert found.gateways == ("mesh", "ingress")
    assert found.visible_from("default")
    assert found.visible_from("shop")
    assert not found.visible_from("other")


def test_all_versions_are_one_schema() -> None:
    text = virtual_service("v", "reviews", f"- {ROUTE}")
    models = [
        config_of(text.replace("istio.io/v1\n", f"istio.io/{v}\n")).virtual_services
        for v in ("v1", "v1beta1", "v1alpha3")
    ]
    assert models[0] == models[1] == models[2] != ()


@pytest.mark.case("D5")
def test_a_short_and_a_full_name_side_by_side_are_one_host() -> None:
    text = virtual_service("v", "web, web.default.svc.cluster.local, WEB, other.example.com", f"- {ROUTE}")
    (found,) = config_of(text).virtual_services
    assert found.hosts == ("web.default.svc.cluster.local", "other.example.com")
    assert config_of(text).problems == ()


@pytest.mark.case("D5")
def test_the_same_name_twice_does_no_harm() -> None:
    (found,) = config_of(virtual_service("v", "web, web", f"- {ROUTE}")).virtual_services
    assert found.hosts == ("web.default.svc.cluster.local",)


def test_two_conditions_on_one_header_are_a_mistake_and_none_is_dropped() -> None:
    match = "match: [{headers: {X-User: {exact: a}, x-user: {exact: b}}}]"
    (problem,) = parse_text(virtual_service("v", "web", f"- {match}\n  {ROUTE}"), "v.yaml").problems
    assert (problem.code, problem.line) == ("TG0213", 9)
