"""Cluster DNS on every node, UDP and TCP, on the address in the pods' resolv.conf. Only this file knows dnspython."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset

from tidegate.model.net import IPAddress, parse_ip
from tidegate_lab import addresses
from tidegate_lab.dns_zone import Code, DnsAnswer, Record, Zone
from tidegate_lab.node import LabNode
from tidegate_lab.outside import answer_outside, hosts_file

log = logging.getLogger(__name__)

PORT = 53
TTL = 5  # seconds: pods come and go
_UDP_BYTES = 512  # without EDNS (RFC 1035 4.2.1)
_UDP_BYTES_MOST = 1232  # with it: what passes every path unfragmented
_TCP_IDLE = 10.0  # seconds


class DnsServer:
    """Answers from zone(); captured(client) says whether that address is a pod whose connections are captured."""

    def __init__(self, zone: Callable[[], Zone], captured: Callable[[IPAddress], bool]) -> None:
        self._zone = zone
        self._captured = captured
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []

    async def start(self, node: LabNode) -> None:
        """Listen on that node. Raises OSError."""
        for address in (addresses.DNS4, addresses.DNS6):
            udp, tcp = await node.inside.run(lambda address=address: sockets(address))  # type: ignore[misc]
            await self.listen(udp, tcp)

    async def listen(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer on these, too (sockets())."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self.reply), sock=udp)
        self._transports.append(transport)
        self._servers.append(await asyncio.start_server(self._session, sock=tcp))

    def stop(self) -> None:
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()

    def reply(self, query: bytes, client: str, limit: int | None) -> bytes | None:
        """The answer to one message; None to what is no question. limit None: over TCP, where there is none."""
        try:
            question = dns.message.from_wire(query)
            if question.flags & dns.flags.QR:
                return None
            response = dns.message.make_response(question, recursion_available=True)
        except (dns.exception.DNSException, ValueError):
            return None
        if question.opcode() != dns.opcode.QUERY or len(question.question) != 1:
            response.set_rcode(dns.rcode.NOTIMP)
        else:
            asked = question.question[0]
            name, kind = asked.name, dns.rdatatype.to_text(asked.rdtype)
            captured = self._captured(parse_ip(client.partition("%")[0]))
            answer = self._zone().answer(name.to_text(), kind, captured)
            if answer.code is Code.NXDOMAIN:
                answer = answer_outside(hosts_file(), name.to_text(), kind)
            _fill(response, name, answer)
        if limit is not None and question.edns >= 0:
            limit = max(limit, min(question.payload, _UDP_BYTES_MOST))
        try:
            return response.to_wire(max_size=limit or 65535)
        except dns.exception.TooBig:
            cut = dns.message.make_response(question, recursion_available=True)
            cut.flags |= dns.flags.TC
            return cut.to_wire()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """DNS over TCP: each message behind its length in two bytes (RFC 1035 4.2.2)."""
        client = str(writer.get_extra_info("peername")[0])
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    size = int.from_bytes(await reader.readexactly(2))
                    query = await reader.readexactly(size)
                answer = self.reply(query, client, None)
                if answer is None:
                    return
                writer.write(len(answer).to_bytes(2) + answer)
                await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass  # the client is done
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, reply: Callable[[bytes, str, int | None], bytes | None]) -> None:
        self._reply = reply
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # what asyncio gives is no subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._reply(data, addr[0], _UDP_BYTES)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("DNS client went away: %s", exc)


def sockets(address: IPAddress) -> tuple[socket.socket, socket.socket]:
    """The UDP and the listening TCP socket of a DNS server; call inside the namespace that has the address.

    Raises OSError.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made: list[socket.socket] = []
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
            made.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((str(address), PORT))
        made[1].listen(128)
    except OSError:
        for sock in made:
            sock.close()
        raise
    return made[0], made[1]


def _fill(response: dns.message.Message, name: dns.name.Name, answer: DnsAnswer) -> None:
    """Put the records into the answer section; dnspython shuffles those of one name when it writes them."""
    response.flags |= dns.flags.AA
    response.set_rcode(dns.rcode.Rcode(int(answer.code)))
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in answer.records:
        groups.setdefault((record.name, record.type), []).append(record)
    for (owner, kind), records in groups.items():
        shown = name if owner == answer.records[0].name else dns.name.from_text(owner)
        values = [f"{r.value}." if kind in ("CNAME", "PTR") else r.value for r in records]
        response.answer.append(dns.rrset.from_text_list(shown, TTL, "IN", kind, values))
