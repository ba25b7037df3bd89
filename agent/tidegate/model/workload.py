"""A pod of this node as enrolment knows it: what the runtime told us (Sandbox) and what we gave it (Capture)."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress


@dataclass(frozen=True, slots=True)
class Capture:
    """Ports of the listeners inside one pod's netns. 0 = no such listener. Addresses: bpf/include/tg_capture.h."""

    fastpath4: int = 0
    fastpath6: int = 0
    envoy4: int = 0
    envoy6: int = 0

    @property
    def port(self) -> int:
        """The number that is ours in the pod; 0 = none is yet."""
        return self.fastpath4 or self.fastpath6 or self.envoy4 or self.envoy6


FOUND = "found-"  # begins the container id of a sandbox that no runtime told of: no runtime's own begins so


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of a sandbox: what one CNI ADD made and one DEL takes back (CNI specification 1.1.0, section 3)."""

    ifname: str  # CNI_IFNAME; "" in a record of an agent that did not write it down
    network: str  # name of the network configuration; "" likewise
    ips: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One pod sandbox, attached to this node by CNI ADD through one interface or several, or found while it ran."""

    id: WorkloadId
    container_id: str
    netns_path: str  # for Envoy: a name of ours that only ever means this namespace (linux.netns.NetnsNames)
    netns_cookie: int  # SO_NETNS_COOKIE of a socket inside; the pod's identity in every kernel table
    ips: tuple[IPAddress, ...]  # of its oldest attachment that has any
    capture: Capture = Capture()
    v6_capture: bool = False  # IPv6 works inside and the v6 capture prefix is routed to lo; may change while it runs
    kubernetes: bool = True  # False: a container of a runtime without Kubernetes; nobody will bring its Pod later
    runtime_path: str = ""  # as the runtime named it: only to see whether it is still there
    attachments: tuple[Attachment, ...] = ()  # the oldest first

    @property
    def found(self) -> bool:
        """Whether it ran before we knew of it: no runtime has told its container id."""
        return self.container_id.startswith(FOUND)
