"""The devices of the data plane in memory, as strict as the real ones (tests/contract holds both to the same words),
and a cycle over them whose time stands still."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

from tests.support.clock import ManualClock
from tests.support.eventually import HANG_SECONDS
from tidegate.bpf.records import PodRow
from tidegate.dataplane.assembly import assemble
from tidegate.dataplane.capture import Inside, SandboxRecords, Seen
from tidegate.dataplane.cycle import Cycle
from tidegate.dataplane.devices import DestinationRow, NetnsHandle
from tidegate.errors import Rejected, Transient
from tidegate.linux.sock_diag import ListedSocket, TcpSockets
from tidegate.model.identity import Certified, Identity
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.plan.envoy import LISTENERS, EnvoyResource
from tidegate.model.plan.kernel import Destination, DestinationKey, GuardRow, InboundPort
from tidegate.model.plan.names import HostNames
from tidegate.model.plan.policy import PolicyTable
from tidegate.model.plan.relay import L4Service
from tidegate.model.status import Outcome, PodStatus, State, Status
from tidegate.model.workload import Capture, Sandbox
from tidegate.runtime.latest import Latest
from tidegate.runtime.worker import Worker

ABSENT_NETNS = "/run/netns/absent"


def off_the_loop() -> None:
    """What blocks must not be called where the event loop runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise AssertionError("called on the event loop")


class FakeTables:
    """tg_pods, tg_dests, tg_inbound and the guards. calls is what was asked of them, in order."""

    def __init__(self, room: int = 100_000) -> None:
        self.room = room  # rows of tg_dests, as the kernel's table has a bound
        self.rows: dict[int, PodRow] = {}
        self.dests: dict[DestinationKey, DestinationRow] = {}
        self.ports: set[InboundPort] = set()
        self.judged: set[GuardRow] = set()
        self.guards: set[int] = set()
        self.refused: set[int] = set()  # cookies whose guard or row the kernel refuses
        self.calls: list[tuple[str, object]] = []
        self.slow: Callable[[str], None] = lambda _: None  # called on the thread of each call

    def pods(self) -> dict[int, PodRow]:
        self._called("pods")
        return dict(self.rows)

    def set_pod(self, cookie: int, row: PodRow) -> None:
        self._called("set_pod", cookie)
        if cookie in self.refused:
            raise OSError(7, "tg_pods: Argument list too long")
        self.rows[cookie] = row

    def delete_pod(self, cookie: int) -> None:
        self._called("delete_pod", cookie)
        self.rows.pop(cookie, None)

    def destinations(self) -> dict[DestinationKey, DestinationRow]:
        self._called("destinations")
        return dict(self.dests)

    def set_destinations(self, rows: Iterable[Destination]) -> None:
        rows = list(rows)
        self._called("set_destinations", tuple(row.key for row in rows))
        for row in rows:
            if len(self.dests) >= self.room and row.key not in self.dests:
                raise OSError(7, "tg_dests: Argument list too long")
            self.dests[row.key] = (row.tier, row.service)

    def delete_destinations(self, keys: Iterable[DestinationKey]) -> None:
        keys = list(keys)
        self._called("delete_destinations", tuple(keys))
        for key in keys:
            self.dests.pop(key, None)

    def inbound(self) -> set[InboundPort]:
        self._called("inbound")
        return set(self.ports)

    def set_inbound(self, port: InboundPort) -> None:
        self._called("set_inbound", port)
        if port.netns_cookie in self.refused:
            raise OSError(7, "tg_inbound: Argument list too long")
        self.ports.add(port)

    def delete_inbound(self, port: InboundPort) -> None:
        self._called("delete_inbound", port)
        self.ports.discard(port)

    def guard_rows(self) -> set[GuardRow]:
        self._called("guard_rows")
        return set(self.judged)

    def set_guard(self, row: GuardRow) -> None:
        self._called("set_guard", row)
        if row.netns_cookie in self.refused:
            raise OSError(7, "tg_guards: Argument list too long")
        if row.address is not None:
            self.judged -= {one for one in self.judged if one.address == row.address}
        self.judged.add(row)

    def delete_guard(self, row: GuardRow) -> None:
        self._called("delete_guard", row)
        self.judged.discard(row)

    def attach_lookup(self, cookie: int, netns_fd: int) -> None:
        self._called("attach_lookup", cookie)
        if cookie in self.refused:
            raise OSError(22, "sk_lookup: Invalid argument")
        self.guards.add(cookie)

    def detach_lookup(self, cookie: int) -> None:
        self._called("detach_lookup", cookie)
        self.guards.discard(cookie)

    def lookups(self) -> set[int]:
        self._called("lookups")
        return set(self.guards)

    def count(self, call: str) -> int:
        """How often it was asked for that."""
        return sum(name == call for name, _ in self.calls)

    def _called(self, call: str, about: object = None) -> None:
        off_the_loop()
        self.calls.append((call, about))
        self.slow(call)


class FakeRelay:
    """A relay process. restart() is what its supervisor does after it died."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None  # of the next images
        self.policies: list[PolicyTable] = []  # that it was told, the last one counts
        self.policies_refusal: Exception | None = None  # of the next ones
        self.full = False  # no room for listeners
        self._processes = 1
        self.process: Latest[int] = Latest(1)
        self.images: list[tuple[L4Service, ...]] = []
        self.services: tuple[L4Service, ...] = ()
        self.listening: dict[int, tuple[int, int]] = {}
        self.asked = 0  # how often for listeners, new ones or not
        self.added: list[int] = []
        self._next_port = 10_000
        self.published: Callable[[], None] = lambda: None  # called when it took an image
        self.removed: Callable[[], None] = lambda: None  # called when it closed a pod's listeners

    async def add_sandbox(self, cookie: int, netns_fd: int, v6: bool, port: int = 0) -> tuple[int, int]:
        self.asked += 1
        if self.full:
            raise OSError(24, f"listener in netns {cookie}: Too many open files")
        if cookie in self.listening:
            return self.listening[cookie]
        self._next_port += 2
        self.added.append(cookie)
        self.listening[cookie] = ports = (port or self._next_port, (port or self._next_port + 1) if v6 else 0)
        return ports

    async def remove_sandbox(self, cookie: int) -> None:
        self.listening.pop(cookie, None)
        self.removed()

    async def sandboxes(self) -> Mapping[int, tuple[int, int]]:
        return dict(self.listening)

    async def publish(self, generation: int, services: Sequence[L4Service]) -> None:
        if self.refusal:
            raise self.refusal
        addresses = [address for service in services for address in service.addresses]
        if len(set(addresses)) < len(addresses):
            raise Rejected(f"services of generation {generation}", "two services claim one address and port")
        self.services = tuple(services)
        self.images.append(self.services)
        self.published()

    async def publish_policies(self, generation: int, table: PolicyTable) -> None:
        if self.policies_refusal:
            raise self.policies_refusal
        self.policies.append(table)

    async def restart(self, keeps: bool = False) -> None:
        """keeps: the new process took the listeners over."""
        self.services = ()
        if not keeps:
            self.listening = {}
        self._processes += 1
        await self.process.set(self._processes)


class FakeDns:
    """The node's DNS. restart() is what its supervisor does after it died."""

    def __init__(self) -> None:
        self._processes = 1
        self.process: Latest[int] = Latest(1)
        self.names: dict[str, HostNames] = {}
        self.pods: dict[int, tuple[str, bool]] = {}  # namespace, and whether with IPv6
        self.ports: dict[int, int] = {}  # that are ours in pods, for its sockets
        self.slots: set[int] = set()  # pods that have any
        self.told: list[tuple[int, int, bool]] = []  # of put_names: how many were put, how many went, whole
        self.refused: set[int] = set()  # pods in which it cannot listen
        self.hangs: asyncio.Event | None = None  # until which it says nothing

    async def put_names(self, put: Sequence[HostNames], gone: Iterable[str], *, whole: bool) -> None:
        gone = list(gone)
        await self._there()
        self.told.append((len(put), len(gone), whole))
        if whole:
            self.names = {}
        for host in gone:
            self.names.pop(host, None)
        self.names |= {host.host: host for host in put}

    async def add_pod(self, cookie: int, namespace: str, netns_fd: int, v6: bool, port: int) -> None:
        await self._there()
        if cookie in self.refused:
            raise OSError(98, "127.78.1.1: Address already in use")
        self.pods[cookie] = (namespace, v6)
        self.ports[cookie] = port
        self.slots.add(cookie)

    async def drop_pod(self, cookie: int) -> None:
        await self._there()
        self.pods.pop(cookie, None)
        self.slots.discard(cookie)

    async def keep_pods(self, cookies: Iterable[int]) -> None:
        await self._there()
        self.slots &= set(cookies)

    async def end(self) -> None:
        """It dies."""
        self.names, self.pods = {}, {}
        await self.process.set(0)

    async def restart(self) -> None:
        self._processes += 1
        await self.process.set(self._processes)

    async def _there(self) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if not self.process.value:
            raise Transient("the node's DNS", "is not there")


class FakeEnvoy:
    """An ADS server and its client. By default everything is confirmed at once; with answers=False only by answer()."""

    def __init__(self, answers: bool = True) -> None:
        self.answers = answers
        self.refused: tuple[Outcome, ...] = ()  # besides listeners whose netns is not there
        self.progress: Latest[int] = Latest(0)
        self.published: list[Mapping[str, Mapping[str, EnvoyResource]]] = []
        self.told: Callable[[], None] = lambda: None  # called when a configuration comes
        self.held: Mapping[str, EnvoyResource] = {}  # listeners that it serves
        self._generation = self._answered = 0

    async def publish(self, generation: int, resources: Mapping[str, Mapping[str, EnvoyResource]]) -> None:
        self.published.append(resources)
        self._generation = generation
        self.told()
        if self.answers:
            await self.answer()

    async def start(self) -> None:
        """From now on everything is answered at once."""
        self.answers = True
        if self.published:
            await self.answer()

    async def answer(self, but: Iterable[str] = ()) -> None:
        """Confirm what was published last; but = listeners that do not open yet."""
        late = {*but, *(outcome.item for outcome in self._absent())}
        self.held = {name: listener for name, listener in self._wanted().items() if name not in late}
        self._answered = 0 if set(but) else self._generation
        await self.progress.set(self.progress.value + 1)

    def answered(self) -> int:
        return self._answered

    def waiting(self) -> frozenset[str]:
        refused = {outcome.item for outcome in self.rejected()}
        return frozenset(n for n, r in self._wanted().items() if self.held.get(n) != r and n not in refused)

    def rejected(self) -> Sequence[Outcome]:
        return (*self.refused, *(self._absent() if self._answered else ()))

    def _wanted(self) -> Mapping[str, EnvoyResource]:
        return self.published[-1].get(LISTENERS, {}) if self.published else {}

    def _absent(self) -> list[Outcome]:
        return [
            Outcome(name, State.FAILED, "envoy: failed to open netns file", tuple(str(o) for o in listener.origins))
            for name, listener in self._wanted().items()
            if ABSENT_NETNS in str(listener.body)
        ]


@dataclass
class FakeNetns:
    """As good a descriptor as the cookie is."""

    fd: int

    def close(self) -> None:
        self.fd = -1


class FakeInside:
    """The insides of pods: gone is a netns that is no more, stuck one in which every call hangs until released."""

    def __init__(self) -> None:
        self.gone: set[int] = set()
        self.stuck: dict[int, threading.Event] = {}
        self.remembered: dict[int, Sandbox] = {}
        self.prepared: list[int] = []
        self.broken: set[int] = set()  # in which nothing can be done, for now
        self.seen: dict[int, Seen] = {}  # what is not as usual in there
        self.sockets: dict[int, TcpSockets] = {}
        self.cut: list[tuple[int, ListedSocket]] = []
        self.watched: dict[int, socket.socket] = {}  # the other ends of what tells of changes

    def __call__(self) -> Inside:
        return Inside(
            prepare=self._prepare,
            free_port=lambda fd, v6, declared: 20_000 + fd,
            watch=self._watch,
            restore=self._restore,
            sockets=lambda fd: self.sockets.get(fd, TcpSockets(frozenset(), ())),
            cut=self._cut,
        )

    def records(self) -> SandboxRecords:
        return SandboxRecords(self._netns, self._remember)

    def _remember(self, sandbox: Sandbox) -> None:
        off_the_loop()
        self.remembered[sandbox.netns_cookie] = sandbox

    def _netns(self, cookie: int) -> NetnsHandle:
        if cookie in self.gone:
            raise FileNotFoundError(2, "No such file or directory")
        return FakeNetns(cookie)

    def change(self, cookie: int, seen: Seen) -> None:
        """Something changes in there, and the kernel tells."""
        self.seen[cookie] = seen
        self.watched[cookie].send(b"news")

    def _watch(self, fd: int) -> tuple[Seen, socket.socket]:
        seen = self._prepare(fd)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        if fd in self.watched:
            self.watched[fd].close()
        self.watched[fd] = theirs
        return seen, ours

    def close(self) -> None:
        while self.watched:
            self.watched.popitem()[1].close()

    def _prepare(self, fd: int) -> Seen:
        off_the_loop()
        self.prepared.append(fd)
        self._hang(fd)
        if fd in self.broken:
            raise OSError(1, "Operation not permitted")
        return self.seen.get(fd, Seen())

    def _restore(self, fd: int) -> None:
        off_the_loop()
        self._hang(fd)
        if fd in self.broken:
            raise OSError(1, "Operation not permitted")

    def _cut(self, fd: int, one: ListedSocket) -> bool:
        off_the_loop()
        if fd in self.broken:
            raise OSError(95, "Operation not supported")
        self.cut.append((fd, one))
        return True

    def _hang(self, fd: int) -> None:
        if fd in self.stuck:
            assert self.stuck[fd].wait(HANG_SECONDS), "the event loop was held up"


def at(address: str, port: int) -> DestinationKey:
    """The key of a TCP row of tg_dests."""
    return DestinationKey(ip_address(address), port)


def sandbox(
    name: str, cookie: int, ip: str = "", *, kubernetes: bool = True, capture: Capture | None = None
) -> Sandbox:
    """A sandbox of default/NAME."""
    return Sandbox(
        WorkloadId("default", name),
        f"container-{cookie}",
        f"/run/netns/{name}",
        cookie,
        (ip_address(ip),) if ip else (),
        capture or Capture(),
        kubernetes=kubernetes,
    )


class FakeNames:
    """A name server: names with their addresses; others do not exist."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[IPAddress, ...]] = {}
        self.asked: list[str] = []

    def ask(self, name: str) -> tuple[IPAddress, ...]:
        self.asked.append(name)
        if name not in self.known:
            raise OSError(f"no such name: {name}")
        return self.known[name]


class FakeCertificates:
    """An identity store that issues when it is told to."""

    def __init__(self) -> None:
        self.held: Latest[Mapping[Identity, Certified]] = Latest({})
        self.wanted: frozenset[Identity] = frozenset()
        self.refused: dict[Identity, str] = {}

    def want(self, identities: Iterable[Identity], trust_domain: str) -> None:
        self.wanted = frozenset(identities)

    def missing(self) -> Mapping[Identity, str]:
        return {one: self.refused.get(one, "") for one in sorted(self.wanted - self.held.value.keys())}

    async def issue(self, serial: str = "1") -> None:
        """A certificate for everybody who wants one; another in place of one that is there."""
        text = serial.encode()
        held = {one: Certified(one, "td", text, text, text, 0.0, 1.0, serial) for one in self.wanted}
        await self.held.set(held)


class Node:
    """A cycle over devices in memory. Use with running()."""

    def __init__(self, config: Mesh | None = None, *sandboxes: Sandbox, certificates_ahead: bool = False) -> None:
        self.tables, self.relay, self.envoy, self.inside = FakeTables(), FakeRelay(), FakeEnvoy(), FakeInside()
        self.dns = FakeDns()
        self.certificates = FakeCertificates()
        self.certificates_ahead = certificates_ahead
        self.clock = ManualClock()
        self.names = FakeNames()
        self.config: Latest[Mesh | None] = Latest(config)
        self.sandboxes = list(sandboxes)
        self.relay_cgroup = 77  # whose sockets the relay judges itself
        self.cycle = self._cycle()

    def _cycle(self) -> Cycle:
        cycle = assemble(
            node="n",
            config=self.config,
            relay_cgroup=self.relay_cgroup,
            tables=self.tables,
            relay=self.relay,
            envoy=self.envoy,
            dns=self.dns,
            certificates=self.certificates,
            certificates_ahead=self.certificates_ahead,
            inside=self.inside(),
            records=self.inside.records(),
            disk=Worker("records"),
            clock=self.clock,
            jitter=lambda: 0.0,
            ask=self.names.ask,
        )
        cycle.set_sandboxes(self.sandboxes)
        return cycle

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        """Until the block is left. Entered when the first pass is over, if there is a configuration."""
        task = asyncio.create_task(self.cycle.run())
        try:
            await self.calm()
            yield self
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.inside.close()

    @asynccontextmanager
    async def killed_and_restarted(self) -> AsyncIterator[Node]:
        """The next agent over the devices that this one left, with what was recorded."""
        self.sandboxes = [self.inside.remembered.get(s.netns_cookie, s) for s in self.sandboxes]
        self.cycle = self._cycle()
        async with self.running():
            yield self

    async def calm(self) -> None:
        """Until nothing is under way any more and nobody has news."""
        async with asyncio.timeout(HANG_SECONDS):
            quiet = 0
            while quiet < 20:
                await asyncio.sleep(0 if quiet else 0.0005)  # worker threads get their turn
                quiet = quiet + 1 if self.cycle.idle else 0

    async def looked(self, cookie: int, times: int) -> None:
        """Until somebody looked into a pod so often, and what follows from that is done."""
        async with asyncio.timeout(HANG_SECONDS):
            seen = 0
            while seen < times:
                await asyncio.sleep(0.0005)  # worker threads get their turn
                seen = self.inside.prepared.count(cookie)
        await self.calm()

    async def configure(self, config: Mesh) -> None:
        await self.config.set(config)
        await self.calm()

    async def attach(self, *sandboxes: Sandbox) -> None:
        """CNI ADD, but for its answer."""
        self.sandboxes += sandboxes
        self.cycle.set_sandboxes(self.sandboxes)
        await self.calm()

    async def detach(self, cookie: int) -> None:
        """CNI DEL."""
        self.sandboxes = [s for s in self.sandboxes if s.netns_cookie != cookie]
        await self.cycle.release(self.sandboxes, cookie)

    async def later(self, seconds: float) -> None:
        """Turn the clock."""
        self.clock.advance(seconds)
        await self.calm()

    @property
    def status(self) -> Status:
        return self.cycle.status.value

    def pod(self, name: str) -> PodStatus | None:
        return next((p for p in self.status.pods if p.id.name == name), None)

    def failures(self, applier: str) -> list[tuple[str, str]]:
        return [(o.item, o.reason) for o in self.status.appliers[applier].failures]
