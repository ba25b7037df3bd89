"""Loading compiled objects (build/bpf/*.bpf.o) so that all of them share the pinned maps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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
    verified: int = 0  # instructions that the verifier went through, over all paths


@dataclass(frozen=True, slots=True)
class Layout:
    """What must be equal for a map to serve programs that declare it. Sizes in bytes."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int

    @classmethod
    def of(cls, info: Any) -> Self:
        """Of a struct tgb_map."""
        return cls(info.type, info.key_size, info.value_size, info.max_entries, info.flags)


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

    def layouts(self) -> dict[str, Layout]:
        """What the object declares for each of its maps."""
        found: dict[str, Layout] = {}
        name, info = ffi.new("char[32]"), ffi.new("struct tgb_map *")
        while lib.tgb_object_map(self._object, len(found), name, info) == 0:
            found[ffi.string(name).decode()] = Layout.of(info)
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
        return Program(fd, name, info.attach_type, *identity(info), info.verified)


def identity(info: Any) -> tuple[bytes, frozenset[int]]:
    """Tag and map ids of a struct tgb_prog."""
    return bytes(info.tag), frozenset(info.map_ids[i] for i in range(info.maps))


def map_id(pin: Path) -> int:
    """Kernel id of a pinned map; 0 if the pin is no map or gone."""
    info = _pinned(pin)
    return info.id if info is not None else 0


def pinned_layout(pin: Path) -> Layout | None:
    """Layout of a pinned map; None if the pin is no map or gone."""
    info = _pinned(pin)
    return Layout.of(info) if info is not None else None


def layout_of(fd: int, subject: str) -> Layout:
    """Layout of the map of a descriptor. Raises OSError."""
    info = ffi.new("struct tgb_map *")
    checked(lib.tgb_map_info(fd, info), subject)
    return Layout.of(info)


def _pinned(pin: Path) -> Any:
    fd = lib.tgb_get(str(pin).encode())
    if fd < 0:
        return None
    info = ffi.new("struct tgb_map *")
    result = lib.tgb_map_info(fd, info)
    os.close(fd)
    return info if result == 0 else None
