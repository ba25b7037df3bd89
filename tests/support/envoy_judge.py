"""What the real Envoy says of rules and clusters, each by itself in one configuration."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support.envoy_static import ENVOY
from tests.support.eventually import HANG_SECONDS
from tidegate.compile.outbound.checks import check
from tidegate.envoy.bootstrap import RUNTIME
from tidegate.model.routing import VirtualService
from tidegate.xds.watch import readable

_FILTERS = {
    "envoy.filters.http.fault": "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.filters.http.cors": "envoy.extensions.filters.http.cors.v3.Cors",
    "envoy.filters.http.router": "envoy.extensions.filters.http.router.v3.Router",
}
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def judge_rules(rules: Iterable[VirtualService], directory: Path) -> str:
    """What Envoy says when each rule is shown to it as a running agent shows it; empty when it is content."""
    return judge_routes((check(vs).body for vs in rules), directory)


def judge_routes(routes: Iterable[Mapping[str, Any]], directory: Path) -> str:
    """The same of route configurations."""
    return _judge({"listeners": [_listener(f"l{i}", body) for i, body in enumerate(routes)]}, directory)


def judge_clusters(bodies: Iterable[Mapping[str, Any]], directory: Path) -> str:
    """The same of clusters, whatever they are called; endpoints that they would be told are left out."""
    clusters = []
    for i, body in enumerate(bodies):
        kept = {k: v for k, v in body.items() if k not in ("eds_cluster_config", "name")}
        told = {"type": "STATIC"} if "eds_cluster_config" in body or "type" not in body else {}
        clusters.append({**kept, "name": f"c{i}", **told})
    return _judge({"clusters": clusters}, directory)


def judge_resources(resources: Mapping[str, Any], directory: Path) -> str:
    """The same of whole listeners and clusters, by the names of these fields of a bootstrap's static_resources."""
    return _judge(resources, directory)


def _listener(name: str, routes: Mapping[str, Any]) -> dict[str, Any]:
    filters = [{"name": n, "typed_config": {"@type": f"type.googleapis.com/{t}"}} for n, t in _FILTERS.items()]
    manager = {
        "@type": f"type.googleapis.com/{_MANAGER}",
        "stat_prefix": name,
        "route_config": dict(routes),
        "http_filters": filters,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": name, "address": address, "filter_chains": [chain]}


def _judge(resources: Mapping[str, Any], directory: Path) -> str:
    layers = [{"name": "static", "static_layer": dict(RUNTIME)}]
    path = directory / "judged.json"
    path.write_text(json.dumps({"layered_runtime": {"layers": layers}, "static_resources": dict(resources)}))
    command = [str(ENVOY), "--mode", "validate", "-c", str(path), "--log-level", "warn"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    return "" if done.returncode == 0 else readable(done.stdout + done.stderr)
