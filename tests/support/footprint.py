"""What tests could leave behind in kernel and file system. `python -m tests.support.footprint` prints it as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

Footprint = dict[str, set[str]]


def footprint(only: str = "") -> Footprint:
    """What exists now, by kind; with only, the named things whose name contains it (several labs may run)."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    cgroup2 = next(line.split()[4] for line in mounts if " - cgroup2 " in line)
    return {
        "netns": _named(Path("/run/netns").glob("*"), only),
        # ip-netns(8) makes /run/netns a mount when the first netns is named, and leaves it so.
        "mounts": {m for line in mounts if only in line and (m := line.split()[4]) != "/run/netns"},
        "links": {line.split(":")[1].strip() for line in _lines("ip", "-o", "link")},
        "rules": _lines("ip", "rule") | _lines("ip", "-6", "rule"),
        "cgroups": _named((p for p in Path(cgroup2).rglob("*") if p.is_dir()), only),
        "pins": _named(Path("/sys/fs/bpf").rglob("*"), only),
        "run": _named(Path("/run").glob("tidegate*/*"), only),
        "state": {str(path) for path in Path("/var/lib").glob("tidegate*/**/*")},
        "processes": {p.parent.name for p in Path("/proc").glob("[0-9]*/cmdline") if _ours(p, only)},
    }


def bpf_objects() -> Footprint:
    """Ids of programs, maps and links in the kernel; ours have names that begin with tg_."""
    out: Footprint = {}
    for kind in ("prog", "map"):
        listed = json.loads("".join(_lines("bpftool", "-j", kind, "list")) or "[]")
        out[kind] = {f"{o['id']} {o['name']}" for o in listed if str(o.get("name", "")).startswith("tg")}
    return out


def left(before: Footprint, after: Footprint) -> Footprint:
    """What is in after and was not in before."""
    return {kind: found - before.get(kind, set()) for kind, found in after.items() if found - before.get(kind, set())}


def _lines(*command: str) -> set[str]:
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def _named(paths: Iterable[Path], only: str) -> set[str]:
    return {str(path) for path in paths if only in str(path)}


def _ours(cmdline: Path, only: str) -> bool:
    """Whether a process belongs to a lab or an agent: its files or its cgroup say so. That it works on a folder of some
    tree named tidegate does not: somebody may compile one meanwhile."""
    said = {name: _read(cmdline.with_name(name)) for name in ("cmdline", "environ", "cgroup")}
    files = said["cmdline"] + said["environ"]
    return any(
        f"{where}{only}".encode() in text
        for where, text in (
            ("tidegate-lab/", files + said["cgroup"]),
            ("/run/tidegate/", files),
            ("/tidegate/", said["cgroup"]),
        )
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended


if __name__ == "__main__":
    print(json.dumps({kind: sorted(found) for kind, found in {**footprint(), **bpf_objects()}.items()}))
