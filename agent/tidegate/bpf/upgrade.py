"""From the maps that hooks run with to those that our programs declare, with their rows, or not at all.

Maps whose layout and meaning are the same stay: one map serves the old and the new programs, whichever a hook runs just
now. Others are made anew in a directory beside and filled before any hook sees them. Only the agent writes those, and
there is one agent (pins.claim), so no row can come between the copy and the exchange. Then links are updated one by one
(attach.Exchange), and at last the directory takes the old one's name.

 maps            in force: what the pins say, and what a crash leaves in force
 maps + next     building, or some hooks run with next already: both are whole; the next start begins anew
 old + next      every hook runs with next: the next start completes the change of names
 old + maps      complete but for cleaning up
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tidegate.bpf import migrations
from tidegate.bpf.migrations import Step
from tidegate.bpf.objects import BpfObject, Layout, layout_of, pinned_layout
from tidegate.bpf.pins import Pins, names, unpin_all
from tidegate.errors import Fatal
from tidegate.native import checked, ffi, lib

SETTINGS = "tg_settings"
VERSION_OFFSET = 16  # of tg_settings.abi_version, in every version
COPIED = frozenset({lib.BPF_MAP_TYPE_HASH, lib.BPF_MAP_TYPE_LPM_TRIE})
ANEW = frozenset({lib.BPF_MAP_TYPE_PERCPU_ARRAY})  # counters begin at 0 again, as after a start of the machine


@dataclass(frozen=True, slots=True)
class Copy:
    """A map whose rows have to be written anew."""

    name: str
    steps: Sequence[Step]


@dataclass(slots=True)
class Upgrade:
    """What is to be done about the maps of one datapath. maps: where programs are to find or pin them."""

    pins: Pins
    maps: Path
    carried: Sequence[str] = ()
    copies: Sequence[Copy] = ()
    complete: bool = True  # every map was there already

    @classmethod
    def plan(cls, pins: Pins, objects: Path) -> Self:
        """Look at what is pinned and what the objects declare. Raises Fatal if one cannot become the other."""
        want = declared(objects)
        have = {name: layout for name in names(pins.maps) if (layout := pinned_layout(pins.maps / name)) is not None}
        version = (written_by(pins.maps / SETTINGS) if SETTINGS in have else 0) or lib.TG_ABI_VERSION
        steps = _steps(version)
        changed = {name for name in want if name in steps or (name in have and have[name] != want[name])}
        if not changed and version == lib.TG_ABI_VERSION:
            return cls(pins, pins.maps, complete=want.keys() <= have.keys())
        if SETTINGS not in have and names(pins.links):
            raise refused(0, "its settings are gone, so nobody knows what its rows mean")
        copies = []
        for name in sorted(changed & have.keys() - {SETTINGS}):
            if have[name].type != want[name].type or have[name].type not in COPIED | ANEW:
                raise refused(version, f"rows of {name} belong to connections that live: they cannot be rewritten")
            if have[name].type in COPIED:
                copies.append(Copy(name, steps.get(name, ())))
        carried = sorted(have.keys() & want.keys() - changed - {SETTINGS})
        return cls(pins, pins.next, carried, copies, complete=want.keys() <= have.keys())

    def carry(self) -> None:
        """Make the directory with the maps that stay; loading our programs makes the others. Raises OSError."""
        if self.maps == self.pins.maps:
            return
        self.maps.mkdir(mode=0o700)
        for name in self.carried:
            fd = checked(lib.tgb_get(str(self.pins.maps / name).encode()), name)
            try:
                checked(lib.tgb_pin(fd, str(self.maps / name).encode()), str(self.maps / name))
            finally:
                os.close(fd)

    def copy(self) -> None:
        """Write the rows, as this version has them. Raises Fatal if one has no place or no meaning in it."""
        for copy in self.copies:
            try:
                _copy(self.pins.maps / copy.name, self.maps / copy.name, copy.steps)
            except (OSError, ValueError) as error:
                raise refused(written_by(self.pins.maps / SETTINGS), f"rows of {copy.name}: {error}") from error

    def commit(self) -> None:
        """Every hook runs with the new maps: give them their name. Raises OSError."""
        if self.maps != self.pins.maps:
            self.pins.maps.rename(self.pins.old)
            self.maps.rename(self.pins.maps)
            self.maps = self.pins.maps
        self.pins.settle()

    def abandon(self) -> None:
        """No hook runs with the new maps any more: remove them."""
        if self.maps != self.pins.maps:
            unpin_all(self.maps)


def declared(objects: Path) -> dict[str, Layout]:
    """Layout of every map that the objects in a directory declare. Raises Fatal if one is no object."""
    found: dict[str, Layout] = {}
    for path in sorted(objects.glob("*.bpf.o")):
        with BpfObject(path) as opened:
            found |= opened.layouts()
    return found


def written_by(pin: Path) -> int:
    """ABI version of the agent that wrote the settings; 0 if none did yet. Raises OSError."""
    fd = checked(lib.tgb_get(str(pin).encode()), str(pin))
    try:
        value = ffi.new("char[]", layout_of(fd, str(pin)).value_size)
        checked(lib.tgb_map_get(fd, ffi.new("uint32_t *", 0), value), str(pin))
        return int(ffi.cast("uint32_t *", value + VERSION_OFFSET)[0])
    finally:
        os.close(fd)


def refused(version: int, reason: str) -> Fatal:
    """The error of an agent that leaves the data path of another version alone."""
    return Fatal(
        f"data path of ABI version {version}",
        f"cannot become one of version {lib.TG_ABI_VERSION}: {reason}; nothing was changed, it goes on capturing",
        "start the agent that belongs to it, or take the pods off this node and remove its pins",
    )


def _steps(version: int) -> dict[str, list[Step]]:
    """By map, what makes rows of a version ours. Raises Fatal if that is not known."""
    if version > lib.TG_ABI_VERSION:
        raise refused(version, "it was written by a newer agent")
    found: dict[str, list[Step]] = {}
    for number in range(version + 1, lib.TG_ABI_VERSION + 1):
        if number not in migrations.STEPS:
            raise refused(version, f"no migration to version {number} is known")
        for name, step in migrations.STEPS[number].items():
            found.setdefault(name, []).append(step)
    return found


def _copy(source: Path, target: Path, steps: Sequence[Step]) -> None:
    """All rows of one map to another. ValueError: a row does not have the target's size. OSError: no room."""
    reading = checked(lib.tgb_get(str(source).encode()), source.name)
    try:
        writing = checked(lib.tgb_get(str(target).encode()), target.name)
        try:
            _copy_rows(reading, writing, steps)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_rows(reading: int, writing: int, steps: Sequence[Step]) -> None:
    old, new = layout_of(reading, "old"), layout_of(writing, "new")
    count = checked(lib.tgb_map_dump(reading, ffi.NULL, ffi.NULL, old.max_entries), "reading")
    if not count:
        return
    keys, values = ffi.new("char[]", count * old.key_size), ffi.new("char[]", count * old.value_size)
    count = checked(lib.tgb_map_dump(reading, keys, values, count), "reading")
    rows = list(zip(_pieces(keys, old.key_size, count), _pieces(values, old.value_size, count), strict=True))
    for step in steps:
        rows = [(step.key(key), step.value(value)) for key, value in rows]
    for key, value in rows:
        if (len(key), len(value)) != (new.key_size, new.value_size):
            raise ValueError(f"no migration gives them {new.key_size} and {new.value_size} bytes")
    done = ffi.new("uint32_t *")
    raw_keys, raw_values = b"".join(key for key, _ in rows), b"".join(value for _, value in rows)
    checked(lib.tgb_map_set_batch(writing, raw_keys, raw_values, count, done), "writing")


def _pieces(raw: Any, size: int, count: int) -> list[bytes]:
    whole = bytes(ffi.buffer(raw, size * count))
    return [whole[at : at + size] for at in range(0, size * count, size)]
