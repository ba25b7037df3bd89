"""Values that look right and are not: each is refused at its place before anything is compiled, or read as Kubernetes
and upstream read it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.support.configs import config_of, destination_rule, entry, mesh_of, service
from tests.support.envoy_judge import judge_rules

from tidegate.config import limits
from tidegate.config.documents import parse_text
from tidegate.config.shapes.envoy_text import is_host
from tidegate.model.capture import CAPTURE6_PREFIX
from tidegate.model.mesh import Mesh, Problem

ROUTE = "route: [{destination: {host: web}}]"
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [outside.example.com]
  addresses: ["%s"]
  resolution: STATIC
  ports: [{number: 80, name: tcp, protocol: TCP}]
  endpoints: [{address: "%s"}]
"""


def told(text: str) -> list[Problem]:
    """What is said of a text, warnings included."""
    return list(mesh_of({"one.yaml": text}).problems)


def refused(text: str) -> list[tuple[str, str]]:
    """Path and code of each error in a text."""
    return [(p.path, p.code) for p in told(text) if p.is_error]


def rule(http: str) -> str:
    kind = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    return f"{kind}metadata: {{name: rule}}\nspec: {{hosts: [web], http: {http}}}\n"


def target(port: str) -> str:
    spec = f"{{clusterIP: 10.96.0.1, ports: [{{port: 80, targetPort: {port}}}]}}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {spec}\n"


@pytest.mark.case("A3", "D4")
@pytest.mark.parametrize("port", ['"70000"', '"0"', '"²"', '"٨٠"', '"-1"', "70000", "-1", "My_Port", "n" * 16])
def test_a_target_port_is_a_port_or_the_name_of_one(port: str) -> None:
    """A text of digits is a number as any other: one beyond 65535 would fit into no row of the relay's."""
    assert refused(target(port)) == [("spec.ports[0].targetPort", "TG0215")]


@pytest.mark.case("D4")
@pytest.mark.parametrize(
    ("port", "meant"), [('"8080"', 8080), ("8080", 8080), ("http-alt", "http-alt"), ("0", 0), ('""', 0)]
)
def test_target_ports_that_are_understood(port: str, meant: int | str) -> None:
    (found,) = config_of(target(port)).services
    assert found.ports[0].target == meant


@pytest.mark.case("D3")
@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.77.0.5", "0.0.0.0", "224.0.0.1", "::1", "::", "ff02::1", str(CAPTURE6_PREFIX[9])]
)
def test_no_object_has_an_address_that_is_each_pods_own(address: str) -> None:
    assert [code for _, code in refused(service("web", "http:80", ips=address))] == ["TG0225"]
    assert refused(ENTRY % (address, "10.1.1.1")) == [("spec.addresses[0]", "TG0225")]


@pytest.mark.case("D3")
@pytest.mark.parametrize("network", ["127.0.0.0/8", "224.0.0.0/4", f"{CAPTURE6_PREFIX[0]}/80"])
def test_no_range_is_each_pods_own(network: str) -> None:
    assert refused(ENTRY % (network, "10.1.1.1")) == [("spec.addresses[0]", "TG0225")]


@pytest.mark.case("D3")
@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0/0", "240.0.0.0/4", "::/0", "10.0.0.0/8"])
def test_what_only_looks_like_it_is_somebodys(address: str) -> None:
    assert refused(ENTRY % (address, "10.1.1.1")) == []


@pytest.mark.case("A3")
def test_a_v4_range_in_v6_spelling_is_the_v4_range() -> None:
    (entry,) = config_of(ENTRY % ("::ffff:10.1.0.0/126", "10.1.1.1")).service_entries
    assert entry.external.ranges == (ip_network("10.1.0.0/30"),)
    assert {address.version for address in entry.addresses} == {4}


@pytest.mark.case("A3")
@pytest.mark.parametrize("value", ["x\\x01y", "x\\x0by", "x\\x7fy", "\\x1b[31m", "a\\nb"])
@pytest.mark.parametrize(
    ("path", "http"),
    [
        ("headers.request.set.x-a", 'headers: {{request: {{set: {{x-a: "{}"}}}}}}'),
        ("headers.response.add.x-a", 'headers: {{response: {{add: {{x-a: "{}"}}}}}}'),
        ("rewrite.uri", 'match: [{{uri: {{prefix: /}}}}], rewrite: {{uri: "/{}"}}'),
        ("corsPolicy.allowHeaders[0]", 'corsPolicy: {{allowHeaders: ["{}"]}}'),
    ],
)
def test_no_control_character_gets_into_a_message(path: str, http: str, value: str) -> None:
    assert refused(rule(f"[{{{http.format(value)}, {ROUTE}}}]")) == [(f"spec.http[0].{path}", "TG0218")]


@pytest.mark.case("A3")
def test_a_tab_and_bytes_above_127_may_be_in_a_value() -> None:
    assert refused(rule(f'[{{headers: {{request: {{set: {{x-a: "b\\tü"}}}}}}, {ROUTE}}}]')) == []


@pytest.mark.case("A3")
def test_a_header_is_set_once_however_it_is_spelt() -> None:
    assert refused(rule(f"[{{headers: {{request: {{set: {{X-A: x, x-a: y}}}}}}, {ROUTE}}}]")) == [
        ("spec.http[0].headers.request.set", "TG0213")
    ]


@pytest.mark.case("A3", "D1")
def test_a_body_is_said_once_and_is_no_longer_than_everybody_takes() -> None:
    both = "[{directResponse: {status: 200, body: {string: a, bytes: YQ==}}}]"
    assert refused(rule(both)) == [("spec.http[0].directResponse.body.bytes", "TG0117")]
    for length, wrong in ((1 << 20, []), ((1 << 20) + 1, [("spec.http[0].directResponse.body.string", "TG0106")])):
        assert refused(rule(f'[{{directResponse: {{status: 200, body: {{string: "{"x" * length}"}}}}}}]')) == wrong


@pytest.mark.case("A3")
def test_a_path_of_a_cookie_ends_where_its_attribute_ends() -> None:
    cookie = '{name: a, ttl: 0s, path: "/; Domain=example.com"}'
    rule = destination_rule(
        "d", "web", f"trafficPolicy: {{loadBalancer: {{consistentHash: {{httpCookie: {cookie}}}}}}}"
    )
    assert [code for _, code in refused(rule)] == ["TG0218"]


@pytest.mark.case("D1")
@pytest.mark.parametrize("rewrite", ["/\\\\x", "/a\\\\", "/\\\\\\\\\\\\q"])
def test_a_substitution_that_the_library_does_not_take_is_told(rewrite: str) -> None:
    found = told(rule(f'[{{rewrite: {{uriRegexRewrite: {{match: "/(a)", rewrite: "{rewrite}"}}}}, {ROUTE}}}]'))
    assert [p.code for p in found if "rewrite" in p.path] == ["TG0330"]


@pytest.mark.case("D1")
def test_no_request_has_a_path_with_a_zero_byte() -> None:
    assert "TG0328" in [p.code for p in told(rule(f'[{{match: [{{uri: {{exact: "/a\\0"}}}}], {ROUTE}}}]'))]


@pytest.mark.case("A3")
@pytest.mark.parametrize("length", [106, 107, 108, 300])
def test_a_path_of_a_socket_fits_into_an_address(length: int) -> None:
    bind = "unix://" + "/" + "x" * (length - 1)
    text = (
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  selector: {a: b}\n"
        f'  servers: [{{port: {{number: 0, name: u, protocol: HTTP}}, hosts: ["*"], bind: "{bind}"}}]\n'
    )
    assert [code for _, code in refused(text)] == (["TG0484"] if length > 107 else [])
    assert [code for _, code in refused(ENTRY % ("10.7.0.1", bind)) if code == "TG0422"] == (
        ["TG0422"] if length > 107 else []
    )


@pytest.mark.case("D5", "A3")
def test_hosts_are_what_upstream_takes_for_one() -> None:
    assert all(
        map(is_host, ("*", "*.example.com", "*-a.example.com", "*a.example.com", "a_b.example", "a" * 63 + ".example"))
    )
    assert not any(
        map(is_host, ("a" * 64 + ".example", "*-.example.com", "-a.example", "**.example", "a.*", "*.*.com"))
    )


def labelled(labels: str) -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p, labels: {{{labels}}}}}\nspec: {{containers: [{{name: c}}]}}"
    )


@pytest.mark.case("D6")
def test_numbers_are_those_of_kubernetes() -> None:
    """50.0, 5e1 and 0o62 are whole numbers, and 12:30:45 is a text, though the YAML library thinks otherwise."""
    whole = "[{route: [{destination: {host: web}, weight: 50.0}, {destination: {host: web}, weight: 5e1}]}]"
    (found,) = _mesh(rule(whole)).virtual_services
    assert [t.weight for t in found.http[0].targets] == [50, 50]
    (found,) = _mesh(rule(f"[{{match: [{{port: 0o120}}], {ROUTE}}}]")).virtual_services
    assert found.http[0].matches[0].port == 80
    (found,) = _mesh(
        rule("[{mirror: {host: web}, mirrorPercentage: {value: 5e-1}, route: [{destination: {host: web}}]}]")
    ).virtual_services
    assert found.http[0].mirrors[0].share == 5000
    (pod,) = _mesh(labelled("at: 12:30:45, v: 12e4567, d: 2026-01-01")).pods
    assert pod.labels == {"at": "12:30:45", "v": "12e4567", "d": "2026-01-01"}


@pytest.mark.case("D6")
@pytest.mark.parametrize(("written", "given"), [("1.0", "1.0"), ("1e3", "1e3"), ("1.10", "1.1"), ("yes", "true")])
def test_a_number_where_a_text_is_wanted_is_told_as_it_was_written(written: str, given: str) -> None:
    (problem,) = parse_text(labelled(f"v: {written}"), "p.yaml").problems
    assert problem.message == f'must be text: write "{given}" with quotes'


def _mesh(text: str) -> Mesh:
    return config_of(service("web", "http:80", ips="10.96.0.1"), text) if "VirtualService" in text else config_of(text)


def wide(networks: int, ports: int) -> str:
    """A ServiceEntry for so many /24 at so many ports."""
    listed = ", ".join(f"10.{n // 256}.{n % 256}.0/24" for n in range(networks))
    numbered = ", ".join(f"{{number: {n + 1}, name: p-{n}, protocol: TCP}}" for n in range(ports))
    spec = f"addresses: [{listed}], resolution: STATIC, ports: [{numbered}], endpoints: [{{address: 192.0.2.1}}]"
    return entry("wide", "wide.example.com", spec)


@pytest.mark.case("A1", "A3")
@pytest.mark.parametrize(
    ("networks", "ports", "addresses", "ranges"), [(1, 1, 256, 0), (16, 1, 4096, 0), (17, 1, 0, 17), (256, 16, 0, 256)]
)
def test_a_few_lines_do_not_fill_the_kernels_table(networks: int, ports: int, addresses: int, ranges: int) -> None:
    """Ranges are written out while that is few rows, and are ranges otherwise."""
    (found,) = config_of(wide(networks, ports)).service_entries
    assert (len(found.addresses), len(found.external.wide)) == (addresses, ranges)
    assert (addresses + ranges) * ports <= limits.MOST_ROWS


@pytest.mark.case("A1", "A3")
def test_what_would_fill_the_kernels_table_is_refused() -> None:
    assert refused(wide(256, 17)) == [("spec.ports", "TG0106")]
    ports = ", ".join(f"{{name: p-{n}, port: {n + 1}}}" for n in range(limits.MOST_ROWS // 2 + 1))
    for ips, wrong in (("10.96.0.1", []), ('10.96.0.1, "fd00::1"', [("spec.ports", "TG0106")])):
        text = (
            f"apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIPs: [{ips}], ports: [{ports}]}}"
        )
        assert refused(text) == wrong
    many = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIPs: [10.96.0.1, 10.96.0.2, 10.96.0.3]}"
    assert ("spec.clusterIPs", "TG0106") in refused(many)
    slice_ = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: IPv4\nendpoints: "
    assert refused(slice_ + f"[{', '.join(['{addresses: [192.0.2.1]}'] * 1001)}]") == [("endpoints", "TG0106")]


@pytest.mark.case("A3", "C1")
@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_ends_with_its_headers_has_nothing_behind_them(status: int) -> None:
    body = f"[{{directResponse: {{status: {status}, body: {{string: x}}}}}}]"
    assert refused(rule(body)) == [("spec.http[0].directResponse.body", "TG0337")]
    assert refused(rule(f"[{{directResponse: {{status: {status}}}}}]")) == []
    fault = f"fault: {{abort: {{httpStatus: {status}, percentage: {{value: 1}}}}}}"
    assert refused(rule(f"[{{{fault}, {ROUTE}}}]")) == [("spec.http[0].fault.abort.httpStatus", "TG0337")]


@pytest.mark.case("A3", "C1")
@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_no_rule_says_where_a_message_ends(side: str, name: str) -> None:
    """Everything behind a wrong length belongs to the next message on the connection."""
    for key in ("set", "add"):
        changed = f'headers: {{{side}: {{{key}: {{{name}: "5"}}}}}}'
        assert refused(rule(f"[{{{changed}, {ROUTE}}}]")) == [(f"spec.http[0].headers.{side}.{key}", "TG0312")]
    assert refused(rule(f"[{{headers: {{{side}: {{remove: [{name}]}}}}, {ROUTE}}}]")) == []


@pytest.mark.case("D1")
def test_a_request_has_a_host() -> None:
    for key in ("set", "add"):
        found = refused(rule(f'[{{headers: {{request: {{{key}: {{Host: ""}}}}}}, {ROUTE}}}]'))
        assert found == [(f"spec.http[0].headers.request.{key}.Host", "TG0212")]


@pytest.mark.case("D1", "C6")
@pytest.mark.parametrize(
    ("path", "http"),
    [
        ("rewrite.uri", 'match: [{uri: {prefix: /}}], rewrite: {uri: "/a b"}, ROUTE'),
        ("rewrite.uri", 'match: [{uri: {prefix: /}}], rewrite: {uri: "/ü"}, ROUTE'),
        ("rewrite.uri", 'match: [{uri: {prefix: /}}], rewrite: {uri: "/a#b"}, ROUTE'),
        ("rewrite.uriRegexRewrite.rewrite", 'rewrite: {uriRegexRewrite: {match: /x, rewrite: "/x HTTP/1.1"}}, ROUTE'),
        ("rewrite.authority", 'rewrite: {authority: "a b"}, ROUTE'),
        ("rewrite.authority", "rewrite: {authority: a/b}, ROUTE"),
        ("rewrite.authority", "rewrite: {authority: '*.example.com'}, ROUTE"),
        ("redirect.uri", 'redirect: {uri: "/ü b"}'),
        ("redirect.authority", "redirect: {authority: 'https://x'}"),
    ],
)
def test_what_no_server_takes_is_told(path: str, http: str) -> None:
    found = told(rule(f"[{{{http.replace('ROUTE', ROUTE)}}}]"))
    assert [(p.path, p.code) for p in found if p.code == "TG0330"] == [(f"spec.http[0].{path}", "TG0330")]


@pytest.mark.case("D1", "C6")
@pytest.mark.parametrize("name", ["web", "web:8080", "10.0.0.1:80", "[fd00::1]:80", "fd00::1", "a_b.example."[:-1]])
def test_names_that_somebody_may_have(name: str) -> None:
    for http in (f"rewrite: {{authority: '{name}'}}, {ROUTE}", f"redirect: {{authority: '{name}', uri: '/a?b#c%20d'}}"):
        assert "TG0330" not in [p.code for p in told(rule(f"[{{{http}}}]"))]


@pytest.mark.case("A3")
def test_so_many_headers_are_changed_as_envoy_takes(tmp_path: Path) -> None:
    """A route and its destination, each with all that it may have, are one list to Envoy."""

    def changed(count: int) -> str:
        pairs = [f"x-{n}: y" for n in range(count)]
        return f"headers: {{request: {{set: {{{', '.join(pairs[:-9])}}}, add: {{{', '.join(pairs[-9:])}}}}}}}"

    most = limits.HEADERS_CHANGED
    route = "route: [{destination: {host: web}, %s}]"
    both = rule(f"[{{{changed(most)}, {route % changed(most)}}}]")
    assert refused(both) == []
    assert judge_rules(mesh_of({"one.yaml": both}).virtual_services, tmp_path) == ""
    assert refused(rule(f"[{{{changed(most + 1)}, {ROUTE}}}]")) == [("spec.http[0].headers.request", "TG0106")]


@pytest.mark.case("A1", "A3")
@pytest.mark.parametrize("name", ["*a.example.com", "*-a.example.com"])
def test_no_name_of_tls_is_open_within_a_label(name: str) -> None:
    """Envoy refuses the whole listener for it, and everybody's servers at the port with it."""
    spec = f"{{hosts: ['{name}'], tls: [{{match: [{{sniHosts: ['{name}']}}], {ROUTE}}}]}}"
    text = f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {spec}"
    assert refused(text) == [("spec.tls[0].match[0].sniHosts[0]", "TG0338")]
    for protocol, wrong in (("TLS", [("spec.hosts[0]", "TG0338")]), ("HTTP", [])):
        ports = f"resolution: NONE, ports: [{{number: 443, name: x, protocol: {protocol}}}]"
        assert refused(entry("e", f"'{name}'", ports)) == wrong
