"""tcp and tls routes: what each client sees of a service port, and what the relay is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.configs import mesh_config, mesh_of, sandbox

from tidegate.compile.compiler import compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.model.names import WorkloadId
from tidegate.model.plan.relay import L4Service, L4View

CLUSTER = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: other, labels: {app: stranger}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-1, namespace: shop, labels: {app: db, version: v1}}
spec: {containers: [{name: c}]}
status: {phase: Running, podIP: 10.244.2.1, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-2, namespace: shop, labels: {app: db, version: v2}}
spec: {containers: [{name: c}]}
status: {phase: Running, podIP: 10.244.2.2, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: db}
  ports: [{name: tcp-db, port: 27017}, {name: tls-web, port: 443}]
---
apiVersion: v1
kind: Service
metadata: {name: backup, namespace: shop}
spec: {clusterIP: 10.96.0.2, selector: {app: db, version: v2}, ports: [{name: tcp-db, port: 5555}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db, namespace: shop}
spec: {host: db, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
"""
CLIENT, STRANGER = 101, 102


def facts_of(*documents: str) -> Facts:
    mesh = mesh_of({"cluster.yaml": CLUSTER, **{f"{i}.yaml": text for i, text in enumerate(documents)}})
    assert not [p for p in mesh.problems if p.is_error], mesh.problems
    pods = (
        sandbox("client", "10.244.1.1", namespace="shop", cookie=CLIENT),
        sandbox("stranger", "10.244.1.2", namespace="other", cookie=STRANGER),
    )
    return join(mesh, pods, node="node1")


def routes(spec: str, name: str = "db") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"spec: {{hosts: [db], {spec}}}\n"
    )


class Told:
    """What the relay is told of a port of db."""

    def __init__(self, facts: Facts, port: int) -> None:
        self.by_number: Mapping[int, L4Service] = {s.number: s for s in compile_plan(facts).l4}
        self.service = next(s for s in self.by_number.values() if s.addresses and s.addresses[0][1] == port)

    def seen_by(self, cookie: int) -> L4View | None:
        return next((v for v in self.service.views if not v.clients or cookie in v.clients), None)

    def ways(self, cookie: int) -> list[tuple[tuple[str, ...], list[tuple[str, int]]]]:
        """Of each rule: names, then endpoints and weight of each target."""
        view = self.seen_by(cookie)
        return [
            (
                rule.names or tuple(map(str, rule.subnets)),
                [
                    (" ".join(str(e.address)[-1] for e in self.by_number[t.number].endpoints), t.weight)
                    for t in rule.targets
                ],
            )
            for rule in (view.rules if view else ())
        ]


def test_a_service_without_routes_has_no_views() -> None:
    plan = compile_plan(facts_of())
    assert [s.views for s in plan.l4] == [()] * 3
    assert len(plan.services) == 3


def test_a_tcp_route_divides_connections_by_weight() -> None:
    route = "{destination: {host: db, subset: v1}, weight: 75}, {destination: {host: backup}, weight: 25}"
    told = Told(facts_of(routes(f"tcp: [{{match: [{{port: 27017}}], route: [{route}]}}]")), 27017)
    assert told.ways(CLIENT) == [((), [("1", 75), ("2", 25)])]
    assert [s.name for s in told.by_number.values() if not s.addresses] == [
        "backup.shop.svc.cluster.local:5555",
        "db.shop.svc.cluster.local:27017",
    ]


def test_a_destination_without_weight_among_others_gets_nothing() -> None:
    route = "{destination: {host: db, subset: v1}, weight: 1}, {destination: {host: backup}}"
    assert Told(facts_of(routes(f"tcp: [{{route: [{route}]}}]")), 27017).ways(CLIENT) == [((), [("1", 1)])]


def test_what_no_tcp_route_takes_goes_to_the_service() -> None:
    subnet = "tcp: [{match: [{destinationSubnets: [10.1.0.0/16]}], route: [{destination: {host: backup}}]}]"
    told = Told(facts_of(routes(subnet)), 27017)
    assert told.ways(CLIENT) == [(("10.1.0.0/16",), [("2", 1)]), ((), [("1 2", 1)])]
    view = told.seen_by(CLIENT)
    assert view is not None
    assert view.rules[-1].targets[0].number == told.service.number


def test_tcp_routes_are_for_tcp_ports_and_tls_routes_for_tls_ports() -> None:
    both = (
        "tcp: [{route: [{destination: {host: db, subset: v1}}]}], "
        "tls: [{match: [{sniHosts: [db.shop.svc.cluster.local]}], route: [{destination: {host: db, subset: v2}}]}]"
    )
    facts = facts_of(routes(both))
    assert Told(facts, 27017).ways(CLIENT) == [((), [("1", 1)])]
    assert Told(facts, 443).ways(CLIENT) == [(("db.shop.svc.cluster.local",), [("2", 1)])]


def test_the_more_exact_name_wins_wherever_it_stands() -> None:
    spec = (
        "tls: [{match: [{sniHosts: ['*.example.com', '*.b.example.com']}], route: [{destination: {host: backup}}]}, "
        "{match: [{sniHosts: [a.b.example.com]}], route: [{destination: {host: db, subset: v1}}]}]"
    )
    text = routes(spec).replace("hosts: [db]", "hosts: [db, '*.example.com']")
    assert Told(facts_of(text), 443).ways(CLIENT) == [
        (("a.b.example.com",), [("1", 1)]),
        (("*.b.example.com", "*.example.com"), [("2", 1)]),
    ]


def test_the_longer_prefix_wins_wherever_it_stands() -> None:
    spec = (
        "tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: backup}}]}, "
        "{match: [{destinationSubnets: [10.96.0.1]}], route: [{destination: {host: db, subset: v1}}]}]"
    )
    ways = Told(facts_of(routes(spec)), 27017).ways(CLIENT)
    assert [names for names, _ in ways] == [("10.96.0.1/32",), ("10.0.0.0/8",), ()]


@pytest.mark.parametrize("condition", ["sourceLabels: {app: client}", "sourceNamespace: shop"])
def test_a_route_for_some_clients_is_seen_by_those(condition: str) -> None:
    spec = f"tcp: [{{match: [{{{condition}}}], route: [{{destination: {{host: db, subset: v2}}}}]}}]"
    told = Told(facts_of(routes(spec)), 27017)
    assert told.ways(CLIENT) == [((), [("2", 1)])]
    assert told.ways(STRANGER) == []


def test_a_route_for_gateways_only_is_for_no_pod() -> None:
    spec = "gateways: [mesh, front], tcp: [{match: [{gateways: [front]}], route: [{destination: {host: backup}}]}]"
    assert Told(facts_of(routes(spec)), 27017).service.views == ()


def test_routes_that_are_not_exported_are_for_their_own_namespace() -> None:
    told = Told(facts_of(routes("exportTo: ['.'], tcp: [{route: [{destination: {host: backup}}]}]")), 27017)
    assert told.ways(CLIENT) == [((), [("2", 1)])]
    assert told.ways(STRANGER) == []


def test_a_clients_own_destination_rule_counts_for_tcp() -> None:
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: db, namespace: other}\n"
        "spec: {host: db.shop.svc.cluster.local, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}\n"
    )
    told = Told(facts_of(rule), 27017)
    assert told.ways(CLIENT) == []
    view = told.seen_by(STRANGER)
    assert view is not None
    [[target]] = [rule.targets for rule in view.rules]
    assert told.by_number[target.number].settings.max_connections == 7
    assert told.service.settings.max_connections == 0


def test_a_subset_that_nobody_defines_leads_nowhere() -> None:
    told = Told(facts_of(routes("tcp: [{route: [{destination: {host: db, subset: v9}}]}]")), 27017)
    assert told.ways(CLIENT) == [((), [("", 1)])]


def test_a_service_without_endpoints_is_dialled_if_a_route_leads_elsewhere() -> None:
    empty = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: gone, namespace: shop}\n"
        "spec: {clusterIP: 10.96.0.9, selector: {app: nobody}, ports: [{name: tcp, port: 7}]}\n"
    )
    rule = routes("tcp: [{route: [{destination: {host: backup}}]}]", "gone").replace("hosts: [db]", "hosts: [gone]")
    without, having = (compile_plan(facts_of(*documents)) for documents in ((empty,), (empty, rule)))
    tiers = [{str(row.address): row.tier.name for row in plan.destinations} for plan in (without, having)]
    assert [by_address["10.96.0.9"] for by_address in tiers] == ["REFUSE", "FASTPATH"]


def test_limits_of_a_policy_reach_the_relay() -> None:
    policy = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: backup, namespace: shop}\n"
        "spec: {host: backup, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 5s, maxConnectionDuration: 1m}}, "
        "outlierDetection: {consecutive5xxErrors: 3, baseEjectionTime: 7s, maxEjectionPercent: 50, "
        "minHealthPercent: 20}}}\n"
    )
    settings = Told(facts_of(policy), 5555).service.settings
    assert (settings.idle_ms, settings.duration_ms) == (5000, 60_000)
    rule = settings.outlier
    assert rule is not None
    assert (rule.failures, rule.base_ms, rule.interval_ms) == (3, 7000, 10_000)
    assert (rule.most_percent, rule.panic_percent) == (50, 20)


def test_nothing_changes_for_a_service_when_another_gets_routes() -> None:
    before, after = facts_of(), facts_of(routes("tcp: [{route: [{destination: {host: backup}}]}]"))
    told = [{s.number: s for s in compile_plan(facts).l4 if s.name.startswith("backup")} for facts in (before, after)]
    [(number, service)] = told[0].items()
    assert told[1][number] == service


def ask(facts: Facts, port: int, sni: str = "", pod: str = "shop/client") -> dict[str, Any]:
    return explain(facts, WorkloadId.parse(pod), "db.shop", port, sni=sni).as_json()


def test_explain_names_the_route_its_line_and_why_not_the_others() -> None:
    spec = (
        "tls: [{match: [{sniHosts: [a.example.com]}], route: [{destination: {host: db, subset: v1}}]}, "
        "{match: [{sniHosts: [b.example.com]}], route: [{destination: {host: db, subset: v2}}]}]"
    )
    facts = facts_of(routes(spec).replace("hosts: [db]", "hosts: [db, a.example.com, b.example.com]"))
    told = ask(facts, 443, "b.example.com")
    assert told["rule"]["index"] == 1
    assert [e["address"] for e in told["endpoints"]] == ["10.244.2.2"]
    hops = [h["result"] for h in told["hops"] if h["step"] == "route"]
    assert "asks for b.example.com, not for a.example.com" in hops[0]
    assert hops[1].endswith("fits")
    nobody = ask(facts, 443, "c.example.com")
    assert nobody["verdict"] == "unavailable"
    assert "no route" in str(nobody["reason"])


def test_explain_shows_weights_and_whose_rule_it_is() -> None:
    route = "{destination: {host: db, subset: v1}, weight: 3}, {destination: {host: backup}, weight: 1}"
    facts = facts_of(routes(f"tcp: [{{match: [{{sourceLabels: {{app: client}}}}], route: [{route}]}}]"))
    told = ask(facts, 27017)
    assert [(d["subset"], d["percent"]) for d in told["destinations"]] == [("v1", 75.0), ("", 25.0)]
    other = ask(facts, 27017, pod="other/stranger")
    assert other["rule"] is None
    assert len(other["endpoints"]) == 2


SELECTED = (
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: some, namespace: shop}\n"
    "spec: {host: db, workloadSelector: {matchLabels: {app: client}}, "
    "trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}\n"
)


def test_a_rule_for_some_clients_counts_for_their_connections() -> None:
    told = Told(facts_of(SELECTED), 27017)
    view = told.seen_by(CLIENT)
    assert view is not None
    [[target]] = [rule.targets for rule in view.rules]
    assert told.by_number[target.number].settings.max_connections == 7
    assert told.service.settings.max_connections == 0
    assert told.ways(STRANGER) == []
    assert [d["subset"] for d in ask(facts_of(SELECTED), 27017)["destinations"]] == [""]


def test_labels_that_put_endpoints_in_order_make_no_pools_of_connections() -> None:
    order = "loadBalancer: {localityLbSetting: {failoverPriority: [app]}}, outlierDetection: {interval: 5s}"
    rule = SELECTED.replace("workloadSelector: {matchLabels: {app: client}}, ", "").replace(
        "connectionPool: {tcp: {maxConnections: 7}}", order
    )
    assert Told(facts_of(rule), 27017).service.views == ()


HIDING = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: some, namespace: shop}
spec: {workloadSelector: {labels: {app: client}}, egress: [{hosts: ["other/*", "*/db.shop.svc.cluster.local"]}]}
"""


def test_a_sidecar_hides_routes_of_connections_and_imports_where_they_lead() -> None:
    spec = "tcp: [{route: [{destination: {host: backup}}]}]"
    elsewhere = routes(spec).replace("hosts: [db]", "hosts: ['*.example.com', db]")
    assert Told(facts_of(elsewhere, HIDING), 27017).ways(CLIENT) == [((), [("2", 1)])]
    only_other = HIDING.replace(', "*/db.shop.svc.cluster.local"', "")
    facts = facts_of(elsewhere, only_other)
    assert Told(facts, 27017).ways(CLIENT) == []
    assert Told(facts, 27017).ways(STRANGER) == [((), [("2", 1)])]
    other = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: else, namespace: shop}\n"
        "spec: {clusterIP: 10.96.0.3, selector: {app: db}, ports: [{name: tcp, port: 7}]}\n"
    )
    seen = {str(row.address) for row in compile_plan(facts_of(elsewhere, HIDING, other)).destinations if row.scope}
    assert seen == {"10.96.0.1", "10.96.0.2"}, "the destination of an imported rule is imported"


def test_default_export_of_rules_holds_for_routes_of_connections() -> None:
    mesh = mesh_config("defaultVirtualServiceExportTo: ['.']")
    told = Told(facts_of(routes("tcp: [{route: [{destination: {host: backup}}]}]"), mesh), 27017)
    assert told.ways(CLIENT) == [((), [("2", 1)])]
    assert told.ways(STRANGER) == []
