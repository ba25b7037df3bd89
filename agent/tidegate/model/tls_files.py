"""Where the files are that a DestinationRule names.

Upstream they are those of the client's own proxy container. Our proxy is the node's, and whoever may write a rule must
not read the node's files by it: the paths of a namespace's rules begin in a folder of that namespace, which only the
operator of the node fills (decision 21).
"""

from __future__ import annotations

import posixpath

DEFAULT_ROOT = "/etc/tidegate/tls"
# The certificates that this system trusts; Debian, Ubuntu, Alpine, Arch and SUSE have them there.
SYSTEM = "/etc/ssl/certs/ca-certificates.crt"


_root = DEFAULT_ROOT
_own = False


def use_tls_files(root: str) -> None:
    """Set the folder of this node that has the namespaces' folders in it, "" = the default. Once, before anything is
    read."""
    global _root  # noqa: PLW0603 - as a process has one
    _root = root or DEFAULT_ROOT


def use_own_tls_files() -> None:
    """Paths are those of this process's own container, as of a gateway. Once, before anything is read."""
    global _own  # noqa: PLW0603 - as a process has one
    _own = True


def node_path(path: str, namespace: str) -> str:
    """The file of the node that a path in a rule of a namespace means. Raises ValueError for one that leads out."""
    if not path or "\0" in path or ".." in path.split("/"):
        raise ValueError(path)
    if _own:
        return posixpath.normpath(posixpath.join("/", path))
    return posixpath.join(_root, namespace, posixpath.normpath(path).lstrip("/"))


def written_path(path: str) -> str:
    """The path that a rule wrote, of one that node_path() gave: what it means to a proxy in a container of its own."""
    inside = path.removeprefix(_root.rstrip("/") + "/")
    if _own or inside == path:
        return path
    return "/" + inside.partition("/")[2]
