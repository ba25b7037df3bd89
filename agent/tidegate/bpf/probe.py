"""What this kernel offers, and who else sits on our hooks: for `tidegate doctor`."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.bpf.hooks import HOOKS
from tidegate.bpf.pins import USUAL, bpffs_mounted
from tidegate.errors import Fatal
from tidegate.linux.capabilities import NEEDED, missing, permitted
from tidegate.linux.cgroup import cgroup2_mount
from tidegate.linux.netns import SO_NETNS_COOKIE
from tidegate.native import checked, ffi, lib

MAX_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS of the kernel
OURS = "tg_"


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that the data path asks of the kernel."""

    name: str
    ok: bool
    needed: bool  # without it there is no capture; otherwise detail says what is worse
    detail: str


@dataclass(frozen=True, slots=True)
class ForeignProgram:
    """A program of somebody else that sees the same calls as ours."""

    hook: str
    name: str
    id: int


def probe() -> list[Feature]:
    """Try each feature on the running kernel. Raises Fatal unless root (or CAP_BPF and CAP_NET_ADMIN)."""
    if os.geteuid() != 0:
        raise Fatal("kernel probe", "needs root", "run as root")
    features = [_cgroup2(), _bpffs(), *_capabilities()]
    for name, number, detail in (
        ("cgroup connect and name hooks", lib.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "Linux 5.8"),
        ("sockops", lib.BPF_PROG_TYPE_SOCK_OPS, "Linux 4.13"),
        ("cgroup getsockopt", lib.BPF_PROG_TYPE_CGROUP_SOCKOPT, "Linux 5.3"),
        ("sk_lookup", lib.BPF_PROG_TYPE_SK_LOOKUP, "Linux 5.9"),
    ):
        features.append(Feature(name, bool(lib.tgb_has_prog_type(number)), True, f"program type, since {detail}"))
    for name, number, detail in (
        ("socket storage", lib.BPF_MAP_TYPE_SK_STORAGE, "Linux 5.2"),
        ("LRU hash", lib.BPF_MAP_TYPE_LRU_HASH, "Linux 4.10"),
        ("per-CPU array", lib.BPF_MAP_TYPE_PERCPU_ARRAY, "Linux 4.6"),
    ):
        features.append(Feature(name, bool(lib.tgb_has_map_type(number)), True, f"map type, since {detail}"))
    for name, kind, hook in (
        ("netns cookie in connect", lib.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, lib.BPF_CGROUP_INET4_CONNECT),
        ("netns cookie in sockops", lib.BPF_PROG_TYPE_SOCK_OPS, lib.BPF_CGROUP_SOCK_OPS),
        ("netns cookie in getsockopt", lib.BPF_PROG_TYPE_CGROUP_SOCKOPT, lib.BPF_CGROUP_GETSOCKOPT),
    ):
        there = bool(lib.tgb_has_netns_cookie(kind, hook))
        features.append(Feature(name, there, True, "bpf_get_netns_cookie, since Linux 5.15"))
    storage = all(
        lib.tgb_has_helper(lib.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, helper)
        for helper in (lib.BPF_FUNC_sk_storage_get, lib.BPF_FUNC_sk_storage_delete)
    )
    features.append(Feature("socket storage in connect", storage, True, "bpf_sk_storage_get and _delete"))
    features.append(_netns_cookie_option())
    retval = bool(lib.tgb_has_set_retval())
    said = "refusals are ECONNREFUSED" if retval else "refusals are EPERM: bpf_set_retval in connect needs Linux 6.0"
    features.append(Feature("errno of refusals", retval, False, said))
    return features


def require(features: Sequence[Feature]) -> None:
    """Raise Fatal that names every needed feature which is not there, before the verifier says it at length."""
    lacking = [f"{f.name} ({f.detail})" for f in features if f.needed and not f.ok]
    if lacking:
        hint = "Tidegate needs Linux 5.15 or newer and root; `tidegate doctor` lists everything"
        raise Fatal(f"Linux {os.uname().release}", f"lacks {', '.join(lacking)}", hint)


def foreign_programs(cgroup: Path) -> list[ForeignProgram]:
    """Programs of others that run for our hooks in this cgroup, also those attached above it. OSError if no cgroup."""
    found: dict[tuple[str, int], ForeignProgram] = {}
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for hook in HOOKS:
            ids = ffi.new("uint32_t[]", MAX_PROGRAMS)
            for index in range(checked(lib.tgb_query(fd, hook.attach_type, ids, MAX_PROGRAMS), str(cgroup))):
                info = ffi.new("struct tgb_prog *")
                if lib.tgb_prog_info_by_id(ids[index], info) < 0:
                    continue  # gone meanwhile
                name = ffi.string(info.name).decode(errors="replace")
                if not name.startswith(OURS):
                    label = hook.program.removeprefix(OURS).replace("client", "getpeername")
                    found[label, ids[index]] = ForeignProgram(label, name, ids[index])
    finally:
        os.close(fd)
    return sorted(found.values(), key=lambda p: (p.hook, p.id))


def _capabilities() -> list[Feature]:
    lacking = missing(permitted())
    return [Feature(c.name, c not in lacking, True, f"to {c.why}") for c in NEEDED]


def _cgroup2() -> Feature:
    try:
        return Feature("cgroup v2", True, True, str(cgroup2_mount()))
    except Fatal as error:
        return Feature("cgroup v2", False, True, str(error))


def _bpffs() -> Feature:
    there = bpffs_mounted(USUAL)
    detail = str(USUAL) if there else f"not mounted on {USUAL}; the agent mounts it"
    return Feature("bpf file system", there or USUAL.is_dir(), True, detail)


def _netns_cookie_option() -> Feature:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError as error:
            return Feature("SO_NETNS_COOKIE", False, True, f"{error}: since Linux 5.14")
    return Feature("SO_NETNS_COOKIE", True, True, "socket option, since Linux 5.14")
