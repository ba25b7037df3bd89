"""The kernel part of the data path: load, attach, pin; or adopt what an earlier process of ours left pinned.

Invariant: hooks only ever run with maps of their own layout. Maps that fit are kept whatever the programs look like, so
enrolment and records survive the agent, a crash and an upgrade. Hooks are exchanged by link update: there is no moment
without one. Read by dataplane (tables), fastpath (flows_fd), observe (counters).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tidegate.bpf.attach import Attached, attach
from tidegate.bpf.hooks import HOOKS, places
from tidegate.bpf.lookup import Lookups
from tidegate.bpf.objects import BpfObject, map_id, maps_fit
from tidegate.bpf.pins import Pins, drop_link, names
from tidegate.bpf.tables import Tables
from tidegate.errors import Fatal
from tidegate.linux.cgroup import cgroup_id
from tidegate.native import lib


class Datapath(Tables):
    """Hooks in place and their tables. Make one with open(); one per directory of pins at a time."""

    def __init__(self, pins: Pins, lookups: Lookups, adopted: bool, hooks: Mapping[str, Attached]) -> None:
        super().__init__(pins.maps)
        self._pins = pins
        self._lookups = lookups
        self.adopted = adopted  # maps and every hook were there already
        self.hooks = hooks  # pin name -> how it came to be in place

    @classmethod
    def open(cls, *, bpffs: Path, cgroup: Path, agent_cgroup: Path, envoy_cgroup: Path, objects: Path) -> Self:
        """Put every hook in place.

        bpffs: directory for pins, created if missing (with the bpf file system under it). cgroup: cgroup v2 directory
        whose processes are captured once their netns is enrolled. agent_cgroup, envoy_cgroup: directories whose own
        processes are exempt; envoy_cgroup is created if missing. objects: directory of the *.bpf.o files.

        Raises Fatal with the kernel's words if a program cannot be loaded or attached.
        """
        pins = Pins(bpffs)
        cgroup, agent_cgroup, envoy_cgroup = cgroup.resolve(), agent_cgroup.resolve(), envoy_cgroup.resolve()
        _prepare_cgroups(cgroup, agent_cgroup, envoy_cgroup)
        pins.create()
        kept = bool(names(pins.maps)) and maps_fit(pins, objects)
        if not kept:
            # Old programs keep their old maps until their link runs ours.
            for name in names(pins.maps):
                (pins.maps / name).unlink()
        loaded = {file: BpfObject(objects / f"{file}.bpf.o") for file in dict.fromkeys(hook.file for hook in HOOKS)}
        try:
            loaded["connect"].set_constant("tg_has_set_retval", "uint32_t", lib.tgb_has_set_retval())
            for item in loaded.values():
                item.load(pins.maps)
            shared = frozenset(map_id(pins.maps / name) for name in names(pins.maps))
            lookups = Lookups(pins, objects, shared)
            lookups.adopt()
            hooks: dict[str, Attached] = {}
            datapath = cls(pins, lookups, kept, hooks)
            try:
                datapath.write_settings(cgroup_id(agent_cgroup), cgroup_id(envoy_cgroup))
                for hook in HOOKS:
                    program = loaded[hook.file].program(hook.program)
                    for name, directory in places(hook, cgroup, agent_cgroup, envoy_cgroup).items():
                        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                        try:
                            hooks[name] = attach(pins.links / name, program, fd, cgroup_id(directory), shared)
                        finally:
                            os.close(fd)
            except BaseException:
                datapath.close()
                raise
        finally:
            for item in loaded.values():
                item.close()
        for name in set(names(pins.links)) - hooks.keys():
            drop_link(pins.links / name)  # of another version, or of a cgroup that is no longer ours
        datapath.adopted = kept and Attached.CREATED not in hooks.values()
        return datapath

    def attach_lookup(self, cookie: int, netns_fd: int) -> None:
        """Guard the capture addresses of a pod's netns: what no hook recorded is reset. Raises Fatal if refused."""
        self._lookups.attach(cookie, netns_fd)

    def detach_lookup(self, cookie: int) -> None:
        """No error if there is no such guard, or its netns is gone."""
        self._lookups.detach(cookie)

    def lookups(self) -> set[int]:
        """Cookies of the guarded netns."""
        return self._lookups.cookies()

    def remove(self) -> None:
        """Detach everything, redirection first, and leave no pin behind."""
        self.close()
        self._pins.remove()


def _prepare_cgroups(cgroup: Path, agent_cgroup: Path, envoy_cgroup: Path) -> None:
    if not envoy_cgroup.exists() and envoy_cgroup.parent.is_dir():
        envoy_cgroup.mkdir()
    for what, path in (("pods'", cgroup), ("agent's", agent_cgroup), ("Envoy's", envoy_cgroup)):
        if not (path / "cgroup.procs").is_file():
            raise Fatal(f"{what} cgroup {path}", "is no cgroup v2 directory", "name one under the cgroup2 mount")
