"""The door to the extension tidegate._bpf: the only module that imports it.

Layouts and functions are declared in bpf/include, bpf/core/core_io.h and tgb.h; nothing is spelled twice here.
"""

from __future__ import annotations

import os
from typing import Any

from tidegate._bpf import ffi, lib
from tidegate.errors import Fatal
from tidegate.model.net import IPAddress, from_wire, to_wire

__all__ = ["REASONS", "address_of", "checked", "fatal", "ffi", "lib", "put_address"]

LOG_LINES = 40  # of libbpf's and the verifier's last words, in an error message

lib.tgb_init()


def _text(pointer: Any) -> str:
    value: bytes = ffi.string(pointer)
    return value.decode()


# Reason labels in the order of the counters (bpf/include/tg_reason.h).
REASONS: tuple[str, ...] = tuple(_text(lib.tgb_reason_name(i)).lower() for i in range(lib.TG_REASON_COUNT))


def checked(result: int, subject: str) -> int:
    """A function's result; a negative one raises the OSError that it means, with subject as its file name."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), subject)
    return result


def fatal(result: int, subject: str, remedy: str) -> Fatal:
    """The error for a negative result of loading or attaching, with what libbpf and the verifier said about it."""
    log = _text(lib.tgb_log()).strip().splitlines()
    lib.tgb_log_clear()
    said = "\n".join(log[-LOG_LINES:])
    reason = os.strerror(-result)
    return Fatal(subject, f"{reason}\n{said}" if said else reason, remedy)


def put_address(target: Any, address: IPAddress | None) -> None:
    """Write an address into a struct tg_addr; None is all zero."""
    target.ip = to_wire(address) if address is not None else bytes(16)


def address_of(source: Any) -> IPAddress | None:
    """Read a struct tg_addr; all zero is None."""
    raw = bytes(ffi.buffer(source.ip))
    return from_wire(raw) if any(raw) else None
