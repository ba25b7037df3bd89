"""The guard of each pod's capture addresses: one instance of the sk_lookup program per netns, since nothing tells that
program in which netns it runs."""

from __future__ import annotations

from pathlib import Path

from tidegate.bpf.attach import Attached, Exchange
from tidegate.bpf.objects import BpfObject, Program
from tidegate.bpf.pins import Pins, drop_link, names
from tidegate.bpf.targets import NetnsTarget, link_information

OBJECT = "lookup.bpf.o"
PROGRAM = "tg_lookup"


class Lookups:
    """Guards by netns cookie. They outlive this process in their pins."""

    def __init__(self, pins: Pins, objects: Path, shared: frozenset[int]) -> None:
        """shared: ids of our maps."""
        self._pins = pins
        self._objects = objects
        self._shared = shared
        self._cookies: set[int] = set()

    def adopt(self, exchange: Exchange, maps: Path) -> dict[int, Attached]:
        """Take over the guards that an earlier process pinned; useless ones (their netns is gone) are removed.

        maps: where the maps are pinned just now. Raises Fatal if the kernel refuses.
        """
        outcome: dict[int, Attached] = {}
        for name in names(self._pins.lookup):
            pin = self._pins.lookup / name
            known = link_information(pin)
            adopted = None
            if known and known.target and name.isdecimal():
                with BpfObject(self._objects / OBJECT) as loaded:
                    adopted = exchange.adopt(pin, self._load(loaded, int(name), maps), known.target)
            if adopted is None:
                drop_link(pin)
            else:
                outcome[int(name)] = adopted
        self._cookies = set(outcome)
        return outcome

    def attach(self, cookie: int, netns_fd: int) -> None:
        """Guard the netns of descriptor netns_fd. Raises Fatal if the kernel refuses. Twice is once."""
        with BpfObject(self._objects / OBJECT) as loaded:
            program = self._load(loaded, cookie, self._pins.maps)
            exchange = Exchange(self._shared)
            try:
                exchange.attach(self._pins.lookup / str(cookie), program, NetnsTarget(netns_fd))
            finally:
                exchange.close()
        self._cookies.add(cookie)

    def detach(self, cookie: int) -> None:
        """No error if there is no such guard."""
        pin = self._pins.lookup / str(cookie)
        if pin.exists():
            drop_link(pin)
        self._cookies.discard(cookie)

    def cookies(self) -> set[int]:
        return set(self._cookies)

    def _load(self, loaded: BpfObject, cookie: int, maps: Path) -> Program:
        loaded.set_constant("tg_netns_cookie", "uint64_t", cookie)
        loaded.load(maps)
        return loaded.program(PROGRAM)
