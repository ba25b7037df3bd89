"""Which sandboxes this node has, and by which interfaces: a state machine fed by CNI calls. Sans-IO.

Invariants: a pod has one sandbox, a network namespace belongs to one pod, a sandbox is here as long as one interface
of it is attached. A runtime repeats ADD when it got no answer and rebuilds a sandbox without always telling about the
old one; both are recognised here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.workload import Attachment, Sandbox


@dataclass(frozen=True, slots=True)
class Added:
    """sandbox is what the ledger holds now, before what it held of the same sandbox; replaced are sandboxes that it
    took the place of."""

    sandbox: Sandbox
    before: Sandbox | None = None
    replaced: tuple[Sandbox, ...] = ()


@dataclass(frozen=True, slots=True)
class Detached:
    """before is the sandbox with the interface that went, left what remains of it: None if that was its last one."""

    before: Sandbox
    left: Sandbox | None


class Ledger:
    """Sandboxes by pod."""

    def __init__(self) -> None:
        self._by_pod: dict[WorkloadId, Sandbox] = {}
        self._by_container: dict[str, WorkloadId] = {}
        self._by_cookie: Mapping[int, Sandbox] = {}  # replaced, never written to: other threads read it

    def __iter__(self) -> Iterator[Sandbox]:
        return iter(self._by_cookie.values())

    def add(self, sandbox: Sandbox) -> Added:
        """Record a sandbox with the interface that an ADD made. One that is known keeps its capture ports and its other
        interfaces; a pod's new netns replaces its old one with all that was attached to it."""
        known = self._by_pod.get(sandbox.id)
        if known and (known.container_id, known.netns_cookie) == (sandbox.container_id, sandbox.netns_cookie):
            both = _attached(known.attachments, sandbox.attachments)
            kept = replace(sandbox, capture=known.capture, v6_capture=known.v6_capture, attachments=both)
            kept = replace(kept, ips=_addresses(both) or sandbox.ips)
            self._change((known,), kept)
            return Added(kept, before=known)
        old = (known, self._by_cookie.get(sandbox.netns_cookie), self.find(sandbox.container_id))
        replaced = tuple({s.id: s for s in old if s is not None}.values())
        self._change(replaced, sandbox)
        return Added(sandbox, replaced=replaced)

    def undo(self, added: Added) -> None:
        """As if that had not been added, by whoever just did."""
        self._change((added.sandbox,), *added.replaced, *([added.before] if added.before else []))

    def detach(self, container_id: str, attachment: Attachment) -> Detached | None:
        """Forget one interface, and with the last one the sandbox; None if it is not known. A DEL that comes after the
        pod was rebuilt names the old container."""
        known = self.find(container_id)
        if known is None:
            return None
        rest = tuple(other for other in known.attachments if not _same(other, attachment))
        if len(rest) == len(known.attachments):
            return None
        left = replace(known, attachments=rest, ips=_addresses(rest)) if rest else None
        self._change((known,), *([left] if left else []))
        return Detached(known, left)

    def remove(self, container_id: str) -> Detached | None:
        """Forget a sandbox with all its interfaces."""
        known = self.find(container_id)
        if known is None:
            return None
        self._change((known,))
        return Detached(known, None)

    def stale(self, network: str, valid: Collection[tuple[str, str]]) -> tuple[tuple[str, Attachment], ...]:
        """Attachments to a network that are not among the valid ones (container, interface), with their containers.

        What an earlier agent recorded without its interface is of no network, so nobody can say that it is stale.
        """
        return tuple(
            (sandbox.container_id, attachment)
            for sandbox in self
            for attachment in sandbox.attachments
            if attachment.ifname
            and attachment.network == network
            and (sandbox.container_id, attachment.ifname) not in valid
        )

    def find(self, container_id: str) -> Sandbox | None:
        pod = self._by_container.get(container_id)
        return None if pod is None else self._by_pod.get(pod)

    def update(self, sandbox: Sandbox) -> Sandbox | None:
        """Take over what the data plane gave to a sandbox; what is known now, None if it has gone meanwhile."""
        known = self.find(sandbox.container_id)
        if known is None or known.netns_cookie != sandbox.netns_cookie:
            return None
        kept = replace(known, capture=sandbox.capture, v6_capture=sandbox.v6_capture)
        self._change((known,), kept)
        return kept

    def by_cookie(self) -> Mapping[int, Sandbox]:
        """As it is now; it does not change under its reader."""
        return self._by_cookie

    def _change(self, gone: Collection[Sandbox], *come: Sandbox) -> None:
        cookies = dict(self._by_cookie)
        for sandbox in gone:
            self._by_pod.pop(sandbox.id, None)
            self._by_container.pop(sandbox.container_id, None)
            if sandbox.netns_cookie not in {other.netns_cookie for other in come}:
                cookies.pop(sandbox.netns_cookie, None)
        for sandbox in come:
            self._by_pod[sandbox.id] = sandbox
            self._by_container[sandbox.container_id] = sandbox.id
            cookies[sandbox.netns_cookie] = sandbox
        self._by_cookie = cookies


def attachment_of(sandbox: Sandbox, ifname: str, ips: Collection[IPAddress]) -> Attachment | None:
    """The attachment that a call means by this interface; None if there is none."""
    return next((known for known in sandbox.attachments if _same(known, Attachment(ifname, "", tuple(ips)))), None)


def _attached(known: tuple[Attachment, ...], come: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
    """Each in the place of what is the same interface, the others behind."""
    merged = list(known)
    for attachment in come:
        at = next((n for n, other in enumerate(merged) if _same(other, attachment)), len(merged))
        merged[at : at + 1] = [attachment]
    return tuple(merged)


def _same(known: Attachment, meant: Attachment) -> bool:
    """Whether a call means a known attachment. One that was recorded without its interface is known by its addresses,
    and where a call tells none it was the only one."""
    if known.ifname:
        return known.ifname == meant.ifname
    return not meant.ips or not known.ips or not set(known.ips).isdisjoint(meant.ips)


def _addresses(attachments: tuple[Attachment, ...]) -> tuple[IPAddress, ...]:
    """Of the oldest attachment that has any: what the pod is known by."""
    return next((attachment.ips for attachment in attachments if attachment.ips), ())
