"""Gateways out of YAML text, and what the workload istio=ingressgateway of istio-system becomes by them."""

from __future__ import annotations

from typing import Any

from tests.support.configs import config_of
from tidegate.compile.facts import join
from tidegate.compile.gateway.compiler import GatewayPlan, compile_gateway
from tidegate.compile.gateway.tls import Materials
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.plan.envoy import ROUTES

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


def compiled(*texts: str, files: Materials | None = None, ipv6: bool = True) -> GatewayPlan:
    """The plan of the workload. Fails on errors in the documents."""
    workload = GatewayWorkload("istio-system", LABELS, ipv6)
    return compile_gateway(join(config_of(*texts), ()), workload, files)


def hosts_at(plan: GatewayPlan, routes: str) -> dict[str, list[dict[str, Any]]]:
    """Routes by domain of a route configuration."""
    found = plan.envoy[ROUTES][routes].body["virtual_hosts"]
    return {domain: host["routes"] for host in found for domain in host["domains"]}
