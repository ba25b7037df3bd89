from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from tests.support.documents import cluster, documents

from tidegate.errors import Rejected
from tidegate.model.names import ObjectKey
from tidegate.model.net import IPAddress
from tidegate_lab.addresses import SERVICES4, SERVICES6
from tidegate_lab.cluster import Cluster


def service(name: str, rest: str = "", namespace: str = "default") -> str:
    ports = "ports: [{port: 80}]"
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{ports}{", " + rest if rest else ""}}}
"""


def addresses(of: Cluster) -> dict[str, tuple[IPAddress, ...]]:
    return {found.name.name: found.addresses for found in of.services()}


def test_a_service_gets_an_address_of_each_family() -> None:
    four, six = addresses(cluster(service("a")))["a"]
    assert four in SERVICES4
    assert six in SERVICES6


@pytest.mark.parametrize(
    ("rest", "versions"),
    [
        ("ipFamilyPolicy: SingleStack", [4]),
        ("ipFamilies: [IPv6]", [6]),
        ("clusterIP: None", []),
        ("type: ExternalName, externalName: example.org", []),
        ("type: NodePort", [4, 6]),
    ],
)
def test_families_follow_the_service(rest: str, versions: list[int]) -> None:
    assert [a.version for a in addresses(cluster(service("a", rest)))["a"]] == versions


def test_an_address_stays_with_its_service_and_comes_back_only_after_deletion() -> None:
    state = cluster(service("a") + service("b"))
    before = addresses(state)
    assert not set(before["a"]) & set(before["b"])
    state.apply(documents(service("c") + service("a", "selector: {app: a}")))
    after = addresses(state)
    assert (after["a"], after["b"]) == (before["a"], before["b"])
    state.delete([ObjectKey("", "Service", "default", "a")])
    state.apply(documents(service("d")))
    assert addresses(state)["d"] == before["a"]


def test_an_address_that_was_asked_for_is_given_once() -> None:
    state = cluster(service("a", "clusterIP: 10.96.1.0") + service("b"))
    assert addresses(state)["a"] == (IPv4Address("10.96.1.0"),)
    assert ip_address("10.96.1.0") not in addresses(state)["b"]
    with pytest.raises(Rejected, match=r"10\.96\.1\.0 belongs to a\.default"):
        state.apply(documents(service("c", "clusterIP: 10.96.1.0")))
    assert set(addresses(state)) == {"a", "b"}


def test_nothing_is_applied_when_one_document_is_wrong() -> None:
    state = Cluster()
    with pytest.raises(Rejected, match="namespace 'shop' does not exist"):
        state.apply(documents(service("a") + service("b", namespace="shop")))
    assert not state.documents


def test_order_of_documents_does_not_matter_for_namespaces() -> None:
    text = service("b", namespace="shop") + "---\n{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
    assert [found.name.namespace for found in cluster(text).services()] == ["shop"]


def test_deleting_a_namespace_takes_what_is_in_it() -> None:
    text = (
        service("a") + service("b", namespace="shop") + "---\n{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
    )
    state = cluster(text)
    gone = state.delete([ObjectKey("", "Namespace", "", "shop")])
    assert {str(key) for key in gone} == {"Namespace shop", "Service shop/b"}
    assert set(addresses(state)) == {"a"}
