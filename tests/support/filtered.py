"""The lab of stories about EnvoyFilters: who asks a service from where, and which filters a request met, in order.

A filter of these stories is Lua that signs (`signs`). Each step of a story is applied with a number, which every Envoy
signs too: a request that has the number met all of the step, so what is not signed is not in force.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import MANIFESTS, PATIENTLY, PROBE, ROOT, Lab
from tests.support.outside import CURL, Answer, answer_of, curl, external_address

# The ways to a server, and whose sides are passed on them: the client's, the server's, the gateway's.
OUT, IN, EDGE = "out of the client", "from the node", "from outside"
WAYS = {OUT: (OUT, IN), IN: (IN,), EDGE: (EDGE, IN)}
CONTEXTS = {OUT: "SIDECAR_OUTBOUND", IN: "SIDECAR_INBOUND", EDGE: "GATEWAY"}
_EDGE_PORTS = {80: 80, 81: 31400}
_STEP = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: step, namespace: istio-system}}
spec:
  priority: 1
  configPatches:
  - applyTo: HTTP_FILTER
    patch: {{operation: INSERT_FIRST, value: {filter}}}
"""
_LUA = (
    '{{name: {name}, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, '
    "default_source_code: {{inline_string: '{code}'}}}}}}"
)
_SIGNS = 'function envoy_on_request(h) h:headers():add("{header}", "{word}") end'


def signs(word: str, name: str = "") -> str:
    """A filter of today's API that signs a request, in flow style. name: its own; the word, if it is not given."""
    return _LUA.format(name=name or word, code=_SIGNS.format(header="x-signed", word=word))


def code(word: str) -> str:
    """The same as Lua alone."""
    return _SIGNS.format(header="x-signed", word=word)


class Filtered(Lab):
    """Up at once, with manifests/filters.yaml and a gateway."""

    def __init__(self) -> None:
        super().__init__("filters")
        self.up(MANIFESTS / "filters.yaml", ROOT / "samples" / "gateway" / "ingressgateway.yaml")
        self.edge = external_address(self, "istio-ingressgateway")
        self._steps = 0
        self._file = self.run_dir / "filters.yaml"

    def step(self, *documents: str, good: bool = True) -> None:
        """As put(), with a number that signed() waits for."""
        self._steps += 1
        told = _LUA.format(name="step", code=_SIGNS.format(header="x-step", word=self._steps))
        self.put(_STEP.format(filter=told), *documents, good=good)

    def put(self, *documents: str, good: bool = True) -> None:
        """These documents and no others of before. good: nothing of them is refused."""
        if self._file.exists():
            self._delete_others(documents)
        self._file.write_text("\n---\n".join(documents))
        self.tidegate("lab", "apply", "-f", self._file, *PATIENTLY, check=good)

    def clear(self) -> None:
        """Take all away."""
        if self._file.exists():
            self.delete(self._file)
            self._file.unlink()

    def signed(self, way: str, port: int = 80) -> str:
        """The words that a request was signed with, in order, in one word.

        It is one that met the step on every side: connections of before may live on, and have what was in force then.
        """
        step = ",".join([str(self._steps)] * len(WAYS[way]))

        def met() -> dict[str, str]:
            headers = self.asked(way, port)
            return headers if headers.get("x-step") == step else {}

        found = eventually(met, f"step {self._steps} is in force {way} at port {port}")
        return found.get("x-signed", "").replace(",", "")

    def asked(self, way: str, port: int = 80) -> dict[str, str]:
        """The headers that the shop got of a request by a way to one of its service ports; none if it got none."""
        got = self.answer(way, port)
        return dict(got.json["headers"]) if got.status == 200 else {}

    def answer(self, way: str, port: int = 80) -> Answer:
        """The answer to a request by a way to one of the service ports of the shop, on a connection of its own."""
        if way == EDGE:
            return curl(self.edge, f"http://shop.example:{_EDGE_PORTS[port]}/")
        if way == OUT:
            return answer_of(self.exec("client", *CURL, f"http://shop:{port}/", check=False))
        url = f"http://{self._pod('shop')}:{9000 + port}/"
        return answer_of(self.tidegate("lab", "node-exec", "node1", "--", *CURL, url, check=False))

    def reached(self, way: str) -> bool:
        """Whether bytes get to the database and back."""
        if way == OUT:
            return _answered(self.exec("client", "/usr/bin/python3", PROBE, "dial", "db", "5432", check=False))
        if way == IN:
            dial = (sys.executable, PROBE, "dial", self._pod("db"), "9000")
            return _answered(self.tidegate("lab", "node-exec", "node1", "--", *dial, check=False))
        dial = (sys.executable, PROBE, "dial", self.edge, "15443")
        return _answered(subprocess.run(dial, capture_output=True, text=True, timeout=HANG_SECONDS, check=False))

    def service_address(self, name: str) -> str:
        """The IPv4 address of a service of the default namespace."""
        rows = json.loads(self.tidegate("lab", "services", "-o", "json").stdout)
        (found,) = [row for row in rows if (row["namespace"], row["name"]) == ("default", name)]
        return next(str(ip) for ip in found["addresses"] if ":" not in ip)

    def nacks(self) -> dict[str, str]:
        """What is not in force on the node, by name, with the reason."""
        return {nack["name"]: nack["detail"] for nack in self.status()["envoy"]["xds"]["nacks"]}

    def told(self, name: str) -> Sequence[tuple[str, str]]:
        """Code and place of what the status says of a document."""
        problems = self.status()["config"]["problems"]
        return [(problem["code"], problem["path"]) for problem in problems if problem["name"] == name]

    def _pod(self, name: str) -> str:
        return self.address(f"default/{name}", "4")

    def _delete_others(self, documents: Sequence[str]) -> None:
        """Of what was put before, the objects whose names are not among those of the next ones."""
        names = {_name(document) for document in documents}
        before = self._file.read_text().split("\n---\n")
        gone = [document for document in before if _name(document) not in names]
        if gone:
            path = self.run_dir / "gone.yaml"
            path.write_text("\n---\n".join(gone))
            self.delete(path)
            path.unlink()


def _answered(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the server told what it saw; it tells nothing on a connection that is closed as soon as it is made."""
    return '"server"' in done.stdout


def _name(document: str) -> str:
    return next(line for line in document.splitlines() if line.startswith("metadata:"))
