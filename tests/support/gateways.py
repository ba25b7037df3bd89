"""Gateways out of YAML text, and what the workload istio=ingressgateway of istio-system becomes by them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.configs import config_of
from tests.support.envoy_static import ENVOY
from tests.support.eventually import HANG_SECONDS
from tidegate.compile.facts import join
from tidegate.compile.gateway.compiler import GatewayPlan, compile_gateway
from tidegate.compile.gateway.tls import Materials
from tidegate.envoy.bootstrap import RUNTIME
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.plan.envoy import CHECKS, CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, Resources

LABELS = {"istio": "ingressgateway", "app": "istio-ingressgateway"}


def server(port: int, protocol: str, hosts: str, *, tls: str = "", name: str = "", more: str = "") -> str:
    """One entry of spec.servers. hosts: comma-separated, as in YAML; tls: in flow style without the brackets."""
    name = name or f"{protocol.lower()}-{port}"
    lines = [f"  - port: {{number: {port}, name: {name}, protocol: {protocol}}}", f"    hosts: [{hosts}]"]
    lines += [f"    tls: {{{tls}}}"] if tls else []
    lines += [f"    {more}"] if more else []
    return "\n".join(lines)


def gateway(name: str, *servers: str, namespace: str = "istio-system", selector: str = "istio: ingressgateway") -> str:
    """A Gateway."""
    listed = "\n".join(servers)
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{{selector}}}
  servers:
{listed}
"""


def compiled(
    *texts: str, files: Materials | None = None, ipv6: bool = True, asked: GatewayPlan | None = None
) -> GatewayPlan:
    """The plan of the workload. Fails on errors in the documents. asked: as of compile_gateway."""
    workload = GatewayWorkload("istio-system", LABELS, ipv6)
    return compile_gateway(join(config_of(*texts), ()), workload, files, asked=asked)


def hosts_at(plan: GatewayPlan, routes: str) -> dict[str, list[dict[str, Any]]]:
    """Routes by domain of a route configuration."""
    found = plan.envoy[ROUTES][routes].body["virtual_hosts"]
    return {domain: host["routes"] for host in found for domain in host["domains"]}


def judged(plan: GatewayPlan, directory: Path) -> str:
    """What the real Envoy says of a plan and of all that it is shown; empty = content."""
    return judged_together(plan.judged(), directory)


def _alone(table: dict[str, Any]) -> dict[str, Any]:
    """A scope with its route configuration inside."""
    return {"name": table["name"], "route_configuration": table, "key": {"fragments": [{"string_key": table["name"]}]}}


def judged_together(found: Resources, directory: Path) -> str:
    """What the real Envoy says of all of this, with all inside that it would ask for by name; empty = content."""

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(v) for v in value]
        if not isinstance(value, dict):
            return value
        if "scoped_routes" in value:
            configurations = [dict(resource.body) for resource in found[CHECKS].values()]
            made = {"scoped_route_configurations": [_alone(one) for one in configurations]}
            of_scopes = value["scoped_routes"]
            kept = {k: v for k, v in of_scopes.items() if k not in ("rds_config_source", "scoped_rds")}
            return {**value, "scoped_routes": {**kept, "scoped_route_configurations_list": made}}
        if "rds" in value:
            routes = dict(found[ROUTES][value["rds"]["route_config_name"]].body)
            return {**{k: inline(v) for k, v in value.items() if k != "rds"}, "route_config": routes}
        return {k: inline(v) for k, v in value.items() if k != "sds_config"}

    clusters = []
    for name, resource in found[CLUSTERS].items():
        cluster = dict(resource.body)
        if cluster.pop("eds_cluster_config", None):
            cluster |= {"type": "STATIC", "load_assignment": dict(found[ENDPOINTS][name].body)}
        clusters.append(inline(cluster))
    static = {
        "listeners": [inline(dict(r.body)) for r in found[LISTENERS].values()],
        "clusters": clusters,
        "secrets": [dict(r.body) for r in found[SECRETS].values()],
    }
    path = directory / "gateway.json"
    layers = [{"name": "static", "static_layer": dict(RUNTIME)}]
    path.write_text(json.dumps({"layered_runtime": {"layers": layers}, "static_resources": static}))
    command = [str(ENVOY), "--mode", "validate", "-c", str(path), "--log-level", "warn"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
