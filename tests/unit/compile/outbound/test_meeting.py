"""What is special to a client for several reasons at once: a rule that selects it, a Sidecar, an EnvoyFilter."""

from __future__ import annotations

from tests.support.configs import ENROLLED, config_of, destination_rule, mesh_config, pod, sandbox, service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.facts import join
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, ROUTES

WEB = "web.default.svc.cluster.local"
WORLD = (
    ENROLLED,
    service("web", "http:80", ips="10.96.0.1"),
    service("unseen", "http:80", ips="10.96.0.2"),
    pod("web-1", "app: web", "10.244.0.1"),
    pod("client", "app: client", "10.244.0.9"),
    pod("other", "app: other", "10.244.0.8"),
)
SIDECAR = f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: narrow, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  egress: [{{hosts: [./{WEB}]}}]
"""
OWN = destination_rule(
    "own", "web", "workloadSelector: {matchLabels: {app: client}}\ntrafficPolicy: {loadBalancer: {simple: RANDOM}}"
)
FILTER = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: slow, namespace: base}
spec:
  workloadSelector: {labels: {app: client}}
  configPatches:
  - {applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 3s}}}
"""
ROOT = mesh_config("rootNamespace: base")


def plan_of(*documents: str) -> Plan:
    boxes = (sandbox("client", "10.244.0.9", cookie=1), sandbox("other", "10.244.0.8", cookie=2))
    return compile_plan(join(config_of(*WORLD, *documents), boxes))


def cluster_of(plan: Plan, client: str) -> str:
    """The cluster to which a client's requests for the service go."""
    hosts = plan.envoy[ROUTES][f"{WEB}:80"].body["virtual_hosts"]
    by_domain = {domain: host for host in hosts for domain in host["domains"]}
    found = by_domain.get(f"default/{client}]*") or by_domain["*"]
    return str(found["routes"][0]["route"]["cluster"])


def test_the_cluster_of_a_client_has_its_policy_and_its_patches() -> None:
    plan = plan_of(SIDECAR, OWN, FILTER, ROOT)
    name = cluster_of(plan, "client")
    key = ClusterKey.parse(name)
    assert key is not None
    assert (key.fqdn, key.client, bool(key.patches)) == (WEB, "default/own", True)
    made = plan.envoy[CLUSTERS][name].body
    assert (made["lb_policy"], made["connect_timeout"]) == ("RANDOM", "3s")
    assert plan.envoy[ENDPOINTS][name].body["cluster_name"] == name
    assert cluster_of(plan, "other") == f"outbound|80||{WEB}"
    assert plan.envoy[CLUSTERS][cluster_of(plan, "other")].body["lb_policy"] == "LEAST_REQUEST"


def test_filters_of_the_root_namespace_are_everybodys_whatever_its_name() -> None:
    assert cluster_of(plan_of(FILTER, ROOT), "client") != cluster_of(plan_of(FILTER), "client")
