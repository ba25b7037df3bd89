"""The kernel part of the data path: load, attach, pin; or adopt what an earlier process of ours left pinned.

Invariant: hooks only ever run with maps of their own layout, and those have every row. Maps that fit are kept whatever
the programs look like, others are filled before a hook sees them (upgrade.py). Hooks are exchanged by link update:
there is no moment without one. If anything fails, every link goes back to the program that it ran, and the new maps go.
Read by dataplane (tables), fastpath (flows_fd), observe (counters).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tidegate.bpf.attach import Attached, Exchange
from tidegate.bpf.hooks import HOOKS, places
from tidegate.bpf.lookup import Lookups
from tidegate.bpf.objects import BpfObject, map_id
from tidegate.bpf.pins import Pins, drop_link, names
from tidegate.bpf.tables import Tables
from tidegate.bpf.targets import CgroupTarget, LinkInfo, attachments
from tidegate.bpf.upgrade import Upgrade
from tidegate.errors import Fatal
from tidegate.linux.cgroup import cgroup_id
from tidegate.linux.netns import current_cookie
from tidegate.native import lib


class Datapath(Tables):
    """Hooks in place and their tables. Make one with open(); one per directory of pins at a time."""

    def __init__(self, maps: Path, pins: Pins, lookups: Lookups) -> None:
        super().__init__(maps)
        self._pins = pins
        self._lookups = lookups
        self.adopted = False  # maps and every hook were there already
        self.hooks: dict[str, Attached] = {}  # pin name -> how it came to be in place

    @classmethod
    def open(
        cls,
        *,
        bpffs: Path,
        cgroup: Path,
        agent_cgroup: Path,
        envoy_cgroup: Path,
        objects: Path,
        node_cgroup: Path | None = None,
    ) -> Self:
        """Put every hook in place.

        bpffs: directory for pins, created if missing (with the bpf file system under it). cgroup: cgroup v2 directory
        whose processes are captured once their netns is enrolled. agent_cgroup, envoy_cgroup: directories whose own
        processes are exempt; envoy_cgroup is created if missing. node_cgroup: the tree of the node's own processes,
        whose probes of pods are known by their sockets. objects: directory of the *.bpf.o files.

        Raises Fatal with the kernel's words if a program cannot be loaded or attached, or with the reason why rows of
        another version cannot become ours. What captured before then still does, as before.
        """
        pins = Pins(bpffs)
        cgroup, agent_cgroup, envoy_cgroup = cgroup.resolve(), agent_cgroup.resolve(), envoy_cgroup.resolve()
        _prepare_cgroups(cgroup, agent_cgroup, envoy_cgroup)
        pins.create()
        upgrade = Upgrade.plan(pins, objects)
        with ExitStack() as done, ExitStack() as undo:
            loaded = {
                file: done.enter_context(BpfObject(objects / f"{file}.bpf.o"))
                for file in dict.fromkeys(hook.file for hook in HOOKS)
            }
            loaded["connect"].set_constant("tg_has_set_retval", "uint32_t", lib.tgb_has_set_retval())
            undo.callback(upgrade.abandon)
            upgrade.carry()
            for item in loaded.values():
                item.load(upgrade.maps)
            upgrade.copy()
            shared = frozenset(map_id(upgrade.maps / name) for name in names(upgrade.maps))
            datapath = cls(upgrade.maps, pins, Lookups(pins, objects, shared))
            undo.callback(datapath.close)
            undo.callback(datapath.put_settings, datapath.settings())
            datapath.write_settings(cgroup_id(agent_cgroup), cgroup_id(envoy_cgroup), current_cookie())
            exchange = Exchange(shared)
            done.callback(exchange.close)
            undo.callback(exchange.undo)
            datapath._lookups.adopt(exchange, upgrade.maps)
            for hook in HOOKS:
                program = loaded[hook.file].program(hook.program)
                for name, directory in places(hook, cgroup, agent_cgroup, envoy_cgroup, node_cgroup).items():
                    datapath.hooks[name] = exchange.attach(pins.links / name, program, CgroupTarget(directory))
            undo.pop_all()
        upgrade.commit()
        for name in set(names(pins.links)) - datapath.hooks.keys():
            drop_link(pins.links / name)  # of another version, or of a cgroup that is no longer ours
        datapath.adopted = upgrade.complete and Attached.CREATED not in datapath.hooks.values()
        return datapath

    def attachments(self) -> list[LinkInfo]:
        """What of ours is attached just now, as the kernel has it: hooks, then guards."""
        return attachments(self._pins)

    def attach_lookup(self, cookie: int, netns_fd: int) -> None:
        """Guard the capture addresses of a pod's netns: what no hook recorded is reset. Raises Fatal if refused."""
        self._lookups.attach(cookie, netns_fd)

    def detach_lookup(self, cookie: int) -> None:
        """No error if there is no such guard, or its netns is gone."""
        self._lookups.detach(cookie)

    def lookups(self) -> set[int]:
        """Cookies of the guarded netns."""
        return self._lookups.cookies()


def _prepare_cgroups(cgroup: Path, agent_cgroup: Path, envoy_cgroup: Path) -> None:
    if not envoy_cgroup.exists() and envoy_cgroup.parent.is_dir():
        envoy_cgroup.mkdir()
    for what, path in (("pods'", cgroup), ("agent's", agent_cgroup), ("Envoy's", envoy_cgroup)):
        if not (path / "cgroup.procs").is_file():
            raise Fatal(f"{what} cgroup {path}", "is no cgroup v2 directory", "name one under the cgroup2 mount")
