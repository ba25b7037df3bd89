"""The door to the extension tidegate._relay, which has the layouts of agent/relay/relay_abi.h and nothing else."""

from __future__ import annotations

from typing import Any, Final

from tidegate._relay import ffi as _ffi
from tidegate._relay import lib as _lib

__all__ = ["ffi", "lib", "rows"]

ffi: Final[Any] = _ffi
lib: Final[Any] = _lib


def rows(kind: str, message: bytes, head: str, count: int) -> Any:
    """The rows of a struct that follow a message's own. Raises ValueError if they are not there."""
    begin, size = ffi.sizeof(head), ffi.sizeof(kind) * count
    if len(message) != begin + size:
        raise ValueError(f"{len(message)} bytes, not {begin} and {count} rows of {kind}")
    return ffi.from_buffer(f"{kind}[]", message[begin:]) if count else ()
