"""Delegates: whose routes a request gets when one VirtualService leaves a part of its host to another."""

from __future__ import annotations

import pytest
from tests.support.configs import ENROLLED, config_of, mesh_config, mesh_of, pod, sandbox, service, virtual_service
from tests.support.gateways import compiled, gateway, server

from tidegate.compile.compiler import compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.model.http import HttpRequest
from tidegate.model.names import WorkloadId
from tidegate.model.plan.envoy import CHECKS, ROUTES
from tidegate.model.routing import HttpRoute

WORLD = (
    ENROLLED,
    service("web", "http:80", ips="10.96.0.1"),
    pod("client", "app: client", "10.244.0.9"),
    pod("web-1", "app: web", "10.244.0.1"),
)
ROOT = virtual_service(
    "root",
    "web",
    """
    - name: shop
      match: [{uri: {prefix: /shop}}]
      timeout: 3s
      delegate: {name: leaf, namespace: shop}
    - directResponse: {status: 200}
    """,
)


def leaf(http: str, more: str = "") -> str:
    return virtual_service("leaf", "", http, namespace="shop", more=more).replace("hosts: []", "")


def facts_of(*documents: str) -> Facts:
    return join(config_of(*WORLD, *documents), [sandbox("client", "10.244.0.9")])


def status(facts: Facts, path: str, **headers: str) -> int | None:
    """The direct response that a request gets."""
    told = explain(facts, WorkloadId("default", "client"), "web", 80, HttpRequest(path=path, headers=headers))
    return told.route.direct_response.status if told.route and told.route.direct_response else None


def test_a_delegates_routes_stand_where_the_root_leaves_them() -> None:
    facts = facts_of(ROOT, leaf("- {name: a, match: [{uri: {prefix: /shop/a}}], directResponse: {status: 201}}"))
    assert status(facts, "/shop/a/1") == 201
    assert status(facts, "/shop/b") == 200, "what the delegate does not take goes on with the root"
    told = explain(facts, WorkloadId("default", "client"), "web", 80, HttpRequest(path="/shop/a"))
    assert told.rule is not None
    assert (told.rule.origin.namespace, told.rule.origin.name, told.rule.index) == ("shop", "leaf", 0)
    assert told.rule.route == "shop-a"
    assert told.route is not None
    assert told.route.timeout_ms == 3000, "what the delegate does not say the root says"


def test_every_block_of_the_root_meets_every_block_of_the_delegate() -> None:
    root = ROOT.replace("[{uri: {prefix: /shop}}]", "[{uri: {prefix: /shop}}, {headers: {x: {exact: y}}}]")
    facts = facts_of(
        root, leaf("- {match: [{uri: {prefix: /shop/a}}, {method: {exact: PUT}}], timeout: 1s, redirect: {uri: /}}")
    )
    (route,) = merged_routes(facts)
    assert [(m.uri and m.uri.value, set(dict(m.headers)), m.method is not None) for m in route.matches] == [
        ("/shop/a", set(), False),
        ("/shop", set(), True),
        ("/shop/a", {"x"}, False),
        (None, {"x"}, True),
    ]
    assert route.timeout_ms == 1000, "of what both say the delegate's holds"


def merged_routes(facts: Facts) -> list[HttpRoute]:
    ((_, root),) = facts.roots.values()
    return [route for route in root.http if route.origin is not None]


@pytest.mark.parametrize(
    ("root", "inner"),
    [
        ("uri: {prefix: /shop}", "uri: {prefix: /other}"),
        ("uri: {prefix: /shop}", "uri: {regex: /shop/.*}"),
        ("uri: {regex: /shop/.*}", "uri: {regex: /shop/.*}"),
        ("uri: {exact: /shop}", "uri: {prefix: /shop}"),
        ("uri: {prefix: /shop}", "{uri: {prefix: /shop/a}, ignoreUriCase: true}"),
        ("headers: {x: {exact: a}}", "headers: {x: {exact: b}}"),
        ("queryParams: {x: {exact: a}}", "queryParams: {x: {exact: b}}"),
        ("port: 80", "port: 81"),
        ("sourceNamespace: default", "sourceNamespace: shop"),
        ("sourceLabels: {app: client}", "sourceLabels: {app: other}"),
    ],
)
def test_what_contradicts_the_root_is_left_out(root: str, inner: str) -> None:
    inner = inner if inner.startswith("{") else f"{{{inner}}}"
    facts = facts_of(
        ROOT.replace("uri: {prefix: /shop}", root), leaf(f"- {{match: [{inner}], directResponse: {{status: 201}}}}")
    )
    assert merged_routes(facts) == []


def test_a_delegate_that_is_not_there_or_not_to_be_seen_takes_its_route_along_and_nothing_else() -> None:
    inner = "- directResponse: {status: 201}"
    assert status(facts_of(ROOT), "/shop") == 200
    assert status(facts_of(ROOT, leaf(inner)), "/shop") == 201
    assert status(facts_of(ROOT, leaf(inner, more='exportTo: ["."]')), "/shop") == 200
    assert status(facts_of(ROOT, leaf(inner, more="exportTo: [default]")), "/shop") == 201
    named = virtual_service("leaf", "other", inner, namespace="shop")
    assert status(facts_of(ROOT, named), "/shop") == 200, "it has a host of its own"


def test_a_delegate_that_comes_goes_or_changes_changes_the_root() -> None:
    facts = facts_of(ROOT)
    for wanted in (201, 202, None, 203):
        documents = [leaf(f"- directResponse: {{status: {wanted}}}")] if wanted else []
        facts = join(config_of(*WORLD, ROOT, *documents), facts.sandboxes, facts)
        assert status(facts, "/shop") == (wanted or 200)
        fresh = facts_of(ROOT, *documents)
        assert facts.virtual_services == fresh.virtual_services
        assert facts.roots == fresh.roots
    gone = join(config_of(*WORLD, leaf("- directResponse: {status: 203}")), facts.sandboxes, facts)
    assert not gone.roots
    assert not gone.virtual_services


def test_root_and_delegate_are_judged_apart() -> None:
    checks = compile_plan(facts_of(ROOT, leaf("- directResponse: {status: 201}"))).envoy[CHECKS]
    assert sorted(checks) == ["check|default/root", "check|shop/leaf"]
    (host,) = checks["check|default/root"].body["virtual_hosts"]
    first, second = host["routes"]
    assert first["match"] == {"prefix": "/shop"}
    assert first["route"]["timeout"] == "3s", "what it says itself is judged, wherever that leads"
    assert second["direct_response"]["status"] == 200


def test_a_table_says_of_each_rule_in_it_that_it_is_in_it() -> None:
    """Of root and delegate: it waits for the verdict on both."""
    facts = facts_of(ROOT, leaf("- directResponse: {status: 201}\n- directResponse: {status: 202}"))
    table = compile_plan(facts).envoy[ROUTES]["web.default.svc.cluster.local:80"]
    rules = [origin.object for origin in table.origins if origin.kind == "VirtualService"]
    assert rules == [("VirtualService", "default", "root"), ("VirtualService", "shop", "leaf")]
    edge = gateway("edge", server(80, "HTTP", '"*"'))
    at_edge = compiled(
        edge, ROOT.replace("spec:", "spec:\n  gateways: [istio-system/edge]"), leaf("- directResponse: {status: 201}")
    )
    objects = {origin.object for origin in at_edge.envoy[ROUTES]["http.80"].origins}
    assert ("VirtualService", "shop", "leaf") in objects


def test_what_is_wrong_beside_others_is_said() -> None:
    def codes(*documents: str) -> list[str]:
        mesh = mesh_of({f"{n}.yaml": text for n, text in enumerate((*WORLD, *documents))})
        return sorted(p.code for p in mesh.problems)

    inner = "- directResponse: {status: 201}"
    assert codes(ROOT, leaf(inner)) == []
    assert codes(ROOT) == ["TG0553"]
    assert codes(ROOT, virtual_service("leaf", "web.shop", inner, namespace="shop")) == ["TG0554"]
    assert codes(ROOT, leaf(inner, more='exportTo: ["."]')) == ["TG0555"]
    assert codes(ROOT, leaf(inner), mesh_config('defaultVirtualServiceExportTo: ["."]')) == ["TG0555"]
    assert codes(leaf(inner)) == ["TG0556"]
