"""compile_plan: pure, independent of order, and content that the real Envoy accepts."""

from __future__ import annotations

import random
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import (
    ENROLLED,
    config_of,
    destination_rule,
    pod,
    sandbox,
    service,
    virtual_service,
)
from tests.support.envoy_static import messages, validate

from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.facts import join
from tidegate.model.mesh import Mesh
from tidegate.model.names import ServiceName
from tidegate.model.plan.envoy import (
    CHECKS,
    CLUSTERS,
    ENDPOINTS,
    EVERY,
    LISTENERS,
    ROUTES,
    SCOPES,
    ResourceRef,
)

EVERYTHING = """
- name: rules
  match:
  - name: jason
    uri: {prefix: /a}
    headers: {end-user: {exact: jason}, x-any: {}}
    withoutHeaders: {x-no: {regex: "a.*"}}
    queryParams: {q: {prefix: x}}
    method: {regex: GET|HEAD}
    authority: {prefix: reviews}
    scheme: {exact: http}
    statPrefix: jason
  - uri: {regex: "/r/[0-9]+"}
    ignoreUriCase: true
  timeout: 1.5s
  retries: {attempts: 3, perTryTimeout: 500ms, retryOn: "5xx,409", backoff: 10ms, retryRemoteLocalities: true}
  fault:
    delay: {fixedDelay: 2s, percentage: {value: 10}}
    abort: {httpStatus: 400, percentage: {value: 33.3333}}
  corsPolicy:
    allowOrigins: [{exact: "*"}, {regex: "https://.*"}]
    allowMethods: [GET, POST]
    allowHeaders: [x-a]
    exposeHeaders: [x-b]
    maxAge: 1h
    allowCredentials: true
  rewrite: {uri: /b, authority: other}
  mirror: {host: ratings}
  mirrorPercentage: {value: 12.5}
  headers:
    request: {set: {x-set: "1", host: h}, add: {x-add: "%REQ(x)%"}, remove: [x-gone]}
    response: {add: {x-resp: a}, remove: [server]}
  route:
  - destination: {host: reviews, subset: v1}
    weight: 75
    headers: {request: {set: {host: v1}}}
  - {destination: {host: reviews, subset: v2}, weight: 25}
- match: [{uri: {prefix: /old}}]
  redirect: {prefixRewrite: /new, authority: x.example, scheme: https, port: 8443, redirectCode: 308}
- match: [{uri: {exact: /tea}}]
  directResponse: {status: 418, body: {string: tea}}
- match: [{uri: {prefix: /re}}]
  rewrite: {uriRegexRewrite: {match: "^/re/(.*)", rewrite: '/\\\\1'}}
  fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
  route: [{destination: {host: ratings, port: {number: 9090}}}]
- route: [{destination: {host: reviews, subset: v1}}]
  retries: {attempts: 0}
"""
POLICIES = """
trafficPolicy:
  loadBalancer: {simple: RANDOM}
  connectionPool:
    tcp: {maxConnections: 5, connectTimeout: 30ms, tcpKeepalive: {probes: 3, time: 60s, interval: 5s}, idleTimeout: 60s}
    http: {http1MaxPendingRequests: 1, http2MaxRequests: 10, maxRequestsPerConnection: 10, maxRetries: 2,
           h2UpgradePolicy: UPGRADE}
  outlierDetection: {consecutive5xxErrors: 7, consecutiveGatewayErrors: 0, interval: 5m, baseEjectionTime: 15m,
                     maxEjectionPercent: 50, minHealthPercent: 10}
subsets:
- {name: v1, labels: {version: v1}}
- name: v2
  labels: {version: v2}
  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, path: /, ttl: 0s}}}}
- name: v3
  labels: {version: v3}
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 65537}}}}
- name: v4
  trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}
"""


def rich_config() -> Mesh:
    return config_of(
        ENROLLED,
        service("reviews", "http:9080", "tcp:3306:sql", ips="10.96.0.1,fd00::1"),
        service("ratings", "grpc:9090", "http:80", ips="10.96.0.2"),
        service("headless", "http:8000", ips="None", selector="app: reviews"),
        pod("reviews-1", "app: reviews, version: v1", "10.244.0.1", "fd01::1", ports="{containerPort: 1, name: sql}"),
        pod("reviews-2", "app: reviews, version: v2", "10.244.0.2", "fd01::2", ports="{containerPort: 2, name: sql}"),
        pod("ratings-1", "app: ratings", "10.244.0.3"),
        virtual_service("reviews", "reviews, reviews.example, '*.wild.example'", EVERYTHING),
        destination_rule("reviews", "reviews", POLICIES),
        destination_rule("ratings", "*.default.svc.cluster.local", "trafficPolicy: {loadBalancer: {simple: RANDOM}}"),
    )


SANDBOXES = (sandbox("reviews-1", "10.244.0.1", v6=True), sandbox("ratings-1", "10.244.0.3", cookie=2))


def test_the_real_envoy_accepts_everything(tmp_path: Path) -> None:
    snapshot = compile_plan(join(rich_config(), SANDBOXES), 1)
    assert set(snapshot.envoy[LISTENERS]) == {"outbound|default/reviews-1|1", "outbound|default/ratings-1|2"}
    assert len(messages(snapshot.envoy)) == sum(map(len, snapshot.envoy.values()))
    assert validate(snapshot.envoy, tmp_path) == ""


def test_everything_that_is_referred_to_is_there() -> None:
    envoy = compile_plan(join(rich_config(), SANDBOXES), 1).envoy
    refs = {ref for resources in envoy.values() for resource in resources.values() for ref in resource.refs}
    assert {ref.name for ref in refs if ref.kind == ROUTES} == set(envoy[ROUTES])
    named = {ref.name for ref in refs if ref.kind == CLUSTERS}
    ports = {":".join(reversed(name.split("|")[1::2])) for name in named - set(envoy[CLUSTERS])}
    assert not ports & set(envoy[ROUTES]), "only a port that its service does not have has no cluster"
    assert {ref.name for ref in refs if ref.kind == ENDPOINTS} == set(envoy[ENDPOINTS])
    assert {ref for ref in refs if ref.kind == SCOPES} == {ResourceRef(SCOPES, EVERY)}


def test_references_are_what_stands_in_the_bodies() -> None:
    """Whoever needs to know what a resource uses asks its references: they have to be complete."""
    envoy = compile_plan(join(rich_config(), SANDBOXES), 1).envoy
    for name, resource in envoy[ROUTES].items():
        assert set(resource.needs(CLUSTERS)) == set(re.findall(r"'(outbound\|[^']*)'", str(resource.body))), name
    for resource in envoy[SCOPES].values():
        assert resource.needs(ROUTES) == [resource.body["route_configuration_name"]]
    for name, resource in envoy[CLUSTERS].items():
        assert resource.needs(ENDPOINTS) == ([name] if resource.body["type"] == "EDS" else [])


def test_a_new_service_touches_no_listener_and_no_other_services_resources() -> None:
    config = rich_config()
    without = replace(config, services=tuple(s for s in config.services if s.id.name != "ratings"))
    before, after = (compile_plan(join(c, SANDBOXES)).envoy for c in (without, config))
    changed = {(k, n) for k in after for n in after[k] if after[k][n] != before[k].get(n)}
    assert all("ratings" in name or name in ("10.96.0.2:9090", "10.96.0.2:80") for _, name in changed), changed
    assert before[LISTENERS] == after[LISTENERS]


def test_order_of_facts_does_not_matter() -> None:
    config, shuffled = rich_config(), random.Random(7)
    wanted = compile_plan(join(config, SANDBOXES), 5)
    for _ in range(10):
        mixed: dict[str, Any] = {
            field: tuple(shuffled.sample(value, len(value)))
            for field, value in (
                ("namespaces", config.namespaces),
                ("pods", config.pods),
                ("services", config.services),
                ("virtual_services", config.virtual_services),
                ("destination_rules", config.destination_rules),
            )
        }
        sandboxes = tuple(shuffled.sample(SANDBOXES, len(SANDBOXES)))
        mixed_up = compile_plan(join(replace(config, **mixed), sandboxes), 5)
        assert mixed_up == wanted
        assert str(dict(mixed_up.envoy[ROUTES])) == str(dict(wanted.envoy[ROUTES]))


def test_no_listener_without_http_services_enrolment_or_a_port() -> None:
    tcp = config_of(ENROLLED, service("db", "tcp:3306", ips="10.96.0.1"), pod("p", "app: db", "10.244.0.1"))
    (plan,) = compile_plan(join(tcp, (sandbox("p"),))).pods
    assert (plan.enrolled, plan.needs_envoy, plan.listener) == (True, False, "")
    stranger = compile_plan(join(rich_config(), (sandbox("stranger"),)))
    assert not stranger.pods[0].enrolled
    assert stranger.envoy[LISTENERS] == {}
    portless = replace(SANDBOXES[0], capture=replace(SANDBOXES[0].capture, envoy4=0))
    unready = compile_plan(join(rich_config(), (portless,)))
    assert unready.pods[0].needs_envoy
    assert unready.envoy[LISTENERS] == {}


def test_an_edited_route_changes_one_route_configuration_and_nothing_else() -> None:
    before = compile_plan(join(rich_config(), SANDBOXES)).envoy
    config = rich_config()
    rule = config.virtual_services[0]
    http = (replace(rule.http[0], timeout_ms=9), *rule.http[1:])
    edited = replace(config, virtual_services=(replace(rule, hosts=rule.hosts[:1], http=http),))
    narrowed = replace(config, virtual_services=(replace(rule, hosts=rule.hosts[:1]),))
    base, after = (compile_plan(join(c, SANDBOXES)).envoy for c in (narrowed, edited))
    changed = {(k, n) for k in after for n in after[k] if after[k][n] != base[k].get(n)}
    assert changed == {(ROUTES, "reviews.default.svc.cluster.local:9080"), (CHECKS, "check|default/reviews")}
    assert set(before[LISTENERS]) == set(after[LISTENERS])


def edited(config: Mesh, chance: random.Random) -> Mesh:
    """The configuration after one random change."""
    kind = chance.choice(("services", "pods", "virtual_services", "destination_rules"))
    items = list(getattr(config, kind))
    at = chance.randrange(len(items)) if items else 0
    what = chance.random()
    if what < 0.4 or not items:
        items[at : at + 1] = []
    elif kind == "pods":
        items[at] = replace(items[at], ready=not items[at].ready)
    elif kind == "services":
        items[at] = replace(items[at], headless=not items[at].headless)
    elif kind == "virtual_services":
        items[at] = replace(items[at], hosts=items[at].hosts[: chance.randrange(1, 4)])
    else:
        items[at] = replace(items[at], subsets=items[at].subsets[: chance.randrange(4)])
    changed: dict[str, Any] = {kind: tuple(items)}
    return replace(config, **changed)


@pytest.mark.parametrize("seed", range(20))
def test_following_changes_gives_what_compiling_anew_gives(seed: int) -> None:
    chance = random.Random(seed)
    compiler, facts, config = Compiler(), None, rich_config()
    for _ in range(12):
        config = rich_config() if chance.random() < 0.2 else edited(config, chance)
        facts = join(config, SANDBOXES[: chance.randrange(1, 3)], facts)
        followed, anew = compiler.compile(facts), compile_plan(facts)
        assert followed == anew
        assert {k: dict(v) for k, v in followed.envoy.items()} == {k: dict(v) for k, v in anew.envoy.items()}


def test_what_did_not_change_comes_back_as_the_same_object() -> None:
    compiler, config = Compiler(), rich_config()
    facts = join(config, SANDBOXES)
    before = compiler.compile(facts)
    assert compiler.compile(facts).envoy[ROUTES] is before.envoy[ROUTES]
    rule = config.virtual_services[0]
    edited = replace(config, virtual_services=(replace(rule, http=(replace(rule.http[0], timeout_ms=9),)),))
    after = compiler.compile(join(edited, SANDBOXES, facts))
    assert after.destinations is before.destinations
    assert after.l4 is before.l4
    assert after.services is before.services
    assert after.envoy[LISTENERS] is before.envoy[LISTENERS]
    assert after.envoy[SCOPES] is before.envoy[SCOPES]
    one_more = replace(config, services=(*config.services, replace(config.services[0], id=ServiceName("x", "y"))))
    grown = compiler.compile(join(one_more, SANDBOXES, facts))
    assert grown.envoy[LISTENERS] is before.envoy[LISTENERS]
    for name, scope in before.envoy[SCOPES].items():
        assert grown.envoy[SCOPES][name] is scope


def test_a_pod_that_comes_makes_nothing_anew_that_is_the_same_whoever_asks() -> None:
    compiler, config = Compiler(), rich_config()
    facts = join(config, SANDBOXES[:1])
    before = compiler.compile(facts).envoy
    for kind in (ROUTES, CLUSTERS, ENDPOINTS):
        assert dict(before[kind])
    after = compiler.compile(join(config, SANDBOXES, facts)).envoy
    assert set(after[LISTENERS]) > set(before[LISTENERS])
    for kind in (CLUSTERS, ENDPOINTS):
        assert all(after[kind][name] is made for name, made in before[kind].items())
        assert set(after[kind]) == set(before[kind])
    plain = "ratings.default.svc.cluster.local:9090"
    assert after[ROUTES][plain] is before[ROUTES][plain]


def test_a_thousand_services_compile_in_reasonable_time() -> None:
    texts = [ENROLLED]
    for n in range(1000):
        texts.append(service(f"s{n}", "http:80", ips=f"10.96.{n // 250}.{n % 250 + 1}"))
        texts.append(pod(f"p{n}", f"app: s{n}, version: v1", f"10.244.{n // 250}.{n % 250 + 1}"))
        texts.append(virtual_service(f"v{n}", f"s{n}", f"- route: [{{destination: {{host: s{n}, subset: v1}}}}]"))
        texts.append(destination_rule(f"d{n}", f"s{n}", "subsets: [{name: v1, labels: {version: v1}}]"))
    start = time.monotonic()
    config = config_of("---".join(texts))
    read = time.monotonic()
    sandboxes = tuple(sandbox(f"p{n}", cookie=n + 1) for n in range(30))
    snapshot = compile_plan(join(config, sandboxes))
    done = time.monotonic()
    print(f"1000 services, 30 local pods: read {read - start:.2f} s, compile {done - read:.2f} s")
    assert len(snapshot.envoy[ROUTES]) == 1000
    assert len(snapshot.envoy[CLUSTERS]) == 2000
