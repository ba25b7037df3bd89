"""Connections to the server that a client dialled itself: rules hold for them, and choose none in its place."""

from __future__ import annotations

from tests.support.configs import destination_rule, pod, service
from tests.unit.compile.test_ranges import HTTP, NONE, asked, facts_of, host, plan_of, rule

from tidegate.compile.compiler import compile_plan
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS
from tidegate.model.plan.kernel import ANYWHERE
from tidegate.model.tier import Tier

PODS = (pod("db-0", "app: db", "10.0.0.7"), pod("db-1", "app: db", "10.0.0.8"))
HEADLESS = (service("db", "tcp:7000", ips="None"), *PODS)
DB, FRONT = "db.default.svc.cluster.local", "front.default.svc.cluster.local"
LIMIT = destination_rule("r", "db", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}")


def at_pods(plan: Plan) -> dict[str, Tier]:
    return {str(row.address): row.tier for row in plan.destinations if row.port == 7000}


def test_pods_of_a_headless_service_are_captured_as_long_as_a_rule_speaks_of_it() -> None:
    assert at_pods(plan_of(*HEADLESS)) == {}
    plan = plan_of(*HEADLESS, LIMIT)
    assert at_pods(plan) == dict.fromkeys(("10.0.0.7", "10.0.0.8"), Tier.FASTPATH)
    (found,) = plan.l4
    assert ([(e.address, e.port) for e in found.endpoints], found.settings.max_connections) == ([(ANYWHERE, 0)], 3)
    said = asked(facts_of(*HEADLESS, LIMIT), "10.0.0.8", 7000)
    assert [(e.address, e.port, e.pod) for e in said.endpoints] == [("10.0.0.8", 7000, "default/db-1")]


def test_tls_of_a_rule_begins_for_the_pod_of_a_headless_service_that_was_dialled() -> None:
    plan = plan_of(*HEADLESS, destination_rule("r", "db", "trafficPolicy: {tls: {mode: SIMPLE}}"))
    assert at_pods(plan) == dict.fromkeys(("10.0.0.7", "10.0.0.8"), Tier.ENVOY)
    cluster = plan.envoy[CLUSTERS][f"outbound|7000||{DB}"].body
    assert (cluster["type"], "transport_socket" in cluster) == ("ORIGINAL_DST", True)


def test_a_route_of_another_service_to_a_headless_one_chooses_a_pod() -> None:
    to_db = rule(FRONT, f"tcp: [{{route: [{{destination: {{host: {DB}}}}}]}}]")
    plan = plan_of(*HEADLESS, service("front", "tcp:7000", ips="10.96.0.3"), to_db)
    (pool,) = [s for s in plan.l4 if not s.addresses]
    assert [str(e.address) for e in pool.endpoints] == ["10.0.0.7", "10.0.0.8"]


def test_a_route_of_a_headless_service_leads_its_clients_elsewhere() -> None:
    to_front = rule(DB, f"tcp: [{{route: [{{destination: {{host: {FRONT}}}}}]}}]")
    front = (service("front", "tcp:7000", ips="10.96.0.3"), pod("front-0", "app: front", "10.0.0.9"))
    facts = facts_of(*HEADLESS, *front, to_front)
    assert "10.0.0.7" in at_pods(compile_plan(facts))
    assert [e.address for e in asked(facts, "10.0.0.7", 7000).endpoints] == ["10.0.0.9"]
    (db,) = [s for s in compile_plan(facts).l4 if s.name.startswith("db.") and s.addresses]
    assert db.views


def test_passthrough_leaves_the_clients_choice() -> None:
    passed = destination_rule("r", "db", "trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}")
    (found,) = plan_of(service("db", "tcp:7000", ips="10.96.0.2"), *PODS, passed).l4
    assert [(e.address, e.port) for e in found.endpoints] == [(ANYWHERE, 0)]


def test_hosts_outside_of_the_mesh_say_so_in_their_clusters() -> None:
    for location, external in (("MESH_EXTERNAL", True), ("MESH_INTERNAL", False)):
        plan = plan_of(host("bar", "*.bar.com", HTTP, f"location: {location}, {NONE}"))
        said = plan.envoy[CLUSTERS]["outbound|80||*.bar.com"].body["metadata"]["filter_metadata"]["istio"]
        assert said.get("external", False) is external
