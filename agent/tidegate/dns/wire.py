"""DNS messages (RFC 1035): questions that may be ours are read here, and answered. The only door to dnspython. Pure.

Whatever cannot be read is not answered: the resolver is asked, unchanged, and says what it thinks of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tidegate.dns.names import KnownName, RecordType
from tidegate.model.net import IPAddress

HEADER = 12  # bytes (RFC 1035 4.1.1)
NAME_MAX = 255  # bytes of a name on the wire (2.3.4)
UDP_MAX = 512  # of an answer over UDP to who does not say otherwise
UDP_EDNS_MAX = 1232  # to who does: what passes every path in one piece
TCP_MAX = 65535
_INTERNET = 1  # class


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
        if length > 63 or len(label) < length or at - HEADER >= NAME_MAX or b"." in label or not label.isascii():
            return None
        labels.append(label)
    if len(message) < at + 4 or message[at + 2 : at + 4] != _INTERNET.to_bytes(2):
        return None
    return Question(b".".join(labels).decode("ascii").lower(), int.from_bytes(message[at : at + 2]))


def reply(message: bytes, answer: KnownName, *, udp: bool) -> bytes | None:
    """The message that answers a question; None if the library cannot read it. Over UDP it is cut to what the asker
    takes, with the mark that says so."""
    try:
        asked = dns.message.from_wire(message)
        response = dns.message.make_response(asked, recursion_available=True)
        response.flags |= dns.flags.AA
        _fill(response, asked.question[0].name, answer)
        limit = min(max(asked.payload, UDP_MAX), UDP_EDNS_MAX) if asked.edns >= 0 else UDP_MAX
        return _within(response, asked, limit if udp else TCP_MAX)
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


def _within(response: dns.message.Message, asked: dns.message.Message, limit: int) -> bytes:
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        cut = dns.message.make_response(asked, recursion_available=True)
        cut.flags |= dns.flags.AA | dns.flags.TC
        return cut.to_wire()


def _fill(response: dns.message.Message, asked: dns.name.Name, answer: KnownName) -> None:
    owner = asked
    if answer.canonical:
        owner = _name(answer.canonical)
        response.answer.append(dns.rrset.from_rdata(asked, answer.ttl, _read("CNAME", owner.to_text())))
    if answer.addresses:
        response.answer.append(_address_set(owner, answer.addresses, answer.ttl))
    if answer.services:
        found = [_read("SRV", f"0 {100 // len(answer.services)} {s.port} {s.target}.") for s in answer.services]
        response.answer.append(dns.rrset.from_rdata_list(owner, answer.ttl, found))
    for target, addresses in answer.further:
        for version in (4, 6):
            if of_version := tuple(ip for ip in addresses if ip.version == version):
                response.additional.append(_address_set(_name(target), of_version, answer.ttl))


def _address_set(owner: dns.name.Name, addresses: tuple[IPAddress, ...], ttl: int) -> dns.rrset.RRset:
    """Addresses of one family; the library writes them in an order of chance, so that clients are spread."""
    kind = RecordType.A.name if addresses[0].version == 4 else RecordType.AAAA.name
    return dns.rrset.from_rdata_list(owner, ttl, [_read(kind, str(ip)) for ip in addresses])


def _read(kind: str, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind), text)


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(f"{text}.")
