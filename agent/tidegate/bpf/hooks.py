"""Which program is attached where. The order is the order of attaching: records before redirection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tidegate.native import lib


class Scope(Enum):
    """Whose sockets a program must see."""

    PODS = "pods"  # the cgroup tree of the pods
    ENVOY = "envoy"  # Envoy's own cgroup
    LISTENERS = "listeners"  # the agent's and Envoy's, and nobody else's
    NODE = "node"  # everybody's, where the pods' tree is not all there is
    BOTH_ENDS = "both ends"  # pods, and the agent and Envoy as listeners, wherever their cgroups are


@dataclass(frozen=True, slots=True)
class Hook:
    """One program of one object, by file name without .bpf.o and by function name."""

    file: str
    program: str
    scope: Scope
    attach_type: int


HOOKS: tuple[Hook, ...] = (
    Hook("listen", "tg_listen", Scope.LISTENERS, lib.BPF_CGROUP_SOCK_OPS),
    Hook("sockops", "tg_sockops", Scope.BOTH_ENDS, lib.BPF_CGROUP_SOCK_OPS),
    Hook("sockops", "tg_node_calls", Scope.NODE, lib.BPF_CGROUP_SOCK_OPS),
    Hook("nagle", "tg_served", Scope.PODS, lib.BPF_CGROUP_SOCK_OPS),
    Hook("nagle", "tg_upstream", Scope.ENVOY, lib.BPF_CGROUP_SOCK_OPS),
    Hook("sockopt", "tg_getsockopt", Scope.ENVOY, lib.BPF_CGROUP_GETSOCKOPT),
    Hook("wishes", "tg_setsockopt", Scope.PODS, lib.BPF_CGROUP_SETSOCKOPT),
    Hook("names", "tg_client4", Scope.ENVOY, lib.BPF_CGROUP_INET4_GETPEERNAME),
    Hook("names", "tg_client6", Scope.ENVOY, lib.BPF_CGROUP_INET6_GETPEERNAME),
    Hook("names", "tg_getpeername4", Scope.PODS, lib.BPF_CGROUP_INET4_GETPEERNAME),
    Hook("names", "tg_getpeername6", Scope.PODS, lib.BPF_CGROUP_INET6_GETPEERNAME),
    Hook("names", "tg_getsockname4", Scope.PODS, lib.BPF_CGROUP_INET4_GETSOCKNAME),
    Hook("names", "tg_getsockname6", Scope.PODS, lib.BPF_CGROUP_INET6_GETSOCKNAME),
    Hook("dns", "tg_recvmsg4", Scope.PODS, lib.BPF_CGROUP_UDP4_RECVMSG),
    Hook("dns", "tg_recvmsg6", Scope.PODS, lib.BPF_CGROUP_UDP6_RECVMSG),
    Hook("dns", "tg_sendmsg4", Scope.PODS, lib.BPF_CGROUP_UDP4_SENDMSG),
    Hook("dns", "tg_sendmsg6", Scope.PODS, lib.BPF_CGROUP_UDP6_SENDMSG),
    Hook("connect", "tg_connect4", Scope.PODS, lib.BPF_CGROUP_INET4_CONNECT),
    Hook("connect", "tg_connect6", Scope.PODS, lib.BPF_CGROUP_INET6_CONNECT),
)


def places(hook: Hook, pods: Path, agent: Path, envoy: Path, node: Path | None = None) -> dict[str, Path]:
    """Pin name -> cgroup directory for a hook. Programs also run for descendants, so nested directories count once.

    node: the tree that the node's own processes are in; None = none of their sockets is known."""
    if hook.scope is Scope.NODE:
        return {} if node is None or node.is_relative_to(pods) else {hook.program: node}
    if hook.scope is Scope.PODS:
        return {hook.program: pods}
    if hook.scope is Scope.ENVOY:
        return {hook.program: envoy}
    # No dots: bpffs reserves them and refuses such a name (EPERM).
    named = {f"{hook.program}_agent": agent, f"{hook.program}_envoy": envoy}
    if hook.scope is Scope.BOTH_ENDS:
        named[hook.program] = pods
    return {name: path for name, path in named.items() if not _covered(name, path, named.items())}


def _covered(name: str, path: Path, others: Iterable[tuple[str, Path]]) -> bool:
    for other_name, other in others:
        if other_name != name and path.is_relative_to(other) and (path != other or other_name < name):
            return True
    return False
