from __future__ import annotations

from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode

from tidegate.model.names import ServiceName
from tidegate_lab.dns_server import DnsServer
from tidegate_lab.dns_zone import Backend, Zone, ZoneService

MANY = tuple(Backend((ip_address(f"10.77.{n // 200}.{n % 200}"),)) for n in range(100))
ZONE = Zone.of(
    [
        ZoneService(ServiceName("default", "web"), (ip_address("10.96.1.0"),), MANY[:2]),
        ZoneService(ServiceName("default", "many"), (), MANY),
    ],
    ["default"],
)
SERVER = DnsServer(lambda: ZONE, lambda client: str(client) == "10.77.1.9")


def ask(name: str, client: str = "10.77.1.9", limit: int | None = 512, **options: bool) -> dns.message.Message:
    query = dns.message.make_query(f"{name}.default.svc.cluster.local", "A", **options)  # type: ignore[arg-type]
    wire = SERVER.reply(query.to_wire(), client, limit)
    assert wire is not None
    return dns.message.from_wire(wire)


def addresses(message: dns.message.Message) -> list[str]:
    return [str(item) for rrset in message.answer for item in rrset]


def test_the_answer_depends_on_who_asks() -> None:
    assert addresses(ask("web")) == ["10.96.1.0"]
    assert sorted(addresses(ask("web", client="10.77.1.8"))) == ["10.77.0.0", "10.77.0.1"]


def test_several_addresses_come_in_changing_order() -> None:
    assert len({addresses(ask("web", client="10.77.1.8"))[0] for _ in range(60)}) == 2


def test_what_is_too_long_for_udp_is_cut_and_whole_over_tcp() -> None:
    cut = ask("many")
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    assert len(addresses(ask("many", limit=None))) == 100


def test_a_name_that_is_not_there() -> None:
    assert ask("absent").rcode() == dns.rcode.NXDOMAIN


def test_what_is_no_question_gets_no_answer() -> None:
    assert SERVER.reply(b"nonsense", "10.77.1.9", 512) is None
    answer = dns.message.make_response(dns.message.make_query("a.", "A"))
    assert SERVER.reply(answer.to_wire(), "10.77.1.9", 512) is None
