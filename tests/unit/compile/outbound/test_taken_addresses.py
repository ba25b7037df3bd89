"""An address that the cluster gave to a Service is the Service's, whoever else writes it down, and it is told."""

from __future__ import annotations

import pytest
from tests.support.configs import entry, mesh_of, pod, sandbox, service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import join

ENROLLED = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: enabled}}"
AGED = "creationTimestamp: 2001-01-01T00:00:00Z"


def told_and_dialled(*texts: str) -> tuple[list[str], dict[int, int]]:
    """Codes of what is said; by port of 10.96.0.1, the number of the service that is dialled there."""
    mesh = mesh_of({f"{n}.yaml": text for n, text in enumerate((ENROLLED, *texts))})
    plan = compile_plan(join(mesh, [sandbox("client", "10.9.9.1")], node="node1"), 1)
    rows = {row.port: row.service for row in plan.destinations if str(row.address) == "10.96.0.1"}
    return [p.code for p in mesh.problems], rows


@pytest.mark.case("A1", "D3")
def test_no_service_entry_takes_the_address_of_a_service() -> None:
    """Not even an older one: what a namespace writes down costs no other its requests."""
    spec = "addresses: [10.96.0.1], resolution: STATIC, endpoints: [{address: 10.1.1.1}], ports: [%s]"
    named = ((80, "http"), (90, "tcp"), (91, "tcp-x"))
    ports = ", ".join(f"{{number: {number}, name: {name}, protocol: {name[:4].strip('-')}}}" for number, name in named)
    thief = entry("a-thief", "a.example.com", spec % ports, more=AGED)
    web = service("web", "http:80", "tcp-x:90", ips="10.96.0.1") + "---" + pod("web", "app: web", "10.1.1.2")
    alone, rows = told_and_dialled(web)
    assert (alone, sorted(rows)) == ([], [80, 90])
    both, together = told_and_dialled(web, thief)
    assert both == ["TG0572", "TG0572"], "one for each port that is another's"
    assert {port: together[port] for port in rows} == rows
    assert sorted(together) == [80, 90, 91], "what nobody had is the entry's"


@pytest.mark.case("D3")
def test_of_two_services_at_one_address_the_younger_is_told() -> None:
    one, other = (service(name, "http:80", ips="10.96.0.1") for name in ("one", "other"))
    assert told_and_dialled(one, other)[0] == ["TG0572"]


@pytest.mark.case("D3")
def test_hosts_of_entries_share_an_address_over_http() -> None:
    spec = (
        "addresses: [10.96.0.1], resolution: STATIC, endpoints: [{address: 10.1.1.1}], ports: [{number: 80, name: %s}]"
    )
    for name, codes in (("http", []), ("tls", []), ("tcp", ["TG0572"])):
        entries = [entry(host, f"{host}.example.com", spec % f"{name}, protocol: {name.upper()}") for host in "ab"]
        assert told_and_dialled(*entries)[0] == codes


@pytest.mark.case("D3")
def test_hosts_of_one_entry_take_nothing_from_each_other_and_a_range_is_told_once() -> None:
    spec = "addresses: [10.96.0.0/24], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]"
    assert told_and_dialled(entry("both", "a.example.com, b.example.com", spec))[0] == []
    plain = spec.replace("tls", "tcp").replace("TLS", "TCP")
    one, other = (entry(host, f"{host}.example.com", plain) for host in "ab")
    assert told_and_dialled(one, other)[0] == ["TG0572"]
