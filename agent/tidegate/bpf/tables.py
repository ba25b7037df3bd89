"""Reading and writing the pinned maps. Methods raise OSError with the table's name when the kernel refuses."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from socket import ntohs
from typing import Any, TypeVar

from tidegate.bpf import records, walk
from tidegate.bpf.records import DestinationKey, FlowGroup, FlowKey, FlowRow, PodRow
from tidegate.model.plan.kernel import WHOLE, Destination, GuardRow, InboundPort
from tidegate.model.tier import Tier
from tidegate.native import REASONS, address_of, checked, ffi, lib

T = TypeVar("T")

BATCH = 1024  # rows of one system call


class Tables:
    """Open descriptors of every map of one datapath. One instance, one thread at a time."""

    def __init__(self, maps: Path) -> None:
        """Open the pins in directory maps."""
        self._fds: dict[str, int] = {}
        try:
            for name in (
                "tg_settings",
                "tg_pods",
                "tg_dests",
                "tg_ranges",
                "tg_inbound",
                "tg_guards",
                "tg_guarded",
                "tg_called",
                "tg_flows",
                "tg_wishes",
                "tg_counters",
            ):
                self._fds[name] = checked(lib.tgb_get(str(maps / name).encode()), str(maps / name))
        except OSError:
            self.close()
            raise

    @property
    def flows_fd(self) -> int:
        """Descriptor of tg_flows, for the fast path; valid until close()."""
        return self._fds["tg_flows"]

    @property
    def wishes_fd(self) -> int:
        """Descriptor of tg_wishes, likewise."""
        return self._fds["tg_wishes"]

    @property
    def called_fd(self) -> int:
        """Descriptor of tg_called, likewise; the fast path says there for whom it calls."""
        return self._fds["tg_called"]

    def close(self) -> None:
        """Close the descriptors; the maps live on in their pins."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    # --- settings -----------------------------------------------------------------------------------------------
    def write_settings(self, agent_cgroup: int, envoy_cgroup: int, node_netns: int = 0) -> None:
        """Tell the programs whose connections to leave alone (cgroup ids), and where the node's own processes are
        (netns cookie)."""
        settings = ffi.new(
            "struct tg_settings *",
            {
                "agent_cgroup": agent_cgroup,
                "envoy_cgroup": envoy_cgroup,
                "abi_version": lib.TG_ABI_VERSION,
                "node_netns": node_netns,
            },
        )
        self.put_settings(settings)

    def settings(self) -> Any:
        """What they are told just now, for put_settings()."""
        settings = ffi.new("struct tg_settings *")
        checked(lib.tgb_map_get(self._fds["tg_settings"], ffi.new("uint32_t *", 0), settings), "tg_settings")
        return settings

    def put_settings(self, settings: Any) -> None:
        self._set("tg_settings", ffi.new("uint32_t *", 0), settings)

    # --- pods ---------------------------------------------------------------------------------------------------
    def pods(self) -> dict[int, PodRow]:
        """Enrolled pods by netns cookie."""
        keys, values, count = self._rows("tg_pods", "struct tg_pod_key", "struct tg_pod", lib.TG_MAX_PODS)
        return {keys[i].netns_cookie: records.decode_pod(values[i]) for i in range(count)}

    def set_pod(self, cookie: int, row: PodRow) -> None:
        self._set("tg_pods", records.pod_key(cookie), records.encode_pod(row))

    def delete_pod(self, cookie: int) -> None:
        """No error if there is no such row."""
        self._delete("tg_pods", records.pod_key(cookie))

    # --- destinations -------------------------------------------------------------------------------------------
    def destinations(self) -> dict[DestinationKey, tuple[Tier, int]]:
        """Every row, of networks too: key -> (tier, service number)."""
        found: dict[DestinationKey, tuple[Tier, int]] = {}
        for table, key_type, limit, decode in (
            ("tg_dests", "struct tg_dest_key", lib.TG_MAX_DESTS, records.decode_destination_key),
            ("tg_ranges", "struct tg_range_key", lib.TG_MAX_RANGES, records.decode_range_key),
        ):
            keys, values, count = self._rows(table, key_type, "struct tg_dest", limit)
            found.update((decode(keys[i]), (Tier(values[i].tier), values[i].service)) for i in range(count))
        return found

    def set_destinations(self, rows: Iterable[Destination]) -> None:
        """Write rows, many in one system call. On OSError (E2BIG, ENOSPC: the table is full) those before the refused
        one stand."""
        for table, key_type, put, part in _by_table((row.bits, row) for row in rows):
            keys = ffi.new(f"{key_type}[]", len(part))
            values = ffi.new("struct tg_dest[]", len(part))
            for i, row in enumerate(part):
                put(keys[i], row.key)
                values[i].tier = row.tier
                values[i].service = row.service
            done = ffi.new("uint32_t *")
            checked(lib.tgb_map_set_batch(self._fds[table], keys, values, len(part), done), table)

    def delete_destinations(self, keys: Iterable[DestinationKey]) -> None:
        """Delete rows, many in one system call; one that is not there is fine."""
        for table, key_type, put, part in _by_table((key.bits, key) for key in keys):
            raw = ffi.new(f"{key_type}[]", len(part))
            for i, key in enumerate(part):
                put(raw[i], key)
            checked(lib.tgb_map_delete_batch(self._fds[table], raw, len(part)), table)

    # --- ports of pods at which Envoy stands -----------------------------------------------------------------
    def inbound(self) -> set[InboundPort]:
        """Every row."""
        keys, _, count = self._rows("tg_inbound", "struct tg_inbound_key", "struct tg_inbound", lib.TG_MAX_INBOUND)
        return {records.decode_inbound_key(keys[i]) for i in range(count)}

    def set_inbound(self, port: InboundPort) -> None:
        key = ffi.new("struct tg_inbound_key *")
        records.put_inbound_key(key, port)
        self._set("tg_inbound", key, ffi.new("struct tg_inbound *", {"tier": Tier.ENVOY}))

    def delete_inbound(self, port: InboundPort) -> None:
        """No error if there is no such row."""
        key = ffi.new("struct tg_inbound_key *")
        records.put_inbound_key(key, port)
        self._delete("tg_inbound", key)

    # --- pods that policies are for ------------------------------------------------------------------------------
    def guard_rows(self) -> set[GuardRow]:
        """Every row of tg_guards and tg_guarded."""
        limit = lib.TG_MAX_GUARDS
        keys, _, count = self._rows("tg_guards", "struct tg_guard_key", "struct tg_guard", limit)
        found = {GuardRow(keys[i].netns_cookie, ntohs(keys[i].port_be)) for i in range(count)}
        keys, values, count = self._rows("tg_guarded", "struct tg_guarded_key", "struct tg_guarded", limit)
        return found | {GuardRow(values[i].netns_cookie, 0, address_of(keys[i].addr)) for i in range(count)}

    def set_guard(self, row: GuardRow) -> None:
        if row.address is not None:
            key = ffi.new("struct tg_guarded_key *")
            records.put_guarded_key(key, row)
            self._set("tg_guarded", key, ffi.new("struct tg_guarded *", {"netns_cookie": row.netns_cookie}))
            return
        key = ffi.new("struct tg_guard_key *")
        records.put_guard_key(key, row)
        kind = lib.TG_GUARD_PROBED if row.port else lib.TG_GUARD_JUDGED
        self._set("tg_guards", key, ffi.new("struct tg_guard *", {"kind": kind}))

    def delete_guard(self, row: GuardRow) -> None:
        """No error if there is no such row; an address that is another pod's by now stays that pod's."""
        if row.address is None:
            key = ffi.new("struct tg_guard_key *")
            records.put_guard_key(key, row)
            self._delete("tg_guards", key)
            return
        key, found = ffi.new("struct tg_guarded_key *"), ffi.new("struct tg_guarded *")
        records.put_guarded_key(key, row)
        result = lib.tgb_map_get(self._fds["tg_guarded"], key, found)
        if result != -errno.ENOENT:
            checked(result, "tg_guarded")
            if found.netns_cookie == row.netns_cookie:
                self._delete("tg_guarded", key)

    # --- flows and counters -------------------------------------------------------------------------------------
    def flow(self, key: FlowKey) -> FlowRow | None:
        """The record of one captured connection; None if there is none."""
        out = ffi.new("struct tg_flow *")
        result = lib.tgb_map_get(self.flows_fd, records.flow_key(key), out)
        if result == -errno.ENOENT:
            return None
        checked(result, "tg_flows")
        return records.decode_flow(out)

    def flow_count(self) -> int:
        """Captured connections that the kernel has a record of. Walks the whole table, so it costs what they are."""
        return walk.count(self.flows_fd, "tg_flows", lib.TG_MAX_FLOWS)

    def live_flows(self) -> dict[FlowGroup, int]:
        """How many captured connections live, by who made them and where they go. Walks the whole table.

        Holds nothing but descriptors, so it may run in a thread of its own.
        """
        keys, values, count = self._rows("tg_flows", "struct tg_flow_key", "struct tg_flow", lib.TG_MAX_FLOWS)
        found = Counter((keys[i].netns_cookie, values[i].tier, values[i].service) for i in range(count))
        return {FlowGroup(cookie, Tier(tier), service): n for (cookie, tier, service), n in found.items()}

    def counters(self) -> dict[str, int]:
        """Verdicts by reason since the maps were made, summed over CPUs."""
        counts = ffi.new("uint64_t[]", len(REASONS))
        checked(lib.tgb_counters(self._fds["tg_counters"], counts, len(REASONS)), "tg_counters")
        return dict(zip(REASONS, counts, strict=True))

    # --- one row ------------------------------------------------------------------------------------------------
    def _set(self, table: str, key: Any, value: Any) -> None:
        checked(lib.tgb_map_set(self._fds[table], key, value), table)

    def _delete(self, table: str, key: Any) -> None:
        result = lib.tgb_map_delete(self._fds[table], key)
        if result != -errno.ENOENT:
            checked(result, table)

    def _rows(self, table: str, key_type: str, value_type: str, limit: int) -> tuple[Sequence[Any], Sequence[Any], int]:
        return walk.rows(self._fds[table], table, key_type, value_type, limit)


_Put = Callable[[Any, DestinationKey], None]


def _by_table(found: Iterable[tuple[int, T]]) -> Iterator[tuple[str, str, _Put, list[T]]]:
    """What is told with the bits of its key, in parts of one system call: table, type of keys, how one is written."""
    items = list(found)
    for table, key_type, put, part in (
        ("tg_dests", "struct tg_dest_key", records.put_destination_key, [i for bits, i in items if bits == WHOLE]),
        ("tg_ranges", "struct tg_range_key", records.put_range_key, [i for bits, i in items if bits < WHOLE]),
    ):
        for start in range(0, len(part), BATCH):
            yield table, key_type, put, part[start : start + BATCH]
