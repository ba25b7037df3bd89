"""What routes do, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.configs import config_of, virtual_service

from tidegate.compile.envoy.http_action import fill_action

FORWARD = "route: [{destination: {host: reviews}}]"


def action(text: str, port: int = 80) -> dict[str, Any]:
    (rule,) = config_of(virtual_service("v", "reviews", "- " + text)).virtual_services
    out: dict[str, Any] = {}
    fill_action(out, rule.http[0], port, lambda t: f"{t.host.partition('.')[0]}|{t.subset}", lambda _: None)
    return out


def test_timeout_and_retries() -> None:
    made = action(f"{FORWARD}\n  timeout: 1500ms\n  retries: {{attempts: 3, perTryTimeout: 2s}}")["route"]
    assert made["timeout"] == "1.500s"
    assert made["retry_policy"]["num_retries"] == 3
    assert made["retry_policy"]["per_try_timeout"] == "2s"
    assert made["retry_policy"]["host_selection_retry_max_attempts"] == "5"
    assert made["retry_policy"]["retry_host_predicate"][0]["name"] == "envoy.retry_host_predicates.previous_hosts"


def test_zero_attempts_switch_retries_off() -> None:
    assert "retry_policy" not in action(f"{FORWARD}\n  retries: {{attempts: 0}}")["route"]


def test_status_codes_among_retry_conditions() -> None:
    policy = action(f'{FORWARD}\n  retries: {{attempts: 1, retryOn: "5xx, 409,503"}}')["route"]["retry_policy"]
    assert policy["retry_on"] == "5xx,retriable-status-codes"
    assert policy["retriable_status_codes"] == [409, 503]


@pytest.mark.parametrize(
    ("written", "port", "made"),
    [
        ("{uri: /x}", 80, {"path_redirect": "/x", "response_code": "MOVED_PERMANENTLY"}),
        ("{uri: '', redirectCode: 302}", 80, {"path_redirect": "", "response_code": "FOUND"}),
        ("{authority: a}", 80, {"host_redirect": "a", "response_code": "MOVED_PERMANENTLY"}),
        ("{scheme: https, port: 443}", 80, {"scheme_redirect": "https", "response_code": "MOVED_PERMANENTLY"}),
        ("{port: 8443}", 80, {"port_redirect": 8443, "response_code": "MOVED_PERMANENTLY"}),
        ("{authority: a, port: 80}", 80, {"host_redirect": "a", "response_code": "MOVED_PERMANENTLY"}),
        ("{authority: 'a:80'}", 9080, {"host_redirect": "a", "response_code": "MOVED_PERMANENTLY"}),
        ("{authority: '[::1]:80'}", 9080, {"host_redirect": "[::1]", "response_code": "MOVED_PERMANENTLY"}),
        ("{authority: '::1'}", 80, {"host_redirect": "[::1]", "response_code": "MOVED_PERMANENTLY"}),
        (
            "{authority: 'a:1', port: 81}",
            80,
            {"host_redirect": "a", "port_redirect": 81, "response_code": "MOVED_PERMANENTLY"},
        ),
        ("{port: 80}", 80, {"response_code": "MOVED_PERMANENTLY"}),
        ("{port: 80}", 9080, {"port_redirect": 80, "response_code": "MOVED_PERMANENTLY"}),
        (
            "{authority: a, derivePort: FROM_REQUEST_PORT}",
            9080,
            {"host_redirect": "a", "port_redirect": 9080, "response_code": "MOVED_PERMANENTLY"},
        ),
        (
            "{authority: a, derivePort: FROM_REQUEST_PORT}",
            80,
            {"host_redirect": "a", "response_code": "MOVED_PERMANENTLY"},
        ),
    ],
)
@pytest.mark.case("C6")
def test_redirect(written: str, port: int, made: dict[str, Any]) -> None:
    assert action(f"redirect: {written}", port)["redirect"] == made


def test_rewrite() -> None:
    made = action(f"{FORWARD}\n  rewrite: {{uri: /b, authority: other}}")["route"]
    assert (made["prefix_rewrite"], made["host_rewrite_literal"]) == ("/b", "other")
    made = action(f"{FORWARD}\n  rewrite: {{uriRegexRewrite: {{match: '^/a(.*)', rewrite: '/b\\1'}}}}")["route"]
    assert made["regex_rewrite"] == {"pattern": {"regex": "^/a(.*)"}, "substitution": r"/b\1"}


def test_fault() -> None:
    filters = action(
        f"{FORWARD}\n  fault: {{delay: {{fixedDelay: 5s, percentage: {{value: 0.1}}}}, "
        "abort: {httpStatus: 503, percentage: {value: 100}}}"
    )["typed_per_filter_config"]
    fault = filters["envoy.filters.http.fault"]
    assert fault["@type"] == "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
    assert fault["delay"] == {"fixed_delay": "5s", "percentage": {"numerator": 1000, "denominator": "MILLION"}}
    assert fault["abort"] == {"http_status": 503, "percentage": {"numerator": 1_000_000, "denominator": "MILLION"}}


def test_cors() -> None:
    cors = action(f"{FORWARD}\n  corsPolicy: {{allowOrigin: [a.example], allowMethods: [GET, PUT], maxAge: 1m}}")[
        "typed_per_filter_config"
    ]["envoy.filters.http.cors"]
    assert cors["allow_origin_string_match"] == [{"exact": "a.example"}]
    assert (cors["allow_methods"], cors["max_age"]) == ("GET,PUT", "60")
    assert cors["forward_not_matching_preflights"] is True


def test_headers_set_before_add_and_the_host_apart() -> None:
    made = action(
        f"{FORWARD}\n  headers: {{request: {{add: {{b: '2'}}, set: {{a: '1', Host: h}}, remove: [c]}}, "
        "response: {set: {d: '3'}}}"
    )
    assert [(h["header"]["key"], h["append_action"]) for h in made["request_headers_to_add"]] == [
        ("a", "OVERWRITE_IF_EXISTS_OR_ADD"),
        ("b", "APPEND_IF_EXISTS_OR_ADD"),
    ]
    assert made["request_headers_to_remove"] == ["c"]
    assert made["response_headers_to_add"][0]["header"] == {"key": "d", "value": "3"}
    assert made["route"]["host_rewrite_literal"] == "h"


def test_headers_of_a_destination() -> None:
    text = """route:
      - {destination: {host: a}, weight: 1, headers: {request: {set: {x: '1', host: h}}}}
      - {destination: {host: b}, weight: 1}"""
    first, second = action(text)["route"]["weighted_clusters"]["clusters"]
    assert first["request_headers_to_add"][0]["header"]["key"] == "x"
    assert first["host_rewrite_literal"] == "h"
    assert set(second) == {"name", "weight"}
    alone = action("route: [{destination: {host: a}, headers: {request: {remove: [x]}}}]")
    assert alone["request_headers_to_remove"] == ["x"]


def test_mirror() -> None:
    (policy,) = action(f"{FORWARD}\n  mirror: {{host: b, subset: v2}}\n  mirrorPercent: 10")["route"][
        "request_mirror_policies"
    ]
    assert policy["cluster"] == "b|v2"
    assert policy["runtime_fraction"] == {"default_value": {"numerator": 100_000, "denominator": "MILLION"}}


def test_direct_response() -> None:
    made = action("directResponse: {status: 418, body: {string: tea}}")
    assert made["direct_response"] == {"status": 418, "body": {"inline_string": "tea"}}
