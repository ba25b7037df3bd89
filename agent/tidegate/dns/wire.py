"""DNS messages (RFC 1035): questions that may be ours are read here, and answered. The only door to dnspython. Pure.

Whatever cannot be read is not answered: the resolver is asked, unchanged, and says what it thinks of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from tidegate.dns.names import KnownName, RecordType

HEADER = 12  # bytes (RFC 1035 4.1.1)
NAME_MAX, LABEL_MAX = 255, 63  # bytes of a name on the wire, and of a part of it (2.3.4)
UDP_MAX = 512  # of an answer over UDP to who does not say otherwise
UDP_EDNS_MAX = 1232  # to who does: what passes every path in one piece
TCP_MAX = 65535
_ID = 2  # bytes of the asker's number, before all else
_ANSWERS, _ADDITIONAL = slice(6, 8), slice(10, 12)  # how many records of these are in a message
_ASKED = 4  # bytes of a question behind its name
_INTERNET = 1  # class
_TYPE = {4: RecordType.A, 6: RecordType.AAAA}


@dataclass(frozen=True, slots=True)
class Question:
    """A question of one name. name: in lower case, without its last dot; "" is the root."""

    name: str
    kind: int


def question(message: bytes) -> Question | None:
    """What a message asks, if it is one plain question; None for anything else. Bounded by a name's length.

    Read by hand because each datagram of a pod comes here, and most of them are handed on: the library, which reads
    whole messages, takes fifty times as long. tests/unit/dns compare the two.
    """
    if len(message) < HEADER + 5 or message[2] & 0xF8 or message[4:8] != b"\0\1\0\0":
        return None  # an answer, another operation, or not one question
    at, labels = HEADER, []
    while True:
        if at >= len(message):
            return None
        length = message[at]
        at += 1
        if not length:
            break
        label = message[at : at + length]
        at += length
        if length > LABEL_MAX or len(label) < length or at - HEADER >= NAME_MAX or b"." in label or not label.isascii():
            return None
        labels.append(label)
    if len(message) < at + 4 or message[at + 2 : at + 4] != _INTERNET.to_bytes(2):
        return None
    return Question(b".".join(labels).decode("ascii").lower(), int.from_bytes(message[at : at + 2]))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to all who ask with the same bytes, but for the asker's number. Any of its records may be first."""

    before: bytes  # the records, all but the number
    records: bytes = b""
    after: bytes = b""
    starts: Sequence[int] = (0,)  # where in `records` one begins

    def __len__(self) -> int:
        return _ID + len(self.before) + len(self.records) + len(self.after)

    def to(self, message: bytes, chance: float) -> bytes:
        """The answer to this message. chance: in [0, 1), says which record is the first: so clients that take the first
        are spread over all servers, also when each of them asks once."""
        at = self.starts[int(chance * len(self.starts))]
        return b"".join((message[:_ID], self.before, self.records[at:], self.records[:at], self.after))


def reply(message: bytes, answer: KnownName, *, udp: bool) -> Reply | None:
    """The answer to a question; None if the library cannot read it. What over UDP is longer than the asker takes is
    left out, with the mark that says so; addresses that nobody asked for are left out without (RFC 2181 9)."""
    try:
        asked = dns.message.from_wire(message)
        response = dns.message.make_response(asked, recursion_available=True, pad=0)
        response.flags |= dns.flags.AA
        limit = min(max(asked.payload, UDP_MAX), UDP_EDNS_MAX) if asked.edns >= 0 else UDP_MAX
        made = _filled(response, answer, limit if udp else TCP_MAX)
        if made is None:
            response.flags |= dns.flags.TC
            made = Reply(response.to_wire()[_ID:])
        return made
    except (dns.exception.DNSException, ValueError):
        return None


def failure(message: bytes) -> bytes | None:
    """SERVFAIL to a question whose resolver cannot be reached: its asker goes to the next one at once instead of after
    seconds. None if it is no question."""
    if question(message) is None:
        return None
    try:
        response = dns.message.make_response(dns.message.from_wire(message), recursion_available=True)
    except (dns.exception.DNSException, ValueError):
        return None
    response.set_rcode(dns.rcode.SERVFAIL)
    return response.to_wire()


def _filled(response: dns.message.Message, answer: KnownName, limit: int) -> Reply | None:
    """A response that has only a question, with records; None if they are longer than limit with all the rest.

    By hand because a name may have a thousand servers, and who asks for it would hold up all others for as long as the
    library takes; tests/unit/dns have the library read it.
    """
    bare = bytearray(response.to_wire())
    begin = HEADER + len(response.question[0].name.to_wire() or b"") + _ASKED
    owner, alias = HEADER, b""  # where the name is that the records belong to
    if answer.canonical:
        target = _name(answer.canonical)
        alias = _record(_at(owner), answer.ttl, RecordType.CNAME, target)
        owner = begin + len(alias) - len(target)
    records = [_record(_at(owner), answer.ttl, *content) for content in _contents(answer)]
    size = len(bare) + len(alias) + sum(map(len, records))
    if size > limit:
        return None
    further = [
        _record(_name(name), answer.ttl, _TYPE[ip.version], ip.packed) for name, ips in answer.further for ip in ips
    ]
    if size + sum(map(len, further)) > limit:
        further = []
    bare[_ANSWERS] = (len(records) + bool(alias)).to_bytes(2)
    bare[_ADDITIONAL] = (int.from_bytes(bare[_ADDITIONAL]) + len(further)).to_bytes(2)
    before, edns = bytes(bare[_ID:begin]), bytes(bare[begin:])
    return Reply(before + alias, b"".join(records), b"".join((*further, edns)), _starts(records))


def _starts(records: Sequence[bytes]) -> Sequence[int]:
    """Where each record begins, and at least one beginning; addresses, which may be many, take no room for it."""
    sizes = {len(record) for record in records}
    if len(sizes) == 1:
        return range(0, len(records) * sizes.pop(), len(records[0]))
    return tuple(accumulate(map(len, records[:-1]), initial=0))


def _contents(answer: KnownName) -> Iterator[tuple[RecordType, bytes]]:
    """Of the records that were asked for."""
    for ip in answer.addresses:
        yield _TYPE[ip.version], ip.packed
    weight = 100 // len(answer.services) if answer.services else 0
    for service in answer.services:
        numbers = (n.to_bytes(2) for n in (0, weight, service.port))  # the first: nobody is preferred
        yield RecordType.SRV, b"".join((*numbers, _name(service.target)))


def _at(offset: int) -> bytes:
    """A name that stands elsewhere in the message (4.1.4)."""
    return (0xC000 | offset).to_bytes(2)


def _record(owner: bytes, ttl: int, kind: RecordType, content: bytes) -> bytes:
    return b"".join(
        (owner, kind.to_bytes(2), _INTERNET.to_bytes(2), ttl.to_bytes(4), len(content).to_bytes(2), content)
    )


def _name(name: str) -> bytes:
    """A complete name, written out: that in an SRV record is not to be compressed (RFC 2782). Raises ValueError."""
    labels = name.encode("ascii").split(b".")
    if not all(0 < len(label) <= LABEL_MAX for label in labels):
        raise ValueError(f"{name!r} is no name")
    return b"".join((*(bytes((len(label),)) + label for label in labels), b"\0"))
