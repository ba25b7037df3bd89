"""Messages: read as the library reads them, answered so that it understands the answer, never a crash."""

from __future__ import annotations

import random
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from tidegate.dns import wire
from tidegate.dns.answers import REMEMBERED, Answers
from tidegate.dns.names import KnownName, NameTable, RecordType, ServedAt
from tidegate.model.plan.names import HostNames, Server

V4 = ip_address("10.96.0.7")
MANY = tuple(ip_address(f"10.244.{n // 250}.{n % 250 + 1}") for n in range(600))
HOST = "reviews.default.svc.cluster.local"


def asking(name: str = HOST, kind: str = "A", **how: object) -> bytes:
    return dns.message.make_query(name, kind, **how).to_wire()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [HOST, "A.Very.MIXED.Name", "x", "."])
@pytest.mark.parametrize("kind", ["A", "AAAA", "SRV", "TXT", "HTTPS", "ANY"])
@pytest.mark.parametrize("edns", [False, True])
def test_a_question_is_read_as_the_library_reads_it(name: str, kind: str, edns: bool) -> None:
    message = asking(name, kind, use_edns=edns)
    theirs = dns.message.from_wire(message).question[0]
    assert wire.question(message) == wire.Question(theirs.name.to_text().lower().rstrip("."), theirs.rdtype)


def test_whatever_is_no_plain_question_is_not_ours() -> None:
    plain = asking()
    update = dns.message.make_response(dns.message.from_wire(plain)).to_wire()
    two = plain[:4] + b"\0\2" + plain[6:] + plain[12:]
    chaos = dns.message.make_query("version.bind", "TXT", "CH").to_wire()
    pointer = plain[:12] + b"\xc0\x0c" + plain[-4:]
    for message in (b"", plain[:5], plain[:12], plain[:-1], update, two, chaos, pointer, plain[:4] + bytes(8)):
        assert wire.question(message) is None


def test_a_dot_inside_a_label_is_not_taken_for_two_labels() -> None:
    label = b"reviews.default"
    message = asking()[:12] + bytes([len(label)]) + label + b"\3svc\7cluster\5local\0\0\1\0\1"
    assert wire.question(message) is None


@pytest.mark.parametrize("seed", range(20))
def test_garbage_never_raises(seed: int) -> None:
    """Cut, turned and lengthened questions, as a hostile pod may send them."""
    chance = random.Random(seed)
    known = NameTable()
    known.put(HostNames(HOST, (V4,)))
    known.put(HostNames("*.local", (V4,)))
    answers = Answers(known)
    plain = [
        asking(),
        asking(kind="SRV", use_edns=True, want_dnssec=True),
        asking(f"x.{HOST}.default.svc.cluster.local"),
    ]
    for _ in range(500):
        message = bytearray(chance.choice(plain))
        for _ in range(chance.randrange(6)):
            message[chance.randrange(len(message))] = chance.randrange(256)
        cut = bytes(message[: chance.randrange(len(message) + 1)]) + chance.randbytes(chance.choice((0, 0, 3, 40)))
        for udp in (True, False):
            answer = answers.of(cut, "default", udp=udp)
            assert answer is None or answer[:2] == cut[:2]
        wire.failure(cut)


def read(answer: bytes | None) -> dns.message.Message:
    assert answer is not None
    return dns.message.from_wire(answer)


def test_an_answer_fits_its_question() -> None:
    message = asking("ReViews.Default.svc.cluster.local")
    said = read(wire.reply(message, KnownName((V4,)), udp=True))
    assert said.id == dns.message.from_wire(message).id
    assert said.question == dns.message.from_wire(message).question
    assert said.rcode() == dns.rcode.NOERROR
    assert said.flags & (dns.flags.QR | dns.flags.AA | dns.flags.RA) == dns.flags.QR | dns.flags.AA | dns.flags.RA
    assert [r.to_text() for r in said.answer[0]] == [str(V4)]
    assert said.answer[0].name.to_text() == "ReViews.Default.svc.cluster.local.", "the asker's own spelling (0x20)"


def test_a_name_of_a_search_list_is_an_alias() -> None:
    said = read(wire.reply(asking(f"{HOST}.svc.cluster.local"), KnownName((V4,), canonical=HOST), udp=True))
    assert [(r.name.to_text(), dns.rdatatype.to_text(r.rdtype)) for r in said.answer] == [
        (f"{HOST}.svc.cluster.local.", "CNAME"),
        (f"{HOST}.", "A"),
    ]


def test_srv_has_the_addresses_with_it() -> None:
    target = f"db-0.{HOST}"
    answer = KnownName(services=(ServedAt(target, 5432),), further=((target, (V4, ip_address("fd00::1"))),))
    said = read(wire.reply(asking(f"_sql._tcp.{HOST}", "SRV"), answer, udp=True))
    assert said.answer[0][0].to_text() == f"0 100 5432 {target}."
    assert {dns.rdatatype.to_text(r.rdtype) for r in said.additional} == {"A", "AAAA"}


@pytest.mark.parametrize(("payload", "most"), [(None, 512), (600, 600), (4096, 1232)])
def test_what_is_too_long_for_udp_is_asked_again_over_tcp(payload: int | None, most: int) -> None:
    message = asking(use_edns=payload is not None, payload=payload)
    cut = wire.reply(message, KnownName(MANY), udp=True)
    assert cut is not None
    assert len(cut) <= most
    assert read(cut).flags & dns.flags.TC
    whole = read(wire.reply(message, KnownName(MANY), udp=False))
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == len(MANY)


def test_a_failure_is_told_to_who_asked() -> None:
    assert read(wire.failure(asking())).rcode() == dns.rcode.SERVFAIL
    assert wire.failure(b"x" * 40) is None


def test_what_was_asked_before_has_the_new_askers_number() -> None:
    known = NameTable()
    known.put(HostNames(HOST, (V4,)))
    answers = Answers(known)
    for number in (1, 2, 3):
        message = number.to_bytes(2) + asking()[2:]
        assert read(answers.of(message, "default", udp=True)).id == number
    known.put(HostNames(HOST, (ip_address("10.96.0.8"),)))
    answers.changed()
    assert read(answers.of(asking(), "default", udp=True)).answer[0][0].to_text() == "10.96.0.8"


def test_several_servers_take_turns() -> None:
    known = NameTable()
    known.put(HostNames(HOST, servers=tuple(Server(f"s-{n}", (ip,)) for n, ip in enumerate(MANY[:5]))))
    answers, message = Answers(known), asking()
    firsts = {read(answers.of(message, "default", udp=True)).answer[0][0].to_text() for _ in range(400)}
    assert firsts == {str(ip) for ip in MANY[:5]}


def test_what_is_remembered_is_bounded() -> None:
    answers = Answers(NameTable())
    for number in range(REMEMBERED + 10):
        assert answers.of(asking()[:12] + b"\4" + f"{number:04x}".encode() + b"\0\0\1\0\1", "default", udp=True) is None
    assert len(answers._known) <= REMEMBERED


def test_types_are_numbered_as_the_library_numbers_them() -> None:
    for kind in RecordType:
        assert int(dns.rdatatype.from_text(kind.name)) == int(kind)
