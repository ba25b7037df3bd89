"""Reads tests/vectors/http_match (see its README) and makes configurations of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.configs import mesh_of
from tidegate.compile.visibility import Source
from tidegate.model.http import HttpRequest
from tidegate.model.mesh import Mesh

DIRECTORY = Path(__file__).parents[1] / "vectors" / "http_match"
HOST = "vectors.default.svc.cluster.local"


@dataclass(frozen=True)
class Vector:
    """One file of cases."""

    name: str
    port: int
    source: Source
    config: Mesh
    cases: tuple[tuple[HttpRequest, str | None], ...]


def vectors() -> Iterator[Vector]:
    """Every file, in order of names. Raises AssertionError if one is no valid configuration."""
    for path in sorted(DIRECTORY.glob("*.json")):
        content = json.loads(path.read_text())
        port = content.get("port", 80)
        source = content.get("source", {})
        yield Vector(
            path.stem,
            port,
            Source(source.get("namespace", "default"), source.get("labels", {})),
            _config(content["routes"], port, path),
            tuple((_request(case["request"]), case["expect"]) for case in content["cases"]),
        )


def _request(fields: dict[str, Any]) -> HttpRequest:
    return HttpRequest(**{"authority": "vectors", **fields})


def _config(routes: list[dict[str, Any]], port: int, path: Path) -> Mesh:
    """A service, and a VirtualService that answers with the name of the route."""
    http = [{**route, "directResponse": {"status": 200, "body": {"string": route["name"]}}} for route in routes]
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "vectors"},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": port}]},
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "vectors"},
            "spec": {"hosts": ["vectors"], "http": http},
        },
    ]
    config = mesh_of({str(path): "\n---\n".join(map(json.dumps, documents))})
    errors = [p for p in config.problems if p.is_error]
    assert not errors, errors
    return config
