"""What each version of the layouts changed, map by map: how rows of the version before become rows of this one.

Rows are raw bytes as include/tg_abi.h lays them out. A version is declared here even if it changed no row. Connection
state (tg_flows, tg_socks) is never rewritten: hooks write it all the time, and what a socket stores cannot be read from
outside. Its rows may get meaning in their pads, 0 being "as before"; a layout that does not fit is a new map of another
name, which the programs write, while they still read the old one for connections of before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate.model.plan.kernel import L4Protocol


def _same(raw: bytes) -> bytes:
    return raw


@dataclass(frozen=True, slots=True)
class Step:
    """Key and value of the version before -> key and value of this one."""

    key: Callable[[bytes], bytes] = _same
    value: Callable[[bytes], bytes] = _same


STEPS: dict[int, Mapping[str, Step]] = {
    2: {"tg_dests": Step(key=lambda raw: raw[:18] + L4Protocol.TCP.to_bytes(2, sys.byteorder))},
    3: {},  # TG_TIER_REFUSE: a row of a tier that programs before do not know
    4: {},  # tg_pods: flag REGISTRY_ONLY, scope where a pad was; tg_dests: scope where a protocol had its upper byte
    5: {},  # tg_ranges, tg_inbound; tg_flows: flag RANGE
    6: {},  # tg_guards, tg_guarded, tg_callers, tg_called; tg_settings: node_netns
}
