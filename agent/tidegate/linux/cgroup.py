"""The cgroup v2 hierarchy: where it is mounted, and by which number the kernel programs know a group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tidegate.errors import Fatal

MOUNTINFO = Path("/proc/self/mountinfo")


def mounts(lines: Iterable[str]) -> Iterator[tuple[Path, str, str]]:
    """(mount point, root inside the file system, type) of each line of a mountinfo file (proc(5)), oldest first."""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        yield Path(_unescape(words[4])), _unescape(words[3]), rest.split()[0]


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def cgroup2_mount() -> Path:
    """Where cgroup v2 is mounted; on hybrid machines that is not /sys/fs/cgroup. Raises Fatal if it is nowhere."""
    with MOUNTINFO.open() as lines:
        found = [(root, point) for point, root, kind in mounts(lines) if kind == "cgroup2"]
    if not found:
        raise Fatal("cgroup v2", "is not mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
    # A container may see a part of the hierarchy bind-mounted besides the whole.
    return next((point for root, point in found if root == "/"), found[0][1])


def cgroup_id(path: Path) -> int:
    """The number that bpf_get_current_cgroup_id() gives for processes in this directory: its inode (64-bit kernels)."""
    return path.stat().st_ino


def cgroup_home(own: Path, root: Path, node: str) -> Path:
    """Where this process may make groups from now on, made if need be: its own group, else a new one below the root.

    Raises Fatal if it may not.
    """
    if own != root:
        return own
    home = root / f"tidegate-{node}"
    try:
        home.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise Fatal(
            f"cgroup {home}", f"cannot be made: {error.strerror}", "start the agent in a cgroup of its own"
        ) from None
    return home


def own_cgroup() -> Path:
    """Directory of this process's cgroup v2. Raises Fatal if cgroup v2 is not mounted."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::/"):
            return cgroup2_mount() / line[4:]
    raise Fatal("cgroup v2", "this process is in no group of it", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
