"""Each number of the API has the range of the field that it becomes: derived from Envoy's messages, tried on Envoy."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import config_of, destination_rule, service, virtual_service
from tests.support.envoy_judge import judge_clusters, judge_rules

from tidegate.compile.derive import Read
from tidegate.compile.envoy.clusters import ClusterKey, cluster
from tidegate.compile.envoy.prototypes import message_class
from tidegate.compile.facts import join
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.config import limits
from tidegate.config.documents import parse_text
from tidegate.config.kinds.destination_rule import DestinationRuleSpec
from tidegate.config.kinds.virtual_service import VirtualServiceSpec
from tidegate.config.limits import INT32, LIMITS, Limit
from tidegate.config.schema import ApiModel, parse_duration, positive_duration
from tidegate.envoy.bootstrap import RUNTIME
from tidegate.model.routing import VirtualService

TYPES = {"TYPE_UINT32": 2**32 - 1, "TYPE_UINT64": 2**64 - 1, "TYPE_INT32": 2**31 - 1, "TYPE_DOUBLE": 2**1024 - 2**970}


def envoy_range(becomes: str) -> tuple[int, int]:
    """What protobuf and Envoy's validation rules (validate.rules of the generated messages) let into a field."""
    *package, top = re.split(r"\.(?=[A-Z])", becomes.rpartition(".")[0], maxsplit=1)
    outer, *inner = top.split(".")
    message: Any = message_class(".".join((*package, outer))).DESCRIPTOR
    for nested in inner:
        message = message.nested_types_by_name[nested]
    field: Any = message.fields_by_name[becomes.rpartition(".")[2]]
    rules: Any = getattr(importlib.import_module("validate.validate_pb2"), "rules")  # noqa: B009
    said: Any = field.GetOptions().Extensions[rules]
    scalar = field
    if field.message_type is not None:
        assert field.message_type.full_name.startswith("google.protobuf.UInt"), becomes
        scalar = field.message_type.fields_by_name["value"]
    kinds = {number: kind for kind, number in type(scalar).__dict__.items() if kind.startswith("TYPE_")}
    kind = kinds[scalar.type]
    least, most = 0, TYPES[kind]
    rule = getattr(said, kind.removeprefix("TYPE_").lower(), None)
    if rule is not None:
        least = int(rule.gte) if rule.HasField("gte") else int(rule.gt) + 1 if rule.HasField("gt") else least
        most = int(rule.lte) if rule.HasField("lte") else int(rule.lt) - 1 if rule.HasField("lt") else most
    return least, most


@pytest.mark.case("A3")
@pytest.mark.parametrize("name", LIMITS)
def test_a_number_has_the_range_of_the_field_that_it_becomes(name: str) -> None:
    limit = LIMITS[name]
    least, most = envoy_range(limit.becomes)
    assert least <= limit.least <= limit.most <= most
    assert bool(limit.why) == ((limit.least, limit.most) != (least, most)), f"{name}: Envoy's field is {least}..{most}"
    if limit.why == limits._ISTIO:
        assert limit.most == INT32


def test_the_longest_expression_is_the_same_for_envoy_and_for_validation() -> None:
    assert RUNTIME["re2.max_program_size.error_level"] == limits.REGEX_PROGRAM


def shapes(*roots: type[ApiModel]) -> list[type[ApiModel]]:
    """Messages and all messages in them."""
    seen = [*roots]
    for one in seen:
        for found in one.model_fields.values():
            seen += [p for p in parts(found.annotation) if is_shape(p) and p not in seen]
    return seen


def is_shape(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, ApiModel)


def parts(annotation: Any) -> Iterator[Any]:
    """A type and what it is made of, with the conditions of its parts."""
    yield annotation
    for argument in (*getattr(annotation, "__args__", ()), *getattr(annotation, "__metadata__", ())):
        yield from parts(argument)
    yield from getattr(annotation, "metadata", ())


def range_of(conditions: list[Any]) -> tuple[Any, Any]:
    """The bounds among the conditions of a field."""
    found = {name: getattr(c, name) for c in conditions for name in ("ge", "le") if hasattr(c, name)}
    return found.get("ge"), found.get("le")


# Numbers that are no field of Envoy's, each with what else holds them.
ELSEWHERE = {
    "RedirectDoc.redirect_code": "one of five",
    "Percentage.value": "becomes parts per million",
    "WarmupDoc.aggression": "any that is more than 0",
    "DistributeDoc.to": "percents, 100 together",
}


@pytest.mark.case("A3")
def test_no_number_of_a_rule_is_without_a_range() -> None:
    """A duration is held by the one parser of durations, anything else has a row of LIMITS."""
    rows = {(limit.least, limit.most) for limit in LIMITS.values()}
    without = []
    for model in shapes(VirtualServiceSpec, DestinationRuleSpec):
        for name, field in model.model_fields.items():
            conditions = [*field.metadata, *parts(field.annotation)]
            is_number = {int, float} & {c for c in conditions if isinstance(c, type)} and bool not in conditions
            parsers = {getattr(c, "func", None) for c in conditions}
            held = {parse_duration, positive_duration} & parsers or range_of(conditions) in rows
            if is_number and not held and f"{model.__name__}.{name}" not in ELSEWHERE:
                without.append(f"{model.__name__}.{name}")
    assert without == []


# --- at both ends, as the real Envoy sees it -------------------------------------------------------------------------
ROUTE = "route: [{destination: {host: web}}]"
POOL = "trafficPolicy: {connectionPool: {%s}}"
HASH = "trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, %s}}}"
OUTLIER = "trafficPolicy: {outlierDetection: {%s}}"
LONGEST = Limit("", 1, limits.LONGEST_MS // 1000)
# Where a number is written, and its limit. %s is the number.
IN_RULES: dict[str, tuple[str, Limit]] = {
    "weight": ("route: [{destination: {host: web}, weight: %s}, {destination: {host: web}, weight: 1}]", limits.WEIGHT),
    "attempts": (f"{ROUTE}\n  retries: {{attempts: %s}}", limits.ATTEMPTS),
    "retry code": (f"{ROUTE}\n  retries: {{attempts: 1, retryOn: '%s'}}", limits.RETRIABLE_CODE),
    "redirect port": ("redirect: {port: %s}", limits.REDIRECT_PORT),
    "destination port": ("route: [{destination: {host: web, port: {number: %s}}}]", limits.PORT),
    "direct status": ("directResponse: {status: %s}", limits.DIRECT_STATUS),
    "abort": (f"{ROUTE}\n  fault: {{abort: {{httpStatus: %s, percentage: {{value: 1}}}}}}", limits.ABORT_STATUS),
    "timeout": (f"{ROUTE}\n  timeout: %ss", LONGEST),
    "per try": (f"{ROUTE}\n  retries: {{attempts: 1, perTryTimeout: %ss}}", LONGEST),
    "backoff": (f"{ROUTE}\n  retries: {{attempts: 1, backoff: %ss}}", LONGEST),
    "delay": (f"{ROUTE}\n  fault: {{delay: {{fixedDelay: %ss, percentage: {{value: 1}}}}}}", LONGEST),
    "max age": (f"{ROUTE}\n  corsPolicy: {{maxAge: %ss}}", LONGEST),
}
IN_POLICIES: dict[str, tuple[str, Limit]] = {
    "connections": (POOL % "tcp: {maxConnections: %s}", limits.MAX_CONNECTIONS),
    "pending": (POOL % "http: {http1MaxPendingRequests: %s}", limits.MAX_PENDING),
    "requests": (POOL % "http: {http2MaxRequests: %s}", limits.MAX_REQUESTS),
    "per connection": (POOL % "http: {maxRequestsPerConnection: %s}", limits.REQUESTS_PER_CONNECTION),
    "retries": (POOL % "http: {maxRetries: %s}", limits.MAX_RETRIES),
    "probes": (POOL % "tcp: {tcpKeepalive: {probes: %s}}", limits.KEEPALIVE_PROBES),
    "keepalive": (POOL % "tcp: {tcpKeepalive: {time: %ss}}", limits.KEEPALIVE_SECONDS),
    "interval": (POOL % "tcp: {tcpKeepalive: {interval: %ss}}", limits.KEEPALIVE_INTERVAL_SECONDS),
    "connect": (POOL % "tcp: {connectTimeout: %ss}", LONGEST),
    "idle": (POOL % "http: {idleTimeout: %ss}", LONGEST),
    "ring": (HASH % "ringHash: {minimumRingSize: %s}", limits.RING_SIZE),
    "old ring": (HASH % "minimumRingSize: %s", limits.RING_SIZE),
    "maglev": (HASH % "maglev: {tableSize: %s}", limits.MAGLEV_TABLE),
    "5xx": (OUTLIER % "consecutive5xxErrors: %s", limits.CONSECUTIVE_5XX),
    "gateway": (OUTLIER % "consecutiveGatewayErrors: %s", limits.CONSECUTIVE_GATEWAY),
    "ejection": (OUTLIER % "baseEjectionTime: %ss", LONGEST),
    "ejection interval": (OUTLIER % "interval: %ss", LONGEST),
    "ejected": (OUTLIER % "consecutive5xxErrors: 1, maxEjectionPercent: %s", limits.MAX_EJECTION),
    "local": (
        OUTLIER % "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: %s",
        limits.CONSECUTIVE_LOCAL,
    ),
    "streams": (POOL % "http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: %s}", limits.MAX_STREAMS),
    "ping": (POOL % "http: {h2UpgradePolicy: UPGRADE, http2KeepAlive: {interval: %ss, timeout: 1s}}", LONGEST),
    "pong": (POOL % "http: {h2UpgradePolicy: UPGRADE, http2KeepAlive: {interval: 1s, timeout: %ss}}", LONGEST),
    "duration": (POOL % "tcp: {maxConnectionDuration: %ss}", LONGEST),
    "warm": ("trafficPolicy: {loadBalancer: {warmup: {duration: %ss}}}", LONGEST),
    "warm percent": (
        "trafficPolicy: {loadBalancer: {warmup: {duration: 1s, minimumPercent: %s}}}",
        limits.WARMUP_PERCENT,
    ),
    "budget": ("trafficPolicy: {retryBudget: {percent: %s}}", limits.RETRY_PERCENT),
    "least retries": ("trafficPolicy: {retryBudget: {minRetryConcurrency: %s}}", limits.MIN_RETRIES),
    "health": (OUTLIER % "consecutive5xxErrors: 1, minHealthPercent: %s", limits.MIN_HEALTH),
}


def errors(text: str) -> list[str]:
    return [p.code for p in parse_text(text, "x.yaml").problems if p.severity.value == "error"]


def rule(name: str, http: str) -> str:
    return virtual_service(name, f"{name}.example.com", f"- {http}")


@pytest.mark.case("A3")
def test_every_limit_is_tried() -> None:
    tried = {id(limit) for _, limit in (*IN_RULES.values(), *IN_POLICIES.values())}
    assert [name for name, limit in LIMITS.items() if id(limit) not in tried] == []


@pytest.mark.case("A3")
def test_envoy_accepts_both_ends_of_what_validate_accepts_in_a_virtual_service(tmp_path: Path) -> None:
    texts = [
        rule(f"v{i}-{end}", template % end)
        for i, (template, limit) in enumerate(IN_RULES.values())
        for end in (limit.least, limit.most)
    ]
    assert judge_rules(config_of(*texts).virtual_services, tmp_path) == ""


@pytest.mark.case("A3")
def test_envoy_accepts_both_ends_of_what_validate_accepts_in_a_destination_rule(tmp_path: Path) -> None:
    bodies = []
    for template, limit in IN_POLICIES.values():
        for end in (limit.least, limit.most):
            text = destination_rule("d", "web", template % end)
            bodies.append(cluster_of(text))
    assert judge_clusters(bodies, tmp_path) == ""


def cluster_of(policy: str) -> dict[str, Any]:
    read = Read(join(config_of(service("web", "http:80"), policy), ()).tables)
    made = cluster(Registry(read), Rules(read), ClusterKey("web.default.svc.cluster.local", 80))
    assert made is not None
    return dict(made.body)


@pytest.mark.case("A3")
@pytest.mark.parametrize("what", IN_RULES)
def test_one_beyond_is_refused_in_a_virtual_service(what: str) -> None:
    template, limit = IN_RULES[what]
    beyond = [limit.most + 1, *([limit.least - 1] if limit.least > 1 else [])]
    assert [n for n in beyond if not errors(rule("v", template % n))] == []


@pytest.mark.case("A3")
@pytest.mark.parametrize("what", IN_POLICIES)
def test_one_beyond_is_refused_in_a_destination_rule(what: str) -> None:
    template, limit = IN_POLICIES[what]
    assert errors(destination_rule("d", "web", template % (limit.most + 1)))


@pytest.mark.case("A3")
def test_weights_that_are_too_large_together_are_refused() -> None:
    def split(*weights: int) -> str:
        return "route: [" + ", ".join(f"{{destination: {{host: web}}, weight: {w}}}" for w in weights) + "]"

    assert errors(rule("v", split(2_000_000_000, 2_000_000_000, 2_000_000_000))) == ["TG0325"]
    assert errors(rule("v", split(INT32, INT32, 1))) == []


@pytest.mark.case("A3")
def test_a_table_of_maglev_has_a_prime_size(tmp_path: Path) -> None:
    def sized(size: int) -> str:
        return destination_rule("d", "web", HASH % f"maglev: {{tableSize: {size}}}")

    assert errors(sized(1000)) == ["TG0219"]
    primes = [n for n in (2, 3, 4, 9, 997, 1009, 4_999_999, 5_000_009, 5_000_011) if not errors(sized(n))]
    assert primes == [2, 3, 997, 1009, 4_999_999, 5_000_011]
    assert judge_clusters([cluster_of(sized(n)) for n in primes], tmp_path) == ""


@pytest.mark.case("A3")
def test_envoy_accepts_the_longest_expression_answer_and_host(tmp_path: Path) -> None:
    host = "*." + ".".join(["a" * 61] * 4)
    texts = [
        virtual_service("host", f'"{host}"', f"- {ROUTE}"),
        rule("regex", f"match: [{{uri: {{regex: '(a|b){{900}}[a-z]*'}}}}]\n  {ROUTE}"),
        rule("text", f"directResponse: {{status: 200, body: {{string: '{'é' * 5000}'}}}}"),
        rule("bytes", f"directResponse: {{status: 200, body: {{bytes: '{'YWJj' * 2000}'}}}}"),
        rule("header", f"headers: {{request: {{set: {{x: '{'v' * limits.HEADER_BYTES}'}}}}}}\n  {ROUTE}"),
        rule("query", f"{ROUTE}\n  match:\n  - queryParams:\n      ? {'q' * 1024}\n      : {{exact: a}}"),
    ]
    found: tuple[VirtualService, ...] = config_of(*texts).virtual_services
    assert judge_rules(found, tmp_path) == ""
    assert errors(virtual_service("host", f'"{host}.{"b" * 10}"', f"- {ROUTE}")) == ["TG0212"]
    assert errors(texts[4].replace("vvv", "vvvv", 1)) == ["TG0106"]
    assert errors(texts[5].replace("qqq", "qqqq", 1)) == ["TG0223"]
