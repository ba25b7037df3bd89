"""Which unix sockets of the node rules may lead to: those of one directory, that whoever runs the node names.

Envoy opens them with its own rights, for whoever may write a ServiceEntry. Without a bound that would be every socket
of the node that Envoy may open, ours among them.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tidegate.errors import Rejected

_LONGEST = 107  # bytes: sun_path of struct sockaddr_un without the zero at its end (unix(7))

_allowed: PurePosixPath | None = None


def allow_unix_endpoints(directory: Path | None) -> None:
    """Set it for this process, None = none at all. Once, before anything is read. Raises Rejected unless the path is
    absolute and no root."""
    global _allowed  # noqa: PLW0603 - as a process has one
    if directory is not None and (not directory.is_absolute() or len(directory.parts) < 2 or ".." in directory.parts):
        raise Rejected(f"--unix-endpoints {directory}", "is no directory of its own", "write for example /run/sockets")
    _allowed = None if directory is None else PurePosixPath(directory)


def too_long(path: str) -> bool:
    """Whether no socket can have the path, in which a @ in front stands for the zero of an abstract one."""
    return len(path.encode()) > _LONGEST


def unix_endpoint_allowed(path: str) -> bool:
    """Whether rules may lead to the socket of that path. Abstract sockets have no directory, so nobody allows them."""
    wanted = PurePosixPath(path)
    return _allowed is not None and ".." not in wanted.parts and _allowed in wanted.parents
