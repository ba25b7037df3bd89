"""Texts of rules: what validation accepts the real Envoy accepts, and nobody's rule shows what is the node's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.configs import config_of, virtual_service
from tests.support.envoy_judge import judge_routes, judge_rules

from tidegate.config.documents import parse_text
from tidegate.config.shapes.envoy_text import FIELDS, NEEDS_ARGUMENT, TAKES_LENGTH, unknown_field

ROUTE = "route: [{destination: {host: web}}]"
ARGUMENTS = {
    "GRPC_STATUS": "SNAKE_STRING",
    "RESPONSE_CODE_DETAILS": "ALLOW_WHITESPACES",
    "START_TIME": "%Y-%m-%dT%H:%M:%E3S%z",
    "REQ": "x-id?:path",
    "FILTER_STATE": "some.key:PLAIN",
}


def forms() -> Iterator[str]:
    """Each field that a value may hold, in each form in which validation lets it through."""
    for name, argument in FIELDS.items():
        if name not in NEEDS_ARGUMENT:
            yield f"%{name}%"
        if argument != "(?!)":
            given = ARGUMENTS.get(name, "x" if name in NEEDS_ARGUMENT else "%Y")
            yield f"%{name}({given})%"
            if name in TAKES_LENGTH:
                yield f"%{name}({given}):9%"


def routes_with(values: list[str]) -> dict[str, object]:
    added = [{"header": {"key": f"x-{i}", "value": value}} for i, value in enumerate(values)]
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "request_headers_to_add": added}
    return {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]}


@pytest.mark.case("A1")
def test_envoy_knows_every_field_that_a_header_may_hold(tmp_path: Path) -> None:
    values = [*forms(), "100%%", "%%REQ%%", "%REQ(a)%%RESP(b)%", "a%REQ(a)%b"]
    assert [v for v in values if unknown_field(v) is not None] == []
    assert judge_routes([routes_with(values)], tmp_path) == ""


REFUSED = [
    "BEGIN%20CERT%0AMII",
    "%20CERT%",
    "50%",
    "%",
    "%%%",
    "%REQ(x%",
    "%REQ%",
    "%REQ()%",
    "%req(x)%",
    "%PROTOCOL(x)%",
    "%PROTOCOL:3%",
    "%START_TIME:3%",
    "%GRPC_STATUS(x)%",
    "%NOTHING%",
    "%REQ(a?b?c)%",
    "%REQ(a):99999999999999999999%",
    "%FILTER_STATE(a:NONSENSE)%",
    "%REQ(:)%",
]


@pytest.mark.case("A1")
@pytest.mark.parametrize("value", REFUSED)
def test_what_envoy_cannot_fill_in_is_refused(value: str, tmp_path: Path) -> None:
    assert unknown_field(value) is not None
    assert judge_routes([routes_with([value])], tmp_path) != "", "Envoy would take it"


@pytest.mark.parametrize(
    "value", ["%ENVIRONMENT(HOME)%", "%CEL(request.host)%", "%COALESCE({})%", "%FILE_CONTENT(/x)%"]
)
def test_a_rule_cannot_show_what_belongs_to_the_node(value: str) -> None:
    assert unknown_field(value) == value


@pytest.mark.case("A1")
def test_a_certificate_in_a_header_is_refused_with_its_line() -> None:
    value = '"BEGIN%20CERT%0AMII"'
    text = virtual_service("v", "shop.example.com", f"- headers: {{request: {{set: {{x-cert: {value}}}}}}}\n  {ROUTE}")
    problems = parse_text(text, "shop.yaml").problems
    assert [(p.code, p.line, p.file) for p in problems] == [("TG0313", 9, "shop.yaml")]
    assert "'%20CERT%'" in problems[0].message


# Each text that a rule may hold; %s is the text, as YAML reads it between double quotes.
TEXTS = {
    "header set": f"headers: {{request: {{set: {{x: %s}}}}}}\n  {ROUTE}",
    "header added": f"headers: {{response: {{add: {{x: %s}}}}}}\n  {ROUTE}",
    "header removed": f"headers: {{response: {{remove: [%s]}}}}\n  {ROUTE}",
    "header of a destination": "route: [{destination: {host: web}, headers: {request: {set: {x: %s}}}}]",
    "header name": f"headers: {{request: {{set: {{%s: x}}}}}}\n  {ROUTE}",
    "host set": f"headers: {{request: {{set: {{Host: %s}}}}}}\n  {ROUTE}",
    "host of a response": f"headers: {{response: {{set: {{%s: x}}}}}}\n  {ROUTE}",
    "redirect.uri": "redirect: {uri: %s}",
    "redirect.prefixRewrite": "redirect: {prefixRewrite: %s}",
    "redirect.authority": "redirect: {authority: %s}",
    "redirect.scheme": "redirect: {uri: /, scheme: %s}",
    "rewrite.uri": f"rewrite: {{uri: %s}}\n  {ROUTE}",
    "rewrite.authority": f"rewrite: {{authority: %s}}\n  {ROUTE}",
    "rewrite.uriRegexRewrite.match": f"rewrite: {{uriRegexRewrite: {{match: %s, rewrite: x}}}}\n  {ROUTE}",
    "rewrite.uriRegexRewrite.rewrite": f"rewrite: {{uriRegexRewrite: {{match: /(a), rewrite: %s}}}}\n  {ROUTE}",
    "body": "directResponse: {status: 200, body: {string: %s}}",
    "bytes": "directResponse: {status: 200, body: {bytes: %s}}",
    "name": f"name: %s\n  {ROUTE}",
    "destination.host": "route: [{destination: {host: %s}}]",
    "destination.subset": "route: [{destination: {host: web, subset: %s}}]",
    "mirror": f"mirror: {{host: %s}}\n  {ROUTE}",
    "retryOn": f"retries: {{attempts: 1, retryOn: %s}}\n  {ROUTE}",
    "allowOrigins": f"corsPolicy: {{allowOrigins: [{{exact: %s}}]}}\n  {ROUTE}",
    "allowOrigins.regex": f"corsPolicy: {{allowOrigins: [{{regex: %s}}]}}\n  {ROUTE}",
    "allowMethods": f"corsPolicy: {{allowMethods: [%s]}}\n  {ROUTE}",
    "allowHeaders": f"corsPolicy: {{allowHeaders: [%s]}}\n  {ROUTE}",
    "exposeHeaders": f"corsPolicy: {{exposeHeaders: [%s]}}\n  {ROUTE}",
    "grpcStatus": f"fault: {{abort: {{grpcStatus: %s, percentage: {{value: 1}}}}}}\n  {ROUTE}",
    **{
        f"match.{condition}": f"match: [{{{condition % '%s'}}}]\n  {ROUTE}"
        for condition in (
            "uri: {exact: %s}",
            "uri: {prefix: %s}",
            "uri: {regex: %s}",
            "method: {exact: %s}",
            "scheme: {prefix: %s}",
            "authority: {regex: %s}",
            "headers: {x: {exact: %s}}",
            "headers: {%s: {exact: x}}",
            "withoutHeaders: {%s: {}}",
            "queryParams: {x: {prefix: %s}}",
            "queryParams: {%s: {exact: x}}",
            "sourceLabels: {app: %s}",
            "sourceNamespace: %s",
            "name: %s",
            "statPrefix: %s",
        )
    },
}
NASTY = [
    "",
    "a\\nb",
    "a\\rb",
    "a\\0b",
    "a b",
    "%",
    "%REQ(x)%",
    "%0A",
    "Host",
    ":authority",
    ":path",
    "\\xe9",
    "\\U0001F600",
    "\\x7f",
    "*",
    "[",
    "(a|b){500}",
    "\\\\9",
    "=",
    "YQ=",
    "a" * 2000,
    "a" * 17000,
]


@pytest.mark.case("A3")
def test_whatever_text_validation_accepts_envoy_accepts(tmp_path: Path) -> None:
    """Every text of a VirtualService with everything that some field of Envoy's refuses. One configuration for all."""
    accepted, refused = [], 0
    for i, template in enumerate(TEXTS.values()):
        for j, text in enumerate(NASTY):
            written = virtual_service(f"v{i}-{j}", f"h{i}-{j}.example.com", "- " + template.replace("%s", f'"{text}"'))
            if any(problem.is_error for problem in parse_text(written, "x.yaml").problems):
                refused += 1
            else:
                accepted.append(written)
    assert len(accepted) > 300
    assert refused > 300
    assert judge_rules(config_of(*accepted).virtual_services, tmp_path) == ""


@pytest.mark.case("A3")
@pytest.mark.parametrize("field", ["header set", "redirect.uri", "redirect.authority", "rewrite.uri", "allowHeaders"])
@pytest.mark.parametrize("text", ["a\\nb", "a\\r", "a\\0b"])
def test_what_becomes_a_header_is_one_line(field: str, text: str) -> None:
    written = virtual_service("v", "shop.example.com", "- " + TEXTS[field].replace("%s", f'"{text}"'))
    assert [p.code for p in parse_text(written, "x.yaml").problems] == ["TG0218"]
