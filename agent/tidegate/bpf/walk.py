"""All rows of a kernel table while others write to it: hooks, and threads of ours."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from tidegate.native import checked, ffi, lib

SPARE = 64  # rows that may come while we look, besides a quarter of what is there


def count(fd: int, table: str, limit: int) -> int:
    """How many rows there are. limit: what the table may have. Walks it. Raises OSError with the table's name."""
    return checked(lib.tgb_map_dump(fd, ffi.NULL, ffi.NULL, 2 * limit), table)


def rows(fd: int, table: str, key_type: str, value_type: str, limit: int) -> tuple[Sequence[Any], Sequence[Any], int]:
    """Keys, values, and how many of both mean something. limit: what the table may have.

    Sized by counting first, since limits are large and tables usually small; looked at again when more came meanwhile
    than there was room for. A row that comes or goes meanwhile may be among them or not, and one that is moved within
    the table may be twice. Holds nothing but the descriptor. Raises OSError with the table's name.
    """
    while True:
        known = count(fd, table, limit)
        room = known + known // 4 + SPARE
        keys, values = ffi.new(f"{key_type}[]", room), ffi.new(f"{value_type}[]", room)
        found = lib.tgb_map_dump(fd, keys, values, room)
        if found != -errno.ENOSPC or room > 2 * limit:
            return keys, values, checked(found, table)
