"""Every object loads by itself, and one that does not says why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.bpf.pod import OBJECTS, Tree

from tidegate.bpf.datapath import Datapath
from tidegate.bpf.hooks import HOOKS
from tidegate.bpf.lookup import PROGRAM
from tidegate.bpf.objects import BpfObject
from tidegate.errors import Fatal

SOURCES = Path(__file__).resolve().parents[2] / "bpf"


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.bpf.c")), ids=lambda path: path.name)
def test_loads(source: Path) -> None:
    known = [hook.program for hook in HOOKS] + [PROGRAM]
    with BpfObject(OBJECTS / f"{source.stem}.o") as loaded:
        loaded.load()
        mine = [name for name in known if f"int {name}(" in source.read_text()]
        assert mine, "a hook that nobody attaches"
        for name in mine:
            program = loaded.program(name)
            assert program.fd >= 0
            assert len(program.tag) == 8


@pytest.mark.parametrize("set_retval", [0, 1])
def test_connect_loads_with_and_without_set_retval(set_retval: int) -> None:
    with BpfObject(OBJECTS / "connect.bpf.o") as loaded:
        loaded.set_constant("tg_has_set_retval", "uint32_t", set_retval)
        loaded.load()


def compile_object(directory: Path, text: str) -> Path:
    source, target = directory / "bad.bpf.c", directory / "bad.bpf.o"
    source.write_text(f"#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n{text}")
    machine = subprocess.run(["cc", "-print-multiarch"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(
        ["clang", "-target", "bpf", "-O2", "-g", f"-I/usr/include/{machine}", "-c", str(source), "-o", str(target)],
        check=True,
    )
    return target


def test_error_has_the_verifiers_words(tmp_path: Path) -> None:
    path = compile_object(tmp_path, 'SEC("cgroup/connect4") int f(struct bpf_sock_addr *c) { return c->type + 5; }\n')
    with BpfObject(path) as loaded, pytest.raises(Fatal) as raised:
        loaded.load()
    assert "bad.bpf.o" in raised.value.subject
    assert "processed" in raised.value.reason, "the end of the verifier's log"
    assert "R0" in raised.value.reason, "which register was wrong"
    assert "tidegate doctor" in raised.value.remedy


def test_log_of_one_error_is_not_in_the_next(tmp_path: Path) -> None:
    path = compile_object(tmp_path, 'SEC("cgroup/connect4") int f(struct bpf_sock_addr *c) { return c->type + 5; }\n')
    with BpfObject(path) as loaded, pytest.raises(Fatal):
        loaded.load()
    with pytest.raises(Fatal) as raised:
        BpfObject(tmp_path / "absent.bpf.o")
    assert "R0" not in raised.value.reason
    assert "No such file" in raised.value.reason


def test_constant_of_another_name_or_size_is_refused() -> None:
    with BpfObject(OBJECTS / "lookup.bpf.o") as opened:
        with pytest.raises(FileNotFoundError):
            opened.set_constant("tg_absent", "uint64_t", 1)
        with pytest.raises(OSError, match="Invalid argument"):
            opened.set_constant("tg_netns_cookie", "uint32_t", 1)


def test_no_cgroup_is_said_before_anything_is_loaded(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="is no cgroup v2 directory"):
        Datapath.open(
            bpffs=tree.pins, cgroup=tmp_path, agent_cgroup=tree.agent, envoy_cgroup=tree.envoy, objects=OBJECTS
        )
    assert not tree.pins.exists()


def test_pins_outside_of_a_bpf_file_system_are_refused(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="not in a bpf file system"):
        Datapath.open(
            bpffs=tmp_path / "pins",
            cgroup=tree.node,
            agent_cgroup=tree.agent,
            envoy_cgroup=tree.envoy,
            objects=OBJECTS,
        )
