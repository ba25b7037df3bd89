"""What exists for a pod: Sidecars, exportTo, REGISTRY_ONLY; as rows of the kernel, as routes, as explain tells it."""

from __future__ import annotations

from ipaddress import ip_address
from textwrap import dedent, indent

from tests.support.configs import ENROLLED, config_of, mesh_config, pod, sandbox, service, virtual_service

from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.compile.outbound.seen import scope_numbers
from tidegate.model.http import HttpRequest
from tidegate.model.names import WorkloadId
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import ROUTES, SCOPES
from tidegate.model.plan.kernel import ANYWHERE, FIRST_SCOPE, LAST_SCOPE, NO_SCOPE
from tidegate.model.tier import Tier

CLIENT = WorkloadId("default", "client")
WORLD = (
    ENROLLED,
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio-injection: enabled}}",
    service("web", "http:80", "tcp:81", ips="10.96.0.1"),
    service("db", "tcp:5432", ips="10.96.0.2"),
    service("cart", "http:8080", ips="10.96.0.3", namespace="shop"),
    pod("client", "app: client", "10.244.0.9"),
    pod("web-1", "app: web", "10.244.0.1"),
    pod("db-1", "app: db", "10.244.0.2"),
    pod("cart-1", "app: cart", "10.244.0.3", namespace="shop"),
)
REST = service("rest", "http:80", ips="10.96.0.4", namespace="shop", selector="app: cart")


def sidecar(spec: str, name: str = "default", namespace: str = "default") -> str:
    head = "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
    return f"{head}metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n" + indent(dedent(spec).strip(), "  ")


STRICT = mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")


def facts_of(*documents: str) -> Facts:
    return join(config_of(*WORLD, *documents), [sandbox("client", "10.244.0.9")])


def plan_of(*documents: str) -> Plan:
    return compile_plan(facts_of(*documents))


def seen(plan: Plan) -> set[str]:
    """Destinations that the client's connect() finds, as the kernel looks them up."""
    scope = plan.pods[0].scope
    rows = [row for row in plan.destinations if row.scope == scope and row.port and row.address != ANYWHERE]
    return {f"{row.address}:{row.port} {row.tier.name}" for row in rows}


ALL = {"10.96.0.1:80 ENVOY", "10.96.0.1:81 FASTPATH", "10.96.0.2:5432 FASTPATH", "10.96.0.3:8080 ENVOY"}


def test_without_any_of_it_there_is_one_scope_for_all() -> None:
    plan = plan_of()
    assert (plan.pods[0].scope, plan.pods[0].registry_only) == (0, False)
    assert seen(plan) == ALL
    assert not [row for row in plan.destinations if row.scope or row.address == ANYWHERE]


def test_a_sidecar_leaves_what_it_imports() -> None:
    assert seen(plan_of(sidecar("egress: [{hosts: [./*]}]"))) == ALL - {"10.96.0.3:8080 ENVOY"}
    assert seen(plan_of(sidecar("egress: [{hosts: [shop/*]}]"))) == {"10.96.0.3:8080 ENVOY"}
    assert seen(plan_of(sidecar('egress: [{hosts: ["*/*"]}]'))) == ALL
    assert seen(plan_of(sidecar('egress: [{hosts: ["~/*"]}]'))) == set()
    one = "egress: [{hosts: [./db.default.svc.cluster.local]}]"
    assert seen(plan_of(sidecar(one))) == {"10.96.0.2:5432 FASTPATH"}
    without = 'egress: [{hosts: ["*/*", "~default/web.default.svc.cluster.local"]}]'
    assert seen(plan_of(sidecar(without))) == {"10.96.0.2:5432 FASTPATH", "10.96.0.3:8080 ENVOY"}


def test_a_listener_of_a_port_is_for_that_port_alone() -> None:
    spec = "egress: [{port: {number: 80, protocol: HTTP, name: http}, hosts: [./*]}, {hosts: [shop/*]}]"
    assert seen(plan_of(sidecar(spec))) == {"10.96.0.1:80 ENVOY", "10.96.0.3:8080 ENVOY"}
    only = "egress: [{port: {number: 5432, protocol: TCP, name: tcp}, hosts: [./*]}]"
    assert seen(plan_of(sidecar(only))) == {"10.96.0.2:5432 FASTPATH"}


def test_the_sidecar_that_selects_a_workload_goes_before_the_default_and_that_before_the_root_namespaces() -> None:
    root = sidecar('egress: [{hosts: ["~/*"]}]', namespace="istio-system")
    default = sidecar("egress: [{hosts: [shop/*]}]")
    chosen = sidecar("workloadSelector: {labels: {app: client}}\negress: [{hosts: [./*]}]", name="chosen")
    others = sidecar('workloadSelector: {labels: {app: web}}\negress: [{hosts: ["~/*"]}]', name="others")
    assert seen(plan_of(root, others)) == set()
    assert seen(plan_of(root, default, others)) == {"10.96.0.3:8080 ENVOY"}
    assert seen(plan_of(root, default, chosen, others)) == ALL - {"10.96.0.3:8080 ENVOY"}


def test_what_an_imported_rule_leads_to_is_imported_with_it() -> None:
    rule = virtual_service("web", "web", "- route: [{destination: {host: cart.shop.svc.cluster.local}}]")
    one = sidecar("egress: [{hosts: [./web.default.svc.cluster.local]}]")
    assert seen(plan_of(rule, one)) == ALL - {"10.96.0.2:5432 FASTPATH"}


def test_a_rule_that_is_not_imported_does_not_exist() -> None:
    rule = virtual_service("web", "web.default.svc.cluster.local", "- directResponse: {status: 418}", namespace="shop")
    narrow, wide = sidecar("egress: [{hosts: [./*]}]"), sidecar("egress: [{hosts: [./*, shop/*]}]")
    assert "418" in str(routes(plan_of(rule)))
    assert "418" in str(routes(plan_of(rule, wide)))
    assert "client" not in str([h for h in routes(plan_of(rule, wide)) if "418" not in str(h)])
    mine = [h for h in routes(plan_of(rule, narrow)) if "default/client]" in str(h["domains"])]
    assert mine
    assert "418" not in str(mine)
    told = explain(facts_of(rule, narrow), CLIENT, "web", 80)
    assert told.rule is None


def routes(plan: Plan) -> list[dict[str, object]]:
    found: list[dict[str, object]] = plan.envoy[ROUTES]["web.default.svc.cluster.local:80"].body["virtual_hosts"]
    return found


def test_a_service_that_is_not_exported_is_hidden_from_other_namespaces() -> None:
    def exporting(to: str) -> str:
        return service("hidden", "tcp:90", ips="10.96.0.9", namespace="shop", selector="app: cart").replace(
            "name: hidden, ", f'name: hidden, annotations: {{networking.istio.io/exportTo: "{to}"}}, '
        )

    row = {"10.96.0.9:90 FASTPATH"}
    assert seen(plan_of(exporting("."))) == ALL
    assert seen(plan_of(exporting("~"))) == ALL
    assert seen(plan_of(exporting("other, default"))) == ALL | row
    assert seen(plan_of(exporting("*"))) == ALL | row
    default = mesh_config('defaultServiceExportTo: ["."]')
    assert seen(plan_of(default)) == ALL - {"10.96.0.3:8080 ENVOY"}
    assert seen(plan_of(default, exporting("*"))) == (ALL | row) - {"10.96.0.3:8080 ENVOY"}


def test_defaults_of_export_to_hold_for_rules_that_say_nothing() -> None:
    host = "web.default.svc.cluster.local"
    silent = virtual_service("web", host, "- directResponse: {status: 418}", namespace="shop")
    loud = virtual_service("web", host, "- directResponse: {status: 418}", namespace="shop", more='exportTo: ["*"]')
    default = mesh_config('defaultVirtualServiceExportTo: ["."]')
    assert explain(facts_of(silent), CLIENT, "web", 80).rule is not None
    assert explain(facts_of(default, silent), CLIENT, "web", 80).rule is None
    assert explain(facts_of(default, loud), CLIENT, "web", 80).rule is not None


def test_registry_only_refuses_what_nobody_has_and_lets_envoy_answer_at_ports_of_http() -> None:
    plan = plan_of(STRICT)
    assert (plan.pods[0].scope, plan.pods[0].registry_only) == (0, True)
    anywhere = {row.port: (row.tier, row.scope) for row in plan.destinations if row.address == ANYWHERE}
    assert anywhere == {80: (Tier.ENVOY, 0), 8080: (Tier.ENVOY, 0)}
    for name in ("0.0.0.0:80", "[::]:80", "0.0.0.0:8080", "[::]:8080"):
        assert plan.envoy[SCOPES][name].body["route_configuration_name"] == f"*:{name.rpartition(':')[2]}"
    answers = plan.envoy[ROUTES]["*:80"].body["virtual_hosts"][0]["routes"]
    assert [route["direct_response"] for route in answers] == [{"status": 502}] * 2


def test_the_mode_of_a_sidecar_goes_before_the_meshs() -> None:
    strict = sidecar("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
    free = sidecar("outboundTrafficPolicy: {mode: ALLOW_ANY}")
    assert plan_of(strict).pods[0].registry_only
    assert not plan_of(STRICT, free).pods[0].registry_only
    assert plan_of(STRICT, sidecar("egress: [{hosts: [./*]}]")).pods[0].registry_only
    assert plan_of(sidecar("outboundTrafficPolicy: {}")).pods[0].registry_only, "as upstream: the first of the enum"


def test_ports_at_which_envoy_refuses_are_those_that_the_pod_sees() -> None:
    plan = plan_of(STRICT, sidecar("egress: [{hosts: [./*]}]"))
    scope = plan.pods[0].scope
    assert scope
    assert {(r.port, r.scope) for r in plan.destinations if r.address == ANYWHERE} == {(80, scope)}


def test_explain_says_who_refuses_and_why() -> None:
    told = explain(facts_of(STRICT), CLIENT, "192.0.2.7", 443)
    assert (told.verdict, told.counted_as) == ("deny", "deny_not_in_registry")
    web = explain(facts_of(STRICT), CLIENT, "192.0.2.7", 80, HttpRequest())
    assert (web.verdict, web.tier, web.counted_as) == ("deny", "envoy", "redirect_envoy")
    assert "502" in web.reason
    assert "ConfigMap istio-system/istio" in str(web.hops)
    assert "502" in explain(facts_of(STRICT), CLIENT, "www.example.com", 80).reason
    assert explain(facts_of(STRICT), CLIENT, "10.244.0.1", 9999).verdict == "allow", "pods are in the registry"
    assert explain(facts_of(STRICT), CLIENT, "web", 80).verdict == "allow"
    free = explain(facts_of(), CLIENT, "192.0.2.7", 443)
    assert (free.verdict, free.counted_as) == ("pass", "pass_unknown")


def test_explain_says_which_sidecar_hides_a_service() -> None:
    hidden = sidecar("egress: [{hosts: [shop/*]}]")
    told = explain(facts_of(hidden), CLIENT, "db", 5432)
    assert (told.verdict, told.counted_as) == ("pass", "pass_unknown")
    assert "Sidecar default/default" in next(hop.result for hop in told.hops if hop.step == "visibility")
    strict = explain(facts_of(STRICT, hidden), CLIENT, "db", 5432)
    assert (strict.verdict, strict.counted_as) == ("deny", "deny_not_in_registry")


def test_a_second_look_gives_the_same_objects() -> None:
    compiler = Compiler()
    facts = facts_of(STRICT, sidecar("egress: [{hosts: [./*]}]"))
    first = compiler.compile(facts)
    again = compiler.compile(join(config_of(*WORLD, STRICT, sidecar("egress: [{hosts: [./*]}]")), facts.sandboxes))
    assert again.destinations == first.destinations
    assert compiler.compile(facts).destinations is again.destinations


def test_numbers_of_scopes_depend_on_the_view_and_end_with_one_that_sees_nothing() -> None:
    one, other = ("a", "a", "default"), ("b", "b", "default")
    both = scope_numbers([other, one])
    assert both[one] == scope_numbers([one])[one] != both[other]
    many = scope_numbers(("ns", "ns", f"s{n:03}") for n in range(300))
    used = [n for n in many.values() if n != NO_SCOPE]
    assert len(set(used)) == len(used) == LAST_SCOPE - FIRST_SCOPE + 1
    assert min(used) == FIRST_SCOPE
    assert max(used) == LAST_SCOPE


def test_an_address_without_a_row_is_no_address_of_a_service() -> None:
    rows = {row.key for row in plan_of(STRICT).destinations}
    assert (ANYWHERE, 80) in {(key.address, key.port) for key in rows}
    assert ip_address("0.0.0.0") not in {key.address for key in rows}
