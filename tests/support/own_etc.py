"""A /etc of its own for everything that one lab runs: names and certificates as the machine would have them.

The real one lies below, read only; what is written on top is nobody else's and goes with the process that holds it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_HOLD = """
set -e
mount -t tmpfs tmpfs "$0"
mkdir "$0/upper" "$0/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$0/upper,workdir=$0/work" /etc
echo ready
exec sleep infinity
"""


class OwnEtc:
    """Made at once; end() takes it away, when nothing of the lab runs any more."""

    def __init__(self, place: Path) -> None:
        """place: an empty directory; nothing is left in it."""
        own = ["unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", _HOLD, str(place)]
        self._holder = subprocess.Popen(own, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "no overlay on /etc"

    @property
    def program(self) -> list[str]:
        """What goes before a command that is to have this /etc."""
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]

    def write(self, path: str, content: bytes | str) -> None:
        """Write a file; path: absolute, below /etc."""
        assert path.startswith("/etc/")
        file = self.seen(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def seen(self, path: str) -> Path:
        """A file of this /etc, for everybody else."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def end(self) -> None:
        """Let it go."""
        self._holder.kill()
        self._holder.communicate()
