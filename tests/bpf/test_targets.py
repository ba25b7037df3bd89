"""Every kind of target: attached, found again, taken over, listed; one that this kernel lacks is refused with words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.bpf.pod import Pod, Tree
from tests.bpf.test_objects import compile_object

from tidegate.bpf.attach import Attached, Exchange
from tidegate.bpf.datapath import Datapath
from tidegate.bpf.objects import BpfObject, Program
from tidegate.bpf.pins import Pins, drop_link, mount_bpffs, names
from tidegate.bpf.targets import CgroupTarget, DeviceTarget, MapTarget, NetnsTarget, Target, attachments
from tidegate.errors import Fatal

KERNEL = tuple(int(number) for number in os.uname().release.split(".")[:2])
SOURCE = """
char LICENSE[] SEC("license") = "GPL";
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} socks SEC(".maps");
SEC("cgroup/connect4") int tg_cgroup(struct bpf_sock_addr *c) { return 1; }
SEC("sk_lookup") int tg_netns(struct bpf_sk_lookup *c) { return SK_PASS; }
SEC("sk_msg") int tg_map(struct sk_msg_md *c) { return SK_PASS; }
SEC("tc") int tg_device(struct __sk_buff *c) { return -1; }
"""
ATTACH_TYPES = {"map": 7, "device": 46}  # BPF_SK_MSG_VERDICT, BPF_TCX_INGRESS: sections alone do not say them
SINCE = {"cgroup": (5, 7), "netns": (5, 8), "map": (6, 10), "device": (6, 6)}


@pytest.fixture
def pins() -> Iterator[Pins]:
    pins = Pins(Path(f"/sys/fs/bpf/x-targets-{os.getpid()}"))
    mount_bpffs(pins.root)
    pins.create()
    yield pins
    for name in names(pins.links):
        drop_link(pins.links / name)
    for path in (pins.maps / "socks", pins.maps, pins.links, pins.lookup, pins.root):
        path.unlink() if path.is_file() else path.rmdir() if path.exists() else None


@pytest.fixture
def loaded(tmp_path: Path, pins: Pins) -> Iterator[BpfObject]:
    with BpfObject(compile_object(tmp_path, SOURCE)) as loaded:
        loaded.load(pins.maps)
        yield loaded


@pytest.fixture
def device() -> Iterator[Path]:
    name = f"x{os.getpid()}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    yield Path("/sys/class/net") / name
    subprocess.run(["ip", "link", "delete", name], check=True)


@pytest.mark.parametrize("kind", SINCE)
def test_target(
    tree: Tree, make_pod: Callable[[], Pod], pins: Pins, loaded: BpfObject, device: Path, kind: str
) -> None:
    targets: dict[str, Target] = {
        "cgroup": CgroupTarget(tree.pods),
        "netns": NetnsTarget(make_pod().netns_fd),
        "map": MapTarget(pins.maps / "socks"),
        "device": DeviceTarget(int((device / "ifindex").read_text())),
    }
    target = targets[kind]
    assert target.kind == kind
    program = loaded.program(f"tg_{kind}")
    program = replace(program, attach_type=ATTACH_TYPES.get(kind, program.attach_type))
    pin = pins.links / kind
    if SINCE[kind] > KERNEL:
        with pytest.raises(Fatal, match=f"attaching tg_{kind}"):
            attach(pin, program, target)
        return
    assert attach(pin, program, target) is Attached.CREATED
    assert attach(pin, program, target) is Attached.ADOPTED
    (found,) = attachments(pins)
    assert (found.pin, found.kind, found.target, found.program) == (f"links/{kind}", kind, target.number, f"tg_{kind}")


def attach(pin: Path, program: Program, target: Target) -> Attached:
    exchange = Exchange(frozenset())
    try:
        return exchange.attach(pin, program, target)
    finally:
        exchange.close()


def test_every_hook_and_guard_is_listed(datapath: Datapath, pod: Pod, tree: Tree) -> None:
    listed = {attachment.pin: attachment for attachment in datapath.attachments()}
    assert listed.keys() == {*(f"links/{name}" for name in datapath.hooks), f"lookup/{pod.cookie}"}
    guard = listed[f"lookup/{pod.cookie}"]
    assert (guard.kind, guard.target, guard.program) == ("netns", os.fstat(pod.netns_fd).st_ino, "tg_lookup")
    connect = listed["links/tg_connect4"]
    assert (connect.kind, connect.target) == ("cgroup", CgroupTarget(tree.node).number)
