"""What the data plane needs of its devices. Everything that implements these, fakes included, passes tests/contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from tidegate.bpf.records import DestinationKey, PodRow
from tidegate.model.identity import Certified, Identity
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.plan.kernel import Destination, GuardRow, InboundPort
from tidegate.model.plan.names import HostNames
from tidegate.model.plan.policy import PolicyTable
from tidegate.model.plan.relay import L4Service
from tidegate.model.status import Outcome
from tidegate.model.tier import Tier
from tidegate.runtime.latest import Latest

T = TypeVar("T")
DestinationRow = tuple[Tier, int]  # who serves it, number of the service


class KernelTables(Protocol):
    """The part of bpf.datapath.Datapath that changes with configuration and enrolment. Calls block; one at a time.

    Each raises OSError or TidegateError when the kernel refuses; deleting what is not there is fine.
    """

    def pods(self) -> dict[int, PodRow]: ...
    def set_pod(self, cookie: int, row: PodRow) -> None: ...
    def delete_pod(self, cookie: int) -> None: ...
    def destinations(self) -> dict[DestinationKey, DestinationRow]: ...
    def set_destinations(self, rows: Iterable[Destination]) -> None:
        """All of them, or OSError when the kernel refuses one; some of the others may be written then."""

    def delete_destinations(self, keys: Iterable[DestinationKey]) -> None: ...
    def inbound(self) -> set[InboundPort]: ...
    def set_inbound(self, port: InboundPort) -> None: ...
    def delete_inbound(self, port: InboundPort) -> None: ...
    def guard_rows(self) -> set[GuardRow]: ...
    def set_guard(self, row: GuardRow) -> None: ...
    def delete_guard(self, row: GuardRow) -> None:
        """One of an address that is another pod's by now stays that pod's."""

    def attach_lookup(self, cookie: int, netns_fd: int) -> None: ...
    def detach_lookup(self, cookie: int) -> None: ...
    def lookups(self) -> set[int]: ...


class Relay(Protocol):
    """The process that relays TCP. Calls raise OSError or TidegateError when it refuses or is not there."""

    @property
    def process(self) -> Latest[int]:
        """0 while none is reachable, else a number that rises with each relay process."""

    async def add_sandbox(self, cookie: int, netns_fd: int, v6: bool, port: int = 0) -> tuple[int, int]:
        """Listen inside a pod, once, on this port if it is free; ports on the v4 and the v6 capture address, the latter
        0 without v6."""

    async def remove_sandbox(self, cookie: int) -> None:
        """Close the pod's listeners and reset its connections; no error if there are none."""

    async def sandboxes(self) -> Mapping[int, tuple[int, int]]:
        """The listeners that it has, by netns cookie: as add_sandbox returned them, perhaps to an earlier agent."""

    async def publish(self, generation: int, services: Sequence[L4Service]) -> None:
        """Replace all services; after an error those in force stay."""

    async def publish_policies(self, generation: int, table: PolicyTable) -> None:
        """Judge by these who may connect to pods, those who are connected too; after an error those in force stay."""


class Envoy(Protocol):
    """xds.server.AdsServer: what Envoy is told, and what it said to that."""

    @property
    def progress(self) -> Latest[int]:
        """Rises whenever one of the answers below may have changed."""

    async def publish(self, generation: int, resources: Mapping[str, Mapping[str, EnvoyResource]]) -> None: ...

    def answered(self) -> int:
        """The published generation if Envoy confirmed or refused each part of it, else 0."""

    def waiting(self) -> frozenset[str]:
        """Names of published listeners that Envoy neither serves as they are published nor has refused."""

    def rejected(self) -> Sequence[Outcome]: ...


class Certificates(Protocol):
    """identity.store.Identities: certificates of the workloads of this node."""

    @property
    def held(self) -> Latest[Mapping[Identity, Certified]]:
        """What there is, replaced whole."""

    def want(self, identities: Iterable[Identity], trust_domain: str) -> None:
        """All that are wanted from now on."""

    def missing(self) -> Mapping[Identity, str]:
        """Those that are wanted and not there; why, if they were refused."""


class Dns(Protocol):
    """dns.client.NodeDnsProcess: answers questions of pods. Calls raise OSError or TidegateError when it refuses or is
    not there; after that nobody knows which names it has."""

    @property
    def process(self) -> Latest[int]:
        """0 while none is reachable, else another number for each process; a new one knows no name and no pod."""

    async def put_names(self, put: Sequence[HostNames], gone: Iterable[str], *, whole: bool) -> None:
        """Add and replace hosts, forget others. whole: these are all."""

    async def add_pod(self, cookie: int, namespace: str, netns_fd: int, v6: bool, port: int) -> None:
        """Take a pod's questions from now on; twice is once."""

    async def drop_pod(self, cookie: int) -> None:
        """Leave a pod's questions to its resolver, and forget which resolvers it has; none is fine."""

    async def keep_pods(self, cookies: Iterable[int]) -> None:
        """Forget which resolvers all other pods have."""


class NetnsHandle(Protocol):
    """linux.netns.Netns: a network namespace by a descriptor of ours."""

    @property
    def fd(self) -> int: ...

    def close(self) -> None: ...


class InNetns(Protocol):
    """linux.netns.in_netns: run a function on a thread that is inside the netns."""

    def __call__(self, fd: int, fn: Callable[[], T], /) -> T: ...
