"""The user's EnvoyFilter, whose code is three dots: as it is, and with code in their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.api_support import DOCUMENTS
from tests.support.edges import Edges
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, PATIENTLY

DOCUMENT = DOCUMENTS / "16-envoyfilter-reviews-lua.yaml"
# Whom the document is for, in its own namespace: at the port that it names, and at another.
REVIEWS = f"""
apiVersion: v1
kind: Service
metadata: {{name: reviews}}
spec:
  selector: {{app: reviews}}
  ports: [{{name: http, port: 8080, targetPort: 9080}}, {{name: http-other, port: 8081, targetPort: 9081}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: reviews, labels: {{app: reviews}}}}
spec:
  containers:
  - name: web
    command: ["/usr/bin/python3", "{MANIFESTS.parent / "web.py"}", "9080", "9081"]
    env: [{{name: VERSION, value: filtered}}]
    readinessProbe: {{httpGet: {{path: /, port: 9080}}, periodSeconds: 1, timeoutSeconds: 60}}
"""
CODE = """
        function envoy_on_request(handle)
          handle:headers():add("x-lua", "was here")
        end
"""


@pytest.fixture
def written(edges: Edges, tmp_path: Path) -> Iterator[Path]:
    """A file to write the filter to. It and the pod are removed when the story is over, and nothing stays refused."""
    around, path = tmp_path / "around.yaml", tmp_path / "filter.yaml"
    around.write_text(REVIEWS)
    edges.tidegate("lab", "apply", "-f", around, *PATIENTLY)
    yield path
    edges.tidegate("lab", "delete", "-f", path, "-f", around, *PATIENTLY)
    eventually(lambda: not edges.nacks(), "nothing is refused any more")


def asked(edges: Edges, port: int, namespace: str = "default") -> Any:
    """What the server saw of a request to it."""
    return edges.curl(f"http://reviews.{namespace}.svc.cluster.local:{port}/")


@pytest.mark.document("16-envoyfilter-reviews-lua")
@pytest.mark.api("EnvoyFilter.ListenerMatch.ListenerType.SIDECAR_INBOUND")
def test_lua_runs_in_front_of_the_reviews_at_the_port_that_is_named(edges: Edges, written: Path) -> None:
    straight = asked(edges, 8080)["peer"]
    written.write_text(DOCUMENT.read_text())
    edges.tidegate("lab", "apply", "-f", written, *PATIENTLY, check=False)
    assert edges.told("reviews-lua") == {"TG0119", "TG0454"}
    eventually(edges.nacks, "Envoy says that three dots are no Lua")
    assert "reviews-lua patch 0" in str(edges.nacks())
    assert asked(edges, 8080)["version"] == "filtered", "requests go on"

    written.write_text(DOCUMENT.read_text().replace("        ... lua code .\n", CODE.lstrip("\n")))
    edges.tidegate("lab", "apply", "-f", written, *PATIENTLY)

    def runs() -> bool:
        got = asked(edges, 8080)
        return (got["headers"].get("x-lua"), got["peer"]) == ("was here", "127.0.0.6")

    eventually(runs, "the code runs in front of the server, and connections of before are left")
    other = asked(edges, 8081)
    assert ("x-lua" in other["headers"], other["peer"]) == (False, straight), "another port is left alone"
    assert "x-lua" not in asked(edges, 9080, "prod")["headers"], "and reviews of another namespace"
