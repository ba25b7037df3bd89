"""Names that the node's DNS answers for enrolled pods."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model.net import IPAddress

EVERYBODY: frozenset[str] = frozenset()
VIEW = "|"  # between the namespace of pods that see the same and what it is that they see


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A port that has a name: what SRV questions ask for (RFC 2782)."""

    name: str
    protocol: str  # tcp or udp
    number: int


@dataclass(frozen=True, slots=True)
class NamedServer:
    """A server behind a headless service, which has a name of its own below it."""

    label: str  # hostname, or the address with dashes for dots and colons
    addresses: tuple[IPAddress, ...]
    ports: tuple[NamedPort, ...] = ()


@dataclass(frozen=True, slots=True)
class HostNames:
    """A host of the registry.

    host: a complete name in lower case, without its last dot; "*.example.com" stands for every name below. addresses:
    what it resolves to; none for a headless service, which resolves to its servers'.
    """

    host: str
    addresses: tuple[IPAddress, ...] = ()
    servers: tuple[NamedServer, ...] = ()
    ports: tuple[NamedPort, ...] = ()
    visible: frozenset[str] = EVERYBODY  # names of those that may know it (Source.name); empty = everybody
