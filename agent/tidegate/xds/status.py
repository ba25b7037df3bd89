"""What `tidegate status` says about configuration in Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.model.origin import Origin
from tidegate.xds.encode import Rejection


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type of resource on the newest stream."""

    published: int  # resources in the newest generation
    held: int  # resources that the client confirmed
    sent: str  # nonce of the newest response, "" = none yet
    acked: bool  # every response was answered


@dataclass(frozen=True, slots=True)
class XdsStatus:
    connected: bool
    node: str  # id that the client gave, "" = never connected
    published: int  # newest generation
    applied: int  # newest generation of which the client answered every part
    types: Mapping[str, TypeStatus] = field(default_factory=dict)
    nacks: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientRefusal:
    """What a client that is not ours does not take, as it says."""

    client: str
    kind: str
    name: str
    detail: str
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class OthersStatus:
    """Clients that are not ours. They are who they say that they are, so nothing here is the server's own health."""

    listening: tuple[str, ...] = ()
    generation: int = 0
    flavours: Mapping[str, int] = field(default_factory=dict)  # how many clients of each
    streams: int = 0
    synced: int = 0  # clients that have everything that they asked for
    refused: tuple[ClientRefusal, ...] = ()  # the first of them
    refusals: int = 0  # how many there are
    left_out: tuple[tuple[str, str, str], ...] = ()  # patches of EnvoyFilters, why, from where
