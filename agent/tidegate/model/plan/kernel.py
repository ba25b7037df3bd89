"""Rows of the kernel's tables."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model.net import IPAddress
from tidegate.model.tier import Tier


@dataclass(frozen=True, slots=True)
class Destination:
    """A row of kernel map tg_dests. port 0 = any port of the address."""

    address: IPAddress
    port: int
    tier: Tier
    service: int  # number of the service (Plan.services), 0 = none
