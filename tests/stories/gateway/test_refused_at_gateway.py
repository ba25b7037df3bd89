"""A rule at a gateway that only Envoy refuses: it alone is missing, and what is beside it goes on changing.

The Envoy here refuses more than validation does, as one of another version might. All rules stand in one table, which
Envoy takes or refuses as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.ended import kill
from tests.support.eventually import eventually
from tests.support.gateways import gateway, server
from tests.support.lab import MANIFESTS, ROOT, Lab
from tests.support.outside import curl, external_address
from tests.support.strict_envoy import REFUSED, always_strict

INGRESS = ROOT / "samples" / "gateway" / "ingressgateway.yaml"
EDGE = gateway("edge", server(80, "HTTP", '"*"'))
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  gateways: [istio-system/edge]
  http:
  - match: [{{uri: {uri}}}]
    headers: {{response: {{set: {{x-version: "{version}"}}}}}}
    route: [{{destination: {{host: web, subset: v1}}}}]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    work = tmp_path_factory.mktemp("strict")
    text = INGRESS.read_text()
    variables = "          env:\n"
    assert text.count(variables) == 1
    more = f"{variables}            - {{name: TIDEGATE_ENVOY, value: {always_strict(work)}}}\n"
    (work / "ingress.yaml").write_text(text.replace(variables, more))
    lab = Lab("edgerefused")
    lab.up(MANIFESTS / "web.yaml", work / "ingress.yaml")
    yield lab
    lab.down()


class Edge:
    """The gateway, its rules by name, and what comes back through it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._rules: dict[str, str] = {}
        self._address = external_address(lab, "istio-ingressgateway")

    def put(self, name: str, version: int, *, refused: bool = False) -> None:
        uri = f"{{regex: '{REFUSED}'}}" if refused else "{prefix: /}"
        self._rules[name] = RULE.format(name=name, version=version, uri=uri)
        self._lab.apply("\n---\n".join((EDGE, *self._rules.values())), check=False)

    def serves(self, **versions: int) -> None:
        """Until each host is answered by this version of its rule; 0 = by none."""
        expected = {name: (200, str(version)) if version else (404, "") for name, version in versions.items()}
        eventually(lambda: {name: self._ask(name) for name in versions} == expected, f"answers are {expected}")

    def _ask(self, name: str) -> tuple[int, str]:
        answer = curl(self._address, f"http://{name}.example/")
        return answer.status, answer.headers.get("x-version", "")

    def status(self) -> dict[str, Any]:
        (directory,) = self._lab.run_dir.glob("pods/istio-system_istio-ingressgateway-*/g")
        done = self._lab.tidegate("status", "--run-dir", directory, "-o", "json", check=False)
        told: list[dict[str, Any]] = json.loads(done.stdout)["nodes"] if done.stdout else []
        return told[0] if told else {}

    def named(self) -> dict[str, str]:
        """Rules of which the status says that they are not in force, each with the reason."""
        failures = self.status().get("appliers", {}).get("envoy", {}).get("failures", [])
        return {one["origins"][0].split()[1]: one["reason"] for one in failures}

    def names_only(self, name: str) -> None:
        eventually(lambda: set(self.named()) == {f"default/{name}"}, f"{name} is named, and nothing else")
        assert "program size" in self.named()[f"default/{name}"]

    def starts_anew(self, *, envoy: bool) -> None:
        """Kill the gateway's process, and its Envoy if so, and wait until others are in their place."""
        before = self.status()
        kill(before["agent"]["pid"])
        if envoy and Path(f"/proc/{before['envoy']['pid']}").exists():
            kill(before["envoy"]["pid"])

        def back() -> bool:
            now = self.status()
            return bool(now) and now["agent"]["pid"] != before["agent"]["pid"] and now["applied"]["generation"] > 0

        eventually(back, "another one has told Envoy everything")


@pytest.fixture
def edge(lab: Lab) -> Edge:
    return Edge(lab)


def test_a_rule_that_envoy_refuses_is_missing_alone_and_its_version_before_serves(edge: Edge) -> None:
    for name in ("odd", "good", "other"):
        edge.put(name, 1)
    edge.serves(odd=1, good=1, other=1)
    edge.put("odd", 2, refused=True)
    edge.names_only("odd")
    edge.put("good", 3)
    edge.put("late", 4)
    edge.serves(odd=1, good=3, other=1, late=4)
    for version, envoy in ((5, False), (6, True)):
        edge.starts_anew(envoy=envoy)
        edge.serves(odd=1, good=version - 2 if version == 5 else 5, other=1, late=4)
        edge.names_only("odd")
        edge.put("good", version)
        edge.serves(odd=1, good=version)
    edge.put("odd", 7)
    edge.serves(odd=7, good=6)
    eventually(lambda: not edge.named(), "nothing is refused any more")


def test_a_rule_that_was_never_good_keeps_nobody_from_serving_also_after_a_start_anew(edge: Edge) -> None:
    edge.put("new", 1, refused=True)
    edge.put("good", 2)
    edge.serves(new=0, good=2)
    edge.names_only("new")
    edge.starts_anew(envoy=True)
    edge.serves(new=0, good=2)
    edge.names_only("new")
    edge.put("good", 3)
    edge.serves(good=3)
