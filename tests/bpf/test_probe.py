"""What doctor is told: this kernel has what the hooks need, and programs of others are named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.bpf.pod import OBJECTS, Tree
from tests.bpf.test_objects import compile_object
from tests.support.cgroup import members

from tidegate.bpf.datapath import Datapath
from tidegate.bpf.objects import BpfObject
from tidegate.bpf.probe import foreign_programs, probe
from tidegate.linux.cgroup import cgroup2_mount, cgroup_id, own_cgroup
from tidegate.linux.netns import current_cookie, in_netns, netns_cookie
from tidegate.native import lib


def test_everything_needed_is_there() -> None:
    features = probe()
    assert len({f.name for f in features}) == len(features) > 10
    assert [f for f in features if f.needed and not f.ok] == []


def test_foreign_programs_are_named_and_ours_are_not(tree: Tree, datapath: Datapath, tmp_path: Path) -> None:
    assert datapath.hooks
    before = foreign_programs(tree.node)
    text = 'SEC("cgroup/connect4") int lb_connect(struct bpf_sock_addr *c) { return 1; }\n'
    directory = os.open(tree.node, os.O_RDONLY)
    with BpfObject(compile_object(tmp_path, text)) as other:
        other.load()
        program = other.program("lb_connect")
        link = lib.tgb_link_create(program.fd, directory, program.attach_type)
        assert link >= 0
        found = [p for p in foreign_programs(tree.pods) if p not in before]
        os.close(link)
    os.close(directory)
    assert [(p.hook, p.name) for p in found] == [("connect4", "lb_connect")], "seen from a child cgroup as well"


def test_cgroups() -> None:
    mount = cgroup2_mount()
    assert (mount / "cgroup.procs").is_file()
    assert cgroup_id(mount) == 1, "the root of cgroup v2 has inode 1"
    assert os.getpid() in members(own_cgroup())


def test_netns_of_a_descriptor() -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    assert netns_cookie(own) == current_cookie() != 0
    assert in_netns(own, socket.gethostname) == socket.gethostname()
    os.close(own)


def test_objects_directory_is_complete() -> None:
    assert {path.name for path in OBJECTS.glob("*.bpf.o")} == {
        f"{name}.bpf.o"
        for name in ("connect", "dns", "listen", "lookup", "nagle", "names", "sockops", "sockopt", "wishes")
    }
