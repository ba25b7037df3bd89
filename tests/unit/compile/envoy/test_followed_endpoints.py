"""What Envoy is told of endpoints follows whoever says where they are."""

from __future__ import annotations

import pytest
from tests.support.configs import ENROLLED, Texts, pod, sandbox, service

from tidegate.compile.compiler import Compiler
from tidegate.compile.facts import join
from tidegate.config.store import Store
from tidegate.model.plan.envoy import ENDPOINTS

SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}]}}]
ports: [{{name: http, port: 8080}}]
"""
WORKLOAD = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: vm, namespace: default}}
spec: {{address: {address}, labels: {{app: web}}}}
"""


@pytest.mark.parametrize(
    ("web", "who"),
    [
        (service("web", "http:80", ips="10.96.0.1").replace("selector: {app: web}", ""), SLICE),
        (service("web", "http:80", ips="10.96.0.1"), WORKLOAD),
    ],
    ids=["slice", "workload"],
)
def test_who_is_written_down_anew_is_told_anew(web: str, who: str) -> None:
    files, store, compiler, facts = Texts(), Store(), Compiler(), None
    here = [sandbox("client", "10.244.1.1")]
    for number in (1, 2, 3):
        address = f"192.0.2.{number}"
        texts = {"all": "---".join((ENROLLED, web, pod("client", "app: client", "10.244.1.1")))}
        mesh = store.apply(0, files.say({**texts, "who": who.format(address=address)}))
        facts = join(mesh, here, facts)
        made = compiler.compile(facts).envoy[ENDPOINTS]
        assert [address in str(resource.body) for name, resource in made.items() if "web.default" in name] == [True]
