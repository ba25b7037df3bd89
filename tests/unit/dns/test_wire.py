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
from tidegate.model.plan.names import HostNames, NamedPort, NamedServer

V4, V4_TOO = ip_address("10.96.0.7"), ip_address("10.96.0.9")
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
    answers = Answers(known, random.random)
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


def replied(message: bytes, answer: KnownName, *, udp: bool = True) -> bytes:
    made = wire.reply(message, answer, udp=udp)
    assert made is not None
    said = made.to(message, 0.0)
    assert len(said) == len(made)
    return said


def test_an_answer_fits_its_question() -> None:
    message = asking("ReViews.Default.svc.cluster.local")
    said = read(replied(message, KnownName((V4,))))
    assert said.id == dns.message.from_wire(message).id
    assert said.question == dns.message.from_wire(message).question
    assert said.rcode() == dns.rcode.NOERROR
    assert said.flags & (dns.flags.QR | dns.flags.AA | dns.flags.RA) == dns.flags.QR | dns.flags.AA | dns.flags.RA
    assert [r.to_text() for r in said.answer[0]] == [str(V4)]
    assert said.answer[0].name.to_text() == "ReViews.Default.svc.cluster.local.", "the asker's own spelling (0x20)"


def test_a_name_of_a_search_list_is_an_alias() -> None:
    said = read(replied(asking(f"{HOST}.svc.cluster.local"), KnownName((V4, V4_TOO), canonical=HOST)))
    assert [(r.name.to_text(), dns.rdatatype.to_text(r.rdtype)) for r in said.answer] == [
        (f"{HOST}.svc.cluster.local.", "CNAME"),
        (f"{HOST}.", "A"),
    ]
    assert {r.to_text() for r in said.answer[1]} == {str(V4), str(V4_TOO)}


def test_srv_has_the_addresses_with_it() -> None:
    target = f"db-0.{HOST}"
    answer = KnownName(services=(ServedAt(target, 5432),), further=((target, (V4, ip_address("fd00::1"))),))
    said = read(replied(asking(f"_sql._tcp.{HOST}", "SRV"), answer))
    assert said.answer[0][0].to_text() == f"0 100 5432 {target}."
    assert {dns.rdatatype.to_text(r.rdtype) for r in said.additional} == {"A", "AAAA"}


@pytest.mark.parametrize(("payload", "most"), [(None, 512), (600, 600), (4096, 1232)])
def test_what_is_too_long_for_udp_is_asked_again_over_tcp(payload: int | None, most: int) -> None:
    message = asking(use_edns=payload is not None, payload=payload)
    cut = replied(message, KnownName(MANY))
    assert len(cut) <= most
    assert read(cut).flags & dns.flags.TC
    whole = read(replied(message, KnownName(MANY), udp=False))
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == len(MANY)


@pytest.mark.parametrize("how", [{"use_edns": False}, {"use_edns": True}, {"use_edns": True, "pad": 128}])
def test_as_many_as_fit_are_told_over_udp_to_the_last_byte(how: dict[str, object]) -> None:
    """Not a byte more than the asker takes, whatever EDNS adds, for names of every length; with one server more it is
    asked again over TCP."""
    most = 1232 if how["use_edns"] else 512
    for longer in range(16):
        message = dns.message.make_query("x" * longer + HOST, "A", **how).to_wire()  # type: ignore[arg-type]
        for number in range((most - 150) // 16, len(MANY)):
            said = replied(message, KnownName(MANY[:number]))
            assert len(said) <= most
            if read(said).flags & dns.flags.TC:
                break
            assert len(read(said).answer[0]) == number
        assert most - 100 < 16 * number < most


@pytest.mark.parametrize("edns", [False, True])
def test_addresses_that_nobody_asked_for_do_not_make_an_answer_too_long(edns: bool) -> None:
    targets = [f"db-{number}.{HOST}" for number in range(5)]
    answer = KnownName(
        services=tuple(ServedAt(target, 5432) for target in targets),
        further=tuple((target, MANY[:20]) for target in targets),
    )
    message = asking(f"_sql._tcp.{HOST}", "SRV", use_edns=edns)
    said = replied(message, answer)
    assert len(said) <= (1232 if edns else 512)
    assert not read(said).flags & dns.flags.TC
    assert {record.target.to_text() for record in read(said).answer[0]} == {f"{target}." for target in targets}
    assert (read(said).edns == 0) is edns


def test_a_failure_is_told_to_who_asked() -> None:
    assert read(wire.failure(asking())).rcode() == dns.rcode.SERVFAIL
    assert wire.failure(b"x" * 40) is None


def test_what_was_asked_before_has_the_new_askers_number() -> None:
    known = NameTable()
    known.put(HostNames(HOST, (V4,)))
    answers = Answers(known, random.random)
    for number in (1, 2, 3):
        message = number.to_bytes(2) + asking()[2:]
        assert read(answers.of(message, "default", udp=True)).id == number
    known.put(HostNames(HOST, (ip_address("10.96.0.8"),)))
    answers.changed()
    assert read(answers.of(asking(), "default", udp=True)).answer[0][0].to_text() == "10.96.0.8"


def first_of(answer: bytes | None) -> str:
    return str(next(iter(read(answer).answer[-1])).to_text())


@pytest.mark.parametrize("kind", ["A", "SRV"])
@pytest.mark.parametrize("edns", [False, True])
def test_several_servers_take_turns_and_are_made_an_answer_of_once(kind: str, edns: bool) -> None:
    ports = (NamedPort("sql", "tcp", 5432),)
    servers = tuple(NamedServer(f"s-{10**n}", (ip,), ports) for n, ip in enumerate(MANY[:5]))
    table = Once()
    table.put(HostNames(HOST, servers=servers))
    answers = Answers(table, random.random)
    name = HOST if kind == "A" else f"_sql._tcp.{HOST}"
    message = asking(name, kind, use_edns=edns)
    said = [answers.of(message, "default", udp=True) for _ in range(400)]
    everyone = {r.to_text() for r in read(said[0]).answer[0]}
    assert len(everyone) == 5
    assert all({r.to_text() for r in read(answer).answer[0]} == everyone for answer in said)
    assert all(read(answer).additional == read(said[0]).additional for answer in said)
    assert {first_of(answer) for answer in said} == everyone
    assert table.asked == 1


class Once(NameTable):
    """Counts how often somebody had to look."""

    asked = 0

    def answer(self, name: str, kind: int, namespace: str) -> KnownName | None:
        self.asked += 1
        return super().answer(name, kind, namespace)


def test_what_is_remembered_is_bounded() -> None:
    answers = Answers(NameTable(), random.random)
    question, label = asking()[:12], 0
    before = -1
    while answers._size > before:  # until it began anew
        before, label = answers._size, label + 1
        assert answers.of(question + b"\4" + f"{label:04x}".encode() + b"\0\0\1\0\1", "default", udp=True) is None
    assert before < REMEMBERED * 1.01
    assert len(answers._known) == 1


def test_a_long_question_is_answered_and_not_remembered() -> None:
    """A pod cannot have the process keep megabytes by what it adds to questions."""
    known = NameTable()
    known.put(HostNames(HOST, (V4,)))
    answers = Answers(known, random.random)
    padded = dns.message.make_query(HOST, "A", use_edns=True, pad=4096).to_wire(max_size=65535)
    assert read(answers.of(padded, "default", udp=False)).answer
    assert not answers._known


def test_types_are_numbered_as_the_library_numbers_them() -> None:
    for kind in RecordType:
        assert int(dns.rdatatype.from_text(kind.name)) == int(kind)
