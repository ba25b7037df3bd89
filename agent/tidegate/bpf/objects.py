"""Loading compiled objects (build/bpf/*.bpf.o) so that all of them share the pinned maps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tidegate.bpf.pins import Pins, names
from tidegate.native import checked, fatal, ffi, lib

REMEDY = "run `tidegate doctor` to see what this kernel lacks"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that the kernel has accepted. The descriptor belongs to the object that it was loaded from."""

    fd: int
    name: str
    attach_type: int
    tag: bytes  # hash of its instructions: equal tags, equal programs
    map_ids: frozenset[int]


class BpfObject:
    """One object file; as a context manager it is closed at the end, what was pinned or linked stays."""

    def __init__(self, path: Path) -> None:
        """Open, not yet load. Raises Fatal with libbpf's words if the file is missing or no object."""
        self.path = path
        out = ffi.new("struct bpf_object **")
        lib.tgb_log_clear()
        result = lib.tgb_object_open(str(path).encode(), out)
        if result < 0:
            raise fatal(result, f"BPF object {path}", "run `make build`")
        self._object = out[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._object is not None:
            lib.tgb_object_close(self._object)
            self._object = None

    def set_constant(self, name: str, c_type: str, value: int) -> None:
        """Give a `const volatile` its value, before load(). OSError if there is none of that name and size."""
        raw = ffi.new(f"{c_type} *", value)
        checked(lib.tgb_object_set_constant(self._object, name.encode(), raw, ffi.sizeof(c_type)), name)

    def layouts(self) -> dict[str, tuple[int, ...]]:
        """What the object declares for each of its maps: type, key and value size, rows, flags."""
        found: dict[str, tuple[int, ...]] = {}
        name, info = ffi.new("char[32]"), ffi.new("struct tgb_map *")
        while lib.tgb_object_map(self._object, len(found), name, info) == 0:
            found[ffi.string(name).decode()] = _layout(info)
        return found

    def load(self, maps: Path | None = None) -> None:
        """Hand everything to the kernel; maps pinned in directory maps are used, others are created and pinned there.

        Raises Fatal with the verifier's last words.
        """
        lib.tgb_log_clear()
        result = lib.tgb_object_share_maps(self._object, str(maps).encode()) if maps is not None else 0
        if result == 0:
            result = lib.tgb_object_load(self._object)
        if result < 0:
            raise fatal(result, f"BPF object {self.path.name}", REMEDY)

    def program(self, name: str) -> Program:
        """A program of the loaded object. Raises OSError (ENOENT) if there is none of that name."""
        info = ffi.new("struct tgb_prog *")
        fd = checked(lib.tgb_object_program(self._object, name.encode(), info), name)
        return Program(fd, name, info.attach_type, *identity(info))


def identity(info: Any) -> tuple[bytes, frozenset[int]]:
    """Tag and map ids of a struct tgb_prog."""
    return bytes(info.tag), frozenset(info.map_ids[i] for i in range(info.maps))


def map_id(pin: Path) -> int:
    """Kernel id of a pinned map; 0 if the pin is no map or gone."""
    info = _pinned(pin)
    return info.id if info is not None else 0


def maps_fit(pins: Pins, objects: Path) -> bool:
    """Whether every map that the objects declare is pinned with the very layout, and was written by our ABI version."""
    known = names(pins.maps)
    for path in sorted(objects.glob("*.bpf.o")):
        with BpfObject(path) as opened:
            for name, layout in opened.layouts().items():
                info = _pinned(pins.maps / name) if name in known else None
                if info is None or _layout(info) != layout:
                    return False
    fd = checked(lib.tgb_get(str(pins.maps / "tg_settings").encode()), "tg_settings")
    try:
        settings = ffi.new("struct tg_settings *")
        checked(lib.tgb_map_get(fd, ffi.new("uint32_t *", 0), settings), "tg_settings")
    finally:
        os.close(fd)
    return bool(settings.abi_version == lib.TG_ABI_VERSION)


def _layout(info: Any) -> tuple[int, ...]:
    return info.type, info.key_size, info.value_size, info.max_entries, info.flags


def _pinned(pin: Path) -> Any:
    fd = lib.tgb_get(str(pin).encode())
    if fd < 0:
        return None
    info = ffi.new("struct tgb_map *")
    result = lib.tgb_map_info(fd, info)
    os.close(fd)
    return info if result == 0 else None
