from __future__ import annotations

from ipaddress import ip_address

import pytest

from tidegate.model.names import ServiceName
from tidegate_lab.dns_zone import Backend, Code, Zone, ZoneService

VIP = (ip_address("10.96.1.0"), ip_address("fd77:96::100"))
POD = Backend((ip_address("10.77.1.2"), ip_address("fd77:0:0:1::2")))
NAMED = Backend((ip_address("10.77.1.3"),), hostname="db-0")
ZONE = Zone.of(
    [
        ZoneService(ServiceName("default", "web"), VIP, (POD,)),
        ZoneService(ServiceName("shop", "db"), (), (POD, NAMED)),
        ZoneService(ServiceName("default", "out"), external_name="example.org."),
        ZoneService(ServiceName("default", "near"), external_name="web.default.svc.cluster.local"),
    ],
    ["default", "shop"],
)


def values(name: str, kind: str = "A", captured: bool = True) -> list[str]:
    return [record.value for record in ZONE.answer(name, kind, captured).records]


def test_a_captured_pod_gets_the_service_address_and_others_the_endpoints() -> None:
    name = "web.default.svc.cluster.local"
    assert values(name) == ["10.96.1.0"]
    assert values(name, "AAAA") == ["fd77:96::100"]
    assert values(name, captured=False) == ["10.77.1.2"]


def test_case_and_the_last_dot_do_not_matter() -> None:
    assert values("WEB.default.SVC.cluster.local.") == ["10.96.1.0"]


def test_a_headless_service_is_its_pods_and_their_names() -> None:
    assert values("db.shop.svc.cluster.local") == ["10.77.1.2", "10.77.1.3"]
    assert values("db-0.db.shop.svc.cluster.local") == ["10.77.1.3"]
    assert ZONE.answer("db-1.db.shop.svc.cluster.local", "A", True).code is Code.NXDOMAIN


def test_an_external_name_is_an_alias_that_is_followed_inside_the_lab() -> None:
    assert values("out.default.svc.cluster.local") == ["example.org"]
    assert values("near.default.svc.cluster.local") == ["web.default.svc.cluster.local", "10.96.1.0"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("absent.default.svc.cluster.local", Code.NXDOMAIN),
        ("web.absent.svc.cluster.local", Code.NXDOMAIN),
        ("absent.svc.cluster.local", Code.NXDOMAIN),
        ("example.org", Code.NXDOMAIN),
        ("web", Code.NXDOMAIN),
        ("default.svc.cluster.local", Code.NOERROR),
        ("svc.cluster.local", Code.NOERROR),
        ("cluster.local", Code.NOERROR),
    ],
)
def test_names_that_have_no_address(name: str, code: Code) -> None:
    answer = ZONE.answer(name, "A", True)
    assert (answer.code, answer.records) == (code, ())


def test_a_name_without_a_record_of_the_kind_exists_all_the_same() -> None:
    answer = ZONE.answer("db-0.db.shop.svc.cluster.local", "AAAA", True)
    assert (answer.code, answer.records) == (Code.NOERROR, ())


def test_addresses_have_names() -> None:
    assert values("0.1.96.10.in-addr.arpa", "PTR") == ["web.default.svc.cluster.local"]
    assert values("3.1.77.10.in-addr.arpa", "PTR") == ["db-0.db.shop.svc.cluster.local"]
    nibbles = ".".join(reversed(VIP[1].exploded.replace(":", "")))
    assert values(f"{nibbles}.ip6.arpa", "PTR") == ["web.default.svc.cluster.local"]
    assert ZONE.answer("x.in-addr.arpa", "PTR", True).code is Code.NXDOMAIN
