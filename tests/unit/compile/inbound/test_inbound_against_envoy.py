"""What stands in front of a pod, and what each patch is shown on, is what the real Envoy takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.configs import ENROLLED, config_of, sandbox
from tests.support.envoy_judge import judge_resources
from tests.unit.compile.inbound.test_inbound import CLUSTER_OF, sidecar
from tests.unit.compile.outbound.test_filtered import LUA, a_filter

from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import join
from tidegate.model.plan.envoy import CLUSTERS, LISTENERS

PATCHES = f"""
- {{applyTo: HTTP_FILTER, patch: {{operation: INSERT_FIRST, value: {LUA}}}}}
- {{applyTo: HTTP_FILTER, match: {{context: SIDECAR_INBOUND}}, patch: {{operation: ADD, value: {LUA}}}}}
- applyTo: HTTP_ROUTE
  match: {{context: SIDECAR_INBOUND}}
  patch: {{operation: ADD, value: {{name: last, match: {{prefix: /}}, direct_response: {{status: 204}}}}}}
- {{applyTo: CLUSTER, match: {{context: SIDECAR_INBOUND}}, patch: {{operation: MERGE, value: {{connect_timeout: 1s}}}}}}
"""
INGRESS = (
    'ingress: [{port: {number: 8080, protocol: HTTP}, defaultEndpoint: "0.0.0.0:9000",'
    " connectionPool: {http: {maxRetries: 2}}}, {port: {number: 5432}, defaultEndpoint: '[::1]:9000',"
    " connectionPool: {tcp: {idleTimeout: 3s, maxConnections: 3}}}]"
)


def judged(tmp_path: Path, *texts: str) -> str:
    config = config_of(ENROLLED, *CLUSTER_OF, a_filter(PATCHES, app="web"), *texts)
    box = replace(sandbox("web", "10.0.0.1", v6=True), netns_path="")
    envoy = compile_plan(join(config, (box,))).envoy
    listeners = [r.body for r in envoy[LISTENERS].values() if r.body["traffic_direction"] == "INBOUND"]
    clusters = [r.body for name, r in envoy[CLUSTERS].items() if name.startswith("inbound")]
    assert (len(listeners), len(clusters)) == (2, 3 if not texts else 2)
    return judge_resources({"listeners": listeners, "clusters": clusters}, tmp_path)


def test_patches_of_every_kind(tmp_path: Path) -> None:
    assert judged(tmp_path) == ""


def test_what_a_sidecar_says(tmp_path: Path) -> None:
    assert judged(tmp_path, sidecar(INGRESS)) == ""
