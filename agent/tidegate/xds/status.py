"""What `tidegate status` says about configuration in Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
