"""What Envoys that are not ours do with the rest of the mesh's rules: routes of connections, REGISTRY_ONLY, patches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.foreign_envoy import AGGREGATED, BOOTSTRAP, BY_SOCKET, SIDECAR, Place, place

DIALECTS = ["GRPC", "DELTA_GRPC"]
CLOSED = 0  # instead of a status: the connection ended without an answer
STRICT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as made:
        made.redirect()
        yield made


def service(name: str, address: str, port: str, target: int) -> str:
    """A service with a pod on the loopback, of version v1 at its port and of v2 at the next one. port: NAME:NUMBER."""
    called, number = port.split(":")
    pods = "".join(
        f"""---
apiVersion: v1
kind: Pod
metadata: {{name: {name}-{version}, labels: {{app: {name}, version: {version}}}}}
spec: {{containers: [{{name: c, ports: [{{name: p, containerPort: {at}}}]}}]}}
status: {{podIPs: [{{ip: 127.0.0.1}}], conditions: [{{type: Ready, status: "True"}}]}}
"""
        for version, at in (("v1", target), ("v2", target + 1))
    )
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  clusterIP: {address}
  selector: {{app: {name}}}
  ports: [{{name: {called}, port: {number}, targetPort: p}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {name}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
{pods}"""


def rule(name: str, hosts: str, routes: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{hosts}]
{indent(dedent(routes), "  ")}"""


def a_filter(name: str, patches: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}}}
spec:
  configPatches:
{indent(dedent(patches), "  ")}"""


def lua(code: str, context: str = "SIDECAR_OUTBOUND") -> str:
    return f"""
- applyTo: HTTP_FILTER
  match: {{context: {context}}}
  patch:
    operation: INSERT_FIRST
    value:
      name: my.lua
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
        default_source_code: {{inline_string: '{code}'}}
"""


SAYS = 'function envoy_on_response(h) h:headers():add("x-patched", "yes") end'


def serve(here: Place, dialect: str, bootstrap: str = AGGREGATED, node: str = SIDECAR) -> None:
    here.serve()
    here.envoy(bootstrap, node, dialect)


def version_over_tcp(here: Place, url: str, version: str) -> None:
    """Bytes that nobody looked into: an HTTP proxy would have added what a request is known by."""
    got = here.answers(url, "-H", "Host: whatever", version=version)
    assert "x-request-id" not in got["body"]["headers"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tcp_routes_lead_their_connections(here: Place, dialect: str) -> None:
    here.say(db=service("db", "10.96.0.12", "tcp:5432", 8081))
    to = "tcp: [{{route: [{{destination: {{host: db, subset: {}}}}}]}}]"
    here.say(rule=rule("db", "db", to.format("v2")))
    serve(here, dialect)
    version_over_tcp(here, "http://10.96.0.12:5432/", "v2")
    here.say(rule=rule("db", "db", to.format("v1")))
    version_over_tcp(here, "http://10.96.0.12:5432/", "v1")
    assert here.refused() == {}


def test_the_name_of_a_handshake_chooses_for_them(here: Place) -> None:
    here.tls("one", 9443)
    here.tls("two", 9444)
    here.say(safe=service("safe", "10.96.0.13", "tls:8443", 9443))
    routes = "".join(
        f"- {{match: [{{sniHosts: [{name}.example]}}], route: [{{destination: {{host: safe, subset: {subset}}}}}]}}\n"
        for name, subset in (("first", "v1"), ("second", "v2"))
    )
    here.say(rule=rule("safe", "safe, first.example, second.example", f"tls:\n{routes}"))
    serve(here, "GRPC")

    def shown(name: str, wanted: str) -> None:
        eventually(lambda: here.shown_certificate("10.96.0.13", 8443, name) == wanted, f"{name} is led to {wanted!r}")

    shown("first.example", "one")
    shown("second.example", "two")
    assert here.shown_certificate("10.96.0.13", 8443, "third.example") == ""
    assert here.refused() == {}


def test_one_port_of_an_envoy_by_hand_is_several_tls_services(here: Place) -> None:
    here.tls("one", 9443)
    here.tls("two", 9453)
    here.say(
        a=service("a", "10.96.0.13", "tls:8443", 9443).replace("9444", "9443"),
        b=service("b", "10.96.0.14", "tls:8443", 9453).replace("9454", "9453"),
    )
    serve(here, "GRPC", BOOTSTRAP, "envoy-1")
    eventually(lambda: here.shown_certificate("127.0.0.1", 8443, "b.default") == "two", "b is found by its name")
    assert here.shown_certificate("127.0.0.1", 8443, "whatever.example") == "one"
    assert here.refused() == {}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_nobody_has_is_refused_where_the_mesh_allows_only_what_it_knows(here: Place, dialect: str) -> None:
    here.say(web=service("web", "10.96.0.10", "http:8082", 8081))
    serve(here, dialect)
    here.answers("http://10.96.0.10:8082/", "-H", "Host: web")
    here.answers("http://10.0.0.7:8082/", "-H", "Host: nobody", version="v2")
    here.answers("http://10.0.0.7:8081/", version="v1")
    here.say(mesh=STRICT)
    here.answers("http://10.0.0.7:8082/", "-H", "Host: nobody", status=502)
    here.answers("http://10.0.0.7:8081/", status=CLOSED)
    here.answers("http://10.96.0.10:8082/", "-H", "Host: web")
    (here.documents / "mesh.yaml").unlink()
    here.answers("http://10.0.0.7:8081/", version="v1")
    assert here.refused() == {}


def answers_unpatched(here: Place) -> bool:
    got = here.ask("http://10.96.0.10:9080/", "-H", "Host: web")
    return bool(got["status"] == 200 and not patched(got))


def patched(got: dict[str, Any]) -> bool:
    return bool(got.get("headers", {}).get("x-patched") == "yes")  # without headers: nobody answered yet


@pytest.mark.parametrize("dialect", DIALECTS)
def test_envoy_filters_change_what_they_do(here: Place, dialect: str) -> None:
    here.say(web=service("web", "10.96.0.10", "http:9080", 8081), lua=a_filter("lua", lua(SAYS)))
    serve(here, dialect)
    eventually(lambda: patched(here.ask("http://10.96.0.10:9080/", "-H", "Host: web")), "the filter runs")
    here.say(lua=a_filter("lua", lua(SAYS.replace("yes", "no"))))
    eventually(lambda: answers_unpatched(here), "a change is in force")
    assert here.refused() == {}


def test_a_patch_that_they_refuse_is_left_out_and_named(here: Place) -> None:
    here.say(web=service("web", "10.96.0.10", "http:9080", 8081), lua=a_filter("lua", lua("function (")))
    serve(here, "DELTA_GRPC")
    here.answers("http://10.96.0.10:9080/", "-H", "Host: web")
    eventually(lambda: "lds" in str(here.refused()), "the listener with the patch was refused")
    assert not patched(here.ask("http://10.96.0.10:9080/", "-H", "Host: web"))
    here.say(lua=a_filter("lua", lua(SAYS)))
    eventually(lambda: patched(here.ask("http://10.96.0.10:9080/", "-H", "Host: web")), "a good one is in force")


# --- TLS --------------------------------------------------------------------------------------------------------------
def https(here: Place, authority: str) -> None:
    """A service whose clients speak plain HTTP and whose servers HTTPS, for who trusts this authority."""
    files = f"caCertificates: {here.folder}/{authority}.ca, subjectAltNames: [one]"
    policy = f"trafficPolicy: {{tls: {{mode: SIMPLE, {files}}}}}"
    text = service("safe", "10.96.0.13", "http:8443", 9443).replace("  host: safe\n", f"  host: safe\n  {policy}\n")
    here.say(safe=text.replace("9444", "9443"))


@pytest.mark.parametrize("bootstrap", [AGGREGATED, BOOTSTRAP], ids=["aggregated", "a stream for each"])
def test_they_begin_tls_by_files_of_their_own(here: Place, bootstrap: str) -> None:
    here.tls("one", 9443)
    here.tls("two", 9444)  # another authority
    https(here, "one")
    serve(here, "GRPC", bootstrap, SIDECAR if bootstrap == AGGREGATED else "envoy-1")
    url = f"http://{'10.96.0.13' if bootstrap == AGGREGATED else '127.0.0.1'}:8443/"
    assert "s_server" in here.answers(url, "-H", "Host: safe")["body"]
    https(here, "two")
    here.answers(url, "-H", "Host: safe", status=503)
    assert here.refused() == {}


def test_a_gateway_of_a_namespace_gets_its_certificate_and_the_next_one(here: Place) -> None:
    def certificate(name: str) -> None:
        here.say(pair=Authority().issue(name, "shop.example").secret("pair", namespace="edge"))

    certificate("first")
    labels = {"istio": "ingressgateway"}
    tls = "{mode: SIMPLE, credentialName: pair}"
    here.say(
        gateway=f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: edge}}
spec:
  selector: {labels}
  servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ["*"], tls: {tls}}}]
""",
        rule=rule("shop", "shop.example", "gateways: [edge/edge]\nhttp: [{directResponse: {status: 204}}]"),
    )
    here.serve("--secrets", f"edge={here.socket}")
    here.envoy(BY_SOCKET, "router~10.0.0.1~gw.anywhere~x", metadata={"LABELS": labels})

    def shown(name: str) -> None:
        eventually(
            lambda: here.shown_certificate("127.0.0.1", 443, "shop.example") == name, f"its certificate is {name}"
        )

    shown("first")
    certificate("second")
    shown("second")
    assert here.refused() == {}
