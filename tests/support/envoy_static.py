"""A snapshot as one static bootstrap, so that the real Envoy judges every resource without a control plane."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from tests.support.eventually import HANG_SECONDS
from tidegate.compile.envoy.prototypes import load_nested_types, message_class
from tidegate.envoy.bootstrap import RUNTIME
from tidegate.model.plan.envoy import CHECKS, CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SCOPES, TYPE_URLS, EnvoyResource

ENVOY = Path(__file__).parents[2] / ".venv" / "bin" / "envoy"
Resources = Mapping[str, Mapping[str, EnvoyResource]]


def messages(envoy: Resources) -> dict[str, Any]:
    """Every resource as a message of Envoy's API. Raises json_format.ParseError for a field that does not exist."""
    out = {}
    for kind, resources in envoy.items():
        for name, resource in resources.items():
            load_nested_types(resource.body)
            message: Any = message_class(TYPE_URLS[ROUTES if kind == CHECKS else kind].rpartition("/")[2])()
            out[f"{kind}/{name}"] = json_format.ParseDict(dict(resource.body), message)
    return out


def static_bootstrap(envoy: Resources) -> dict[str, Any]:
    """Routes and endpoints inlined where scopes and clusters ask for them by name, scopes where listeners do."""
    scopes = [inline_scope(scope, envoy[ROUTES]) for scope in envoy[SCOPES].values()]
    listeners = [inline_scopes(dict(r.body), scopes) for r in envoy[LISTENERS].values()]
    clusters = []
    for resource in envoy[CLUSTERS].values():
        cluster = dict(resource.body)
        if cluster.pop("eds_cluster_config", None):
            cluster["type"] = "STATIC"
            cluster["load_assignment"] = dict(envoy[ENDPOINTS][resource.name].body)
        clusters.append(cluster)
    layers = [{"name": "static", "static_layer": dict(RUNTIME)}]
    return {"layered_runtime": {"layers": layers}, "static_resources": {"listeners": listeners, "clusters": clusters}}


def inline_scope(scope: EnvoyResource, routes: Mapping[str, EnvoyResource]) -> dict[str, Any]:
    """A scope with its routes inside."""
    (name,) = scope.needs(ROUTES)
    return {"name": scope.name, "key": scope.body["key"], "route_configuration": dict(routes[name].body)}


def inline_scopes(value: Any, scopes: list[dict[str, Any]]) -> Any:
    """A listener, or a part of one, with these scopes inside instead of a promise to send them."""
    if isinstance(value, list):
        return [inline_scopes(v, scopes) for v in value]
    if not isinstance(value, dict):
        return value
    if "scoped_rds" not in value:
        return {k: inline_scopes(v, scopes) for k, v in value.items()}
    kept = {k: v for k, v in value.items() if k not in ("scoped_rds", "rds_config_source")}
    return {**kept, "scoped_route_configurations_list": {"scoped_route_configurations": scopes}}


def validate(envoy: Resources, directory: Path) -> str:
    """What `envoy --mode validate` says about the snapshot; empty when it is content."""
    path = directory / "bootstrap.json"
    path.write_text(json.dumps(static_bootstrap(envoy)))
    command = [str(ENVOY), "--mode", "validate", "-c", str(path), "--log-level", "warn"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
