"""Weights that Envoy would refuse for their sum become the same proportions, whoever wrote them."""

from __future__ import annotations

import pytest
from tests.support.configs import entry, mesh_of, sandbox

from tidegate.compile.compiler import compile_plan
from tidegate.compile.envoy.weights import MOST, fitting
from tidegate.compile.facts import join
from tidegate.compile.others.client import client
from tidegate.compile.others.served import known, resources
from tidegate.model.plan.envoy import CHECKS, Resources
from tidegate.xds.encode import Encoder

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: enabled}}"
PORTS = "ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: tcp, protocol: TCP}]"
WORKLOAD = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: vm-{n}, namespace: default}}
spec: {{address: 10.1.1.{n}, weight: {weight}, locality: here/{n}, labels: {{app: vm}}}}
"""


def refused(found: Resources) -> list[str]:
    encoder = Encoder()
    told = (
        encoder.encode(kind, name, r)[1] for kind, table in found.items() if kind != CHECKS for name, r in table.items()
    )
    return [rejection.detail for rejection in told if rejection is not None]


@pytest.mark.case("A1", "A3")
@pytest.mark.parametrize(
    "spec", ["resolution: STATIC, workloadSelector: {labels: {app: vm}}", "resolution: DNS, endpoints: "]
)
def test_workloads_of_several_owners_cannot_be_too_heavy_together(spec: str) -> None:
    """Each may have the heaviest weight that there is; Envoy refuses a service whose weights are more than that."""
    if spec.endswith("endpoints: "):
        spec += "[{}]".format(", ".join(f"{{address: vm{n}.example.com, weight: {MOST}}}" for n in (1, 2, 3)))
    texts = [NAMESPACE, entry("vms", "vms.example.com", f"addresses: [10.7.0.1], {PORTS}, {spec}")]
    texts += [WORKLOAD.format(n=n, weight=MOST) for n in (1, 2, 3)]
    mesh = mesh_of({f"{n}.yaml": text for n, text in enumerate(texts)})
    assert not [p for p in mesh.problems if p.is_error]
    facts = join(mesh, [sandbox("client", "10.9.9.1")], node="node1")
    assert refused(compile_plan(facts, 1).envoy) == []
    for one in (client("sidecar~10.9.9.1~client.default~default.svc.cluster.local", {}), client("by-hand", {})):
        assert refused(resources(facts, known(facts, one))) == []


@pytest.mark.case("A3")
def test_proportions_stay() -> None:
    assert fitting([1, 2, 3]) == [1, 2, 3]
    assert fitting([MOST]) == [MOST]
    assert fitting([]) == []
    big = fitting([MOST, MOST, 0, 1])
    assert big[0] == big[1]
    assert big[2:] == [0, 1], "nobody who had a part loses it"
    assert 0.999 * MOST < sum(big) <= MOST
