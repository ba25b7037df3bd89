"""What others are told, all of it together, is what the real Envoy takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.certificates import Authority
from tests.support.configs import destination_rule, entry, mesh_config, pod, service
from tests.support.gateways import judged_together
from tests.support.others import BY_HAND, made_for, sidecar

from tidegate.compile.others.client import Client
from tidegate.model import tls_files

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: connections, namespace: default}
spec:
  hosts: [safe, db, first.example, "*.second.example"]
  tls:
  - match: [{sniHosts: [first.example]}]
    route: [{destination: {host: safe}}]
  - match: [{sniHosts: ["*.second.example"]}]
    route:
    - {destination: {host: db, subset: v1, port: {number: 5432}}, weight: 1}
    - {destination: {host: safe}, weight: 2}
  tcp:
  - match: [{destinationSubnets: [10.96.0.0/16], sourceLabels: {app: web}}]
    route: [{destination: {host: db, subset: v1, port: {number: 5432}}}]
"""
TCP = "ports: [{number: 6000, name: tcp, protocol: TCP}]"
ENTRIES = (
    entry("one", "one.example", "ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS"),
    entry("wild", "'*.wild.example'", "ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE"),
    entry("http", "web.example", "ports: [{number: 443, name: http, protocol: HTTP}], resolution: DNS"),
    entry("any", "any.example", f"{TCP}, resolution: NONE"),
    entry("net", "net.example", f"addresses: [10.98.0.0/26, 'fd00:98::/122'], {TCP}, resolution: NONE"),
    entry("mixed", "mixed.example", "ports: [{number: 80, name: tls, protocol: TLS}], resolution: DNS"),
)
FILTERS = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: everything, namespace: default}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_FIRST
      value:
        name: my.lua
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code: {inline_string: "function envoy_on_request(h) end"}
  - applyTo: NETWORK_FILTER
    match: {listener: {portNumber: 5432}}
    patch:
      operation: INSERT_FIRST
      value:
        name: my.rbac
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: x}
  - applyTo: LISTENER
    match: {context: SIDECAR_OUTBOUND}
    patch:
      operation: ADD
      value:
        name: mine
        address: {socket_address: {address: 127.0.0.1, port_value: 9999}}
        filter_chains:
        - filters:
          - name: envoy.filters.network.tcp_proxy
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
              stat_prefix: mine
              cluster: mine
  - applyTo: VIRTUAL_HOST
    patch:
      operation: ADD
      value: {name: new, domains: [new.example], routes: [{match: {prefix: /}, route: {cluster: mine}}]}
  - applyTo: HTTP_ROUTE
    patch: {operation: MERGE, value: {decorator: {operation: mine}}}
  - applyTo: ROUTE_CONFIGURATION
    patch: {operation: MERGE, value: {response_headers_to_remove: [server]}}
  - applyTo: CLUSTER
    patch: {operation: ADD, value: {name: mine, type: STATIC, connect_timeout: 1s}}
  - applyTo: CLUSTER
    patch: {operation: MERGE, value: {connect_timeout: 7s}}
"""


@pytest.mark.parametrize("strict", [False, True], ids=["allow any", "registry only"])
@pytest.mark.parametrize(
    "who",
    [sidecar(), BY_HAND, sidecar(INSTANCE_IPS="fd00::1", INTERCEPTION_MODE="NONE")],
    ids=["sidecar", "by hand", "not captured"],
)
def test_everything_that_can_be_said(
    who: Client, strict: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_files, "_own", True)
    (tmp_path / "root.pem").write_bytes(Authority().certificate)
    tls = f"tls: {{mode: SIMPLE, caCertificates: {tmp_path}/root.pem, subjectAltNames: [db]}}"
    pool = "connectionPool: {tcp: {idleTimeout: 7s, maxConnectionDuration: 9s}}"
    policy = f"subsets: [{{name: v1, labels: {{version: v1}}}}]\ntrafficPolicy: {{{tls}, {pool}}}"
    found = made_for(
        who,
        RULES,
        *ENTRIES,
        FILTERS,
        destination_rule("db", "db", policy),
        service("heads", "http:81", "tcp:5432", "tls:443", ips="None"),
        pod("heads-1", "app: heads", "10.0.0.4"),
        *([mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")] if strict else []),
    )
    assert judged_together(found, tmp_path) == ""
