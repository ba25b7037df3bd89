"""What the agent and the node's DNS say to each other over a unix stream socket: JSON behind its length in four bytes.

Agent: {"n": NUMBER, "do": WHAT, ...}; "pod" comes with the descriptor of the pod's netns. DNS: {"n": NUMBER, "error":
TEXT, "counts": QuestionCounts}, in any order. The two are always of one version: the agent starts it, and it ends with
the agent's connection.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from tidegate.model.net import parse_ip
from tidegate.model.plan.names import HostNames, NamedPort, NamedServer

BEAT, NAMES, POD, DROP, KEEP = "beat", "names", "pod", "drop", "keep"
FRAME_MAX = 64 * 1024 * 1024
HOSTS_AT_ONCE = 100  # of one message: questions have their turn in between
_LENGTH = 4

ControlMessage = Mapping[str, Any]


def frame(message: ControlMessage) -> bytes:
    """A message as it goes over the socket."""
    content = json.dumps(message, separators=(",", ":")).encode()
    return len(content).to_bytes(_LENGTH) + content


class Incoming:
    """Takes a socket's bytes and descriptors apart."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._fds: list[int] = []

    def read(self, sock: socket.socket) -> Iterator[dict[str, Any]]:
        """Messages that have arrived. Raises EOFError when the other side has closed, OSError, ValueError for what is
        no message."""
        content, fds, _, _ = socket.recv_fds(sock, 1 << 16, 16, socket.MSG_CMSG_CLOEXEC)
        self._fds += fds
        if not content:
            raise EOFError
        self._bytes += content
        while len(self._bytes) >= _LENGTH:
            length = int.from_bytes(self._bytes[:_LENGTH])
            if length > FRAME_MAX:
                raise ValueError(f"a message of {length} bytes")
            if len(self._bytes) < _LENGTH + length:
                return
            message = json.loads(bytes(self._bytes[_LENGTH : _LENGTH + length]))
            del self._bytes[: _LENGTH + length]
            yield message

    def take_fd(self) -> int:
        """The next descriptor that came, now the caller's. ValueError if there is none."""
        if not self._fds:
            raise ValueError("a message came without its descriptor")
        return self._fds.pop(0)

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def encode_names(host: HostNames) -> list[Any]:
    """A host as JSON has it."""
    return [
        host.host,
        [str(ip) for ip in host.addresses],
        [[s.label, [str(ip) for ip in s.addresses], _encode_ports(s.ports)] for s in host.servers],
        _encode_ports(host.ports),
        sorted(host.visible),
    ]


def decode_names(raw: list[Any]) -> HostNames:
    """Inverse of encode_names."""
    host, addresses, servers, ports, visible = raw
    return HostNames(
        host,
        tuple(map(parse_ip, addresses)),
        tuple(NamedServer(label, tuple(map(parse_ip, ips)), _decode_ports(own)) for label, ips, own in servers),
        _decode_ports(ports),
        frozenset(visible),
    )


def _encode_ports(ports: tuple[NamedPort, ...]) -> list[list[str | int]]:
    return [[p.name, p.protocol, p.number] for p in ports]


def _decode_ports(raw: list[Any]) -> tuple[NamedPort, ...]:
    return tuple(NamedPort(name, protocol, number) for name, protocol, number in raw)
