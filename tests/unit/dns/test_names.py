"""What pods are answered, and what is left to their resolver."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tidegate.dns.names import TTL_SERVER, TTL_SERVICE, KnownName, NameTable, RecordType, ServedAt
from tidegate.model.plan.names import HostNames, NamedPort, NamedServer

REVIEWS = "reviews.default.svc.cluster.local"
DB = "db.data.svc.cluster.local"
V4, V6 = ip_address("10.96.0.7"), ip_address("fd00:96::7")
ONE, TWO = ip_address("10.244.0.1"), ip_address("10.244.0.2")
HTTP = NamedPort("http", "tcp", 9080)
SQL = NamedPort("sql", "tcp", 5432)


@pytest.fixture
def names() -> NameTable:
    known = NameTable()
    known.put(HostNames(REVIEWS, (V4, V6), ports=(HTTP, NamedPort("dns", "udp", 53))))
    known.put(HostNames(DB, servers=(NamedServer("db-0", (ONE,), (SQL,)), NamedServer("10-244-0-2", (TWO,), (SQL,)))))
    known.put(HostNames("api.example.com", (V4,)))
    known.put(HostNames("*.example.org", (V4,)))
    known.put(HostNames("*.deep.example.org", (TWO,)))
    known.put(HostNames("hidden.example.com", (V4,), visible=frozenset({"data"})))
    return known


def asked(names: NameTable, name: str, kind: RecordType = RecordType.A, namespace: str = "default") -> KnownName | None:
    return names.answer(name, kind, namespace)


def test_a_service_is_answered_by_family(names: NameTable) -> None:
    assert asked(names, REVIEWS) == KnownName((V4,), ttl=TTL_SERVICE)
    assert asked(names, REVIEWS, RecordType.AAAA) == KnownName((V6,), ttl=TTL_SERVICE)


def test_a_family_that_a_host_does_not_have_is_an_empty_answer(names: NameTable) -> None:
    """A resolver would say that there is no such name, and the name would be gone in both families."""
    assert asked(names, "api.example.com", RecordType.AAAA) == KnownName()


@pytest.mark.parametrize("kind", [RecordType.HTTPS, RecordType.SVCB])
def test_nobody_else_says_how_a_host_of_the_mesh_is_reached(names: NameTable, kind: RecordType) -> None:
    """An HTTPS record of the outside has addresses and keys by which a browser would pass the mesh by."""
    assert asked(names, "api.example.com", kind) == KnownName()


@pytest.mark.parametrize("kind", [15, 16, 12, 255])
def test_other_types_are_the_resolvers(names: NameTable, kind: int) -> None:
    assert names.answer("api.example.com", kind, "default") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "com",
        "example.com",
        "example.org",
        "www.api.example.com",
        "other.default.svc.cluster.local",
        "cluster.local",
    ],
)
def test_what_the_registry_does_not_have_is_the_resolvers(names: NameTable, name: str) -> None:
    assert asked(names, name) is None


def test_a_wildcard_stands_for_every_name_below_and_the_nearest_counts(names: NameTable) -> None:
    assert asked(names, "a.example.org") == asked(names, "b.a.example.org") == KnownName((V4,))
    assert asked(names, "x.deep.example.org") == asked(names, "y.x.deep.example.org") == KnownName((TWO,))


def test_a_headless_service_is_its_servers(names: NameTable) -> None:
    assert asked(names, DB) == KnownName((ONE, TWO), ttl=TTL_SERVER)
    assert asked(names, f"db-0.{DB}") == KnownName((ONE,), ttl=TTL_SERVER)
    assert asked(names, f"10-244-0-2.{DB}") == KnownName((TWO,), ttl=TTL_SERVER)
    assert asked(names, f"db-1.{DB}") is None
    names.put(HostNames(DB, servers=(NamedServer("db-1", (ONE,)),)))
    assert asked(names, f"db-0.{DB}") is None
    names.remove(DB)
    assert asked(names, DB) is asked(names, f"db-1.{DB}") is None


def test_srv_says_where_a_named_port_is(names: NameTable) -> None:
    found = asked(names, f"_sql._tcp.{DB}", RecordType.SRV)
    assert found is not None
    assert found.services == (ServedAt(f"db-0.{DB}", 5432), ServedAt(f"10-244-0-2.{DB}", 5432))
    assert dict(found.further) == {f"db-0.{DB}": (ONE,), f"10-244-0-2.{DB}": (TWO,)}
    found = asked(names, f"_http._tcp.{REVIEWS}", RecordType.SRV)
    assert found is not None
    assert (found.services, dict(found.further)) == ((ServedAt(REVIEWS, 9080),), {REVIEWS: (V4, V6)})
    assert asked(names, f"_dns._udp.{REVIEWS}", RecordType.SRV)
    for wrong in (f"_http._udp.{REVIEWS}", f"_none._tcp.{REVIEWS}", f"_http.{REVIEWS}", f"_http._tcp.{DB}"):
        assert asked(names, wrong, RecordType.SRV) is None


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("api.example.com.default.svc.cluster.local", "api.example.com"),
        ("api.example.com.svc.cluster.local", "api.example.com"),
        ("api.example.com.cluster.local", "api.example.com"),
        ("any.example.org.default.svc.cluster.local", "any.example.org"),
        ("reviews.default.default.svc.cluster.local", REVIEWS),
        ("reviews.default.svc.default.svc.cluster.local", REVIEWS),
        (f"{REVIEWS}.default.svc.cluster.local", REVIEWS),
        (f"db-0.{DB}.svc.cluster.local", f"db-0.{DB}"),
    ],
)
def test_what_a_search_list_makes_of_a_name_is_answered_at_once(names: NameTable, name: str, means: str) -> None:
    """Else the resolver would be asked for each domain of the list first, and one that is down would hold up a name
    that the registry has."""
    found, plain = asked(names, name), asked(names, means)
    assert found is not None
    assert plain is not None
    assert (found.canonical, found.addresses) == (means, plain.addresses)


def test_a_search_list_is_that_of_the_askers_namespace(names: NameTable) -> None:
    assert asked(names, "api.example.com.data.svc.cluster.local") is None
    assert asked(names, "api.example.com.data.svc.cluster.local", namespace="data") is not None


def test_a_name_itself_goes_before_what_it_may_have_been(names: NameTable) -> None:
    """db-0 of a service `reviews` in `default` is called as `db-0.reviews` with the list of `default` is."""
    names.put(HostNames("a.reviews.default.svc.cluster.local", (TWO,)))
    names.put(HostNames("a.reviews", (V4,)))
    assert asked(names, "a.reviews.default.svc.cluster.local") == KnownName((TWO,))


def test_a_host_that_is_not_exported_to_a_namespace_is_not_known_there(names: NameTable) -> None:
    assert asked(names, "hidden.example.com") is None
    assert asked(names, "hidden.example.com", namespace="data") == KnownName((V4,))
    names.put(HostNames("*.example.com", (TWO,)))
    assert asked(names, "hidden.example.com") == KnownName((TWO,)), "what else is there may be known"
