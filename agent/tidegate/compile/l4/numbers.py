"""Numbers of service ports, by which kernel rows, the relay and its events name them."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2s


def service_numbers(names: Iterable[str]) -> dict[str, int]:
    """A number above 0 for each name. It depends on the name, not on its neighbours, so that adding a service does not
    renumber the others; a collision moves the later name in alphabetical order on by one."""
    taken: dict[int, str] = {}
    for name in sorted(set(names)):
        number = int.from_bytes(blake2s(name.encode(), digest_size=4).digest(), "big") % 0x7FFFFFFF + 1
        while number in taken:
            number = number % 0x7FFFFFFF + 1
        taken[number] = name
    return {name: number for number, name in taken.items()}
