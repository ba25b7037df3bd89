"""The sandboxes of this node: what CNI calls say (enroll.ledger), on disk (enroll.records), each with the namespace
that it means, held by a descriptor of ours from ADD to DEL."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from tidegate.enroll.ledger import Detached, Ledger, attachment_of
from tidegate.enroll.records import Records
from tidegate.enroll.wire import CniRequest
from tidegate.errors import Rejected, Transient
from tidegate.linux.netns import Netns, NetnsNames
from tidegate.model.workload import Attachment, Sandbox

log = logging.getLogger(__name__)


class SandboxStore:
    """Owns the namespaces of its sandboxes until delete() or close().

    Calls block; load(), add(), delete(), collect(), sweep(), remember() and netns() from one thread at a time, the
    others from any.
    """

    def __init__(self, directory: Path, names: NetnsNames) -> None:
        self._ledger = Ledger()
        self._records = Records(directory)
        self._names = names
        self._netns: dict[int, Netns] = {}  # by cookie, of every sandbox in the ledger
        self._found: set[int] = set()  # cookies of those that were seen where the runtime says that they are

    def load(self) -> tuple[Sandbox, ...]:
        """Take up what an earlier agent recorded, as far as it still exists; all sandboxes. Call before any other.

        Names of namespaces whose sandbox is gone are removed: nothing else would let go of those namespaces.
        """
        for sandbox in self._records.read():
            netns = self._still_there(sandbox)
            if netns is None:
                self._records.remove(sandbox.container_id)
                continue
            self._netns[netns.cookie] = netns
            self._found.add(netns.cookie)
            self._drop(self._ledger.add(replace(sandbox, netns_path=str(netns.path))).replaced)
        try:
            self._names.sweep(self._netns.keys())
        except OSError as error:
            log.warning("names of namespaces that are gone stay: %s", error)
        return self.all()

    def add(self, request: CniRequest) -> Sandbox:
        """Record what a CNI ADD attached; repeating it changes nothing, and another interface of a sandbox changes
        nothing for those that it has. Raises Transient if it cannot be recorded, Rejected for the node's own namespace,
        where all that the node itself connects to would be taken for the pod's."""
        try:
            if self._names.is_own(request.netns_fd):
                remedy = "a pod of the host network is not attached"
                raise Rejected(f"sandbox of pod {request.pod}", "CNI_NETNS is the node's own network namespace", remedy)
            netns = self._names.keep(request.netns_fd)
        except OSError as error:
            raise Transient(f"sandbox of pod {request.pod}", f"its namespace cannot be kept: {error}") from error
        known = self._netns.get(netns.cookie)
        if known is not None:
            netns.detach()
            netns = known
        self._netns[netns.cookie] = netns
        sandbox = Sandbox(
            request.pod,
            request.container_id,
            str(netns.path),
            netns.cookie,
            request.ips,
            kubernetes=request.kubernetes,
            runtime_path=request.netns_path,
            attachments=(_attachment(request),),
        )
        if self._is_there(sandbox):
            self._found.add(netns.cookie)
        added = self._ledger.add(sandbox)
        try:
            self._records.write(added.sandbox, netns.identity)
        except OSError as error:
            self._ledger.undo(added)
            self._close_unused()
            raise Transient(f"sandbox of pod {request.pod}", f"cannot be recorded: {error}") from error
        # A container that is started again keeps its id, so its old record has been overwritten already.
        self._drop(tuple(old for old in added.replaced if old.container_id != request.container_id))
        for old in added.replaced:
            log.info(
                "pod %s: sandbox %.12s takes the place of %.12s", request.pod, request.container_id, old.container_id
            )
        return added.sandbox

    def delete(self, request: CniRequest) -> Sandbox | None:
        """Forget what a CNI DEL takes back; the sandbox, if that was its last interface or its namespace is gone. None
        if something of it stays, or if nothing was known."""
        known = self._ledger.find(request.container_id)
        if known is None:
            self._records.remove(request.container_id)
            return None
        cookie = self._names.cookie_of(request.netns_fd)
        if cookie not in (0, known.netns_cookie):
            log.info("pod %s: DEL of an earlier namespace of %.12s", known.id, request.container_id)
            return None
        if attachment_of(known, request.ifname, request.ips) is None:
            log.info("pod %s: DEL of %s, which is not attached", known.id, request.ifname)
            return None
        # Whose namespace is gone has no interface any more, whether or not the runtime tells of each.
        return self._write(
            self._ledger.detach(request.container_id, _attachment(request))
            if cookie
            else self._ledger.remove(request.container_id)
        )

    def collect(self, request: CniRequest) -> tuple[Sandbox, ...]:
        """Forget what is attached to the request's network and is not among its valid attachments, and sandboxes that
        nobody calls valid and whose namespace the runtime has removed. The sandboxes of which nothing stays."""
        valid = request.valid or frozenset()
        gone: list[Sandbox | None] = [*self.sweep({container for container, _ in valid})]
        for container, attachment in self._ledger.stale(request.network, valid) if request.valid is not None else ():
            log.info("container %.12s: %s is not attached any more", container, attachment.ifname)
            gone.append(self._write(self._ledger.detach(container, attachment)))
        return tuple(sandbox for sandbox in gone if sandbox is not None)

    def sweep(self, but: Collection[str] = ()) -> tuple[Sandbox, ...]:
        """Forget and return sandboxes whose namespace the runtime has removed without telling; but: containers that it
        calls valid. One that was never seen at its path says nothing by not being there."""
        lost = [s for s in self.all() if s.container_id not in but and s.netns_cookie in self._found]
        lost = [sandbox for sandbox in lost if not self._is_there(sandbox)]
        for sandbox in lost:
            log.info("pod %s: the runtime has removed %s without a DEL", sandbox.id, sandbox.runtime_path)
            self._write(self._ledger.remove(sandbox.container_id))
        return tuple(lost)

    def find(self, request: CniRequest) -> Sandbox | None:
        """The sandbox that a call is about, if it is attached by the call's interface."""
        known = self._ledger.find(request.container_id)
        return known if known and attachment_of(known, request.ifname, request.ips) else None

    def remember(self, sandbox: Sandbox) -> None:
        """Record what the data plane gave to a sandbox (capture ports)."""
        known = self._ledger.update(sandbox)
        if known is not None:
            self._rewrite(known)

    def all(self) -> tuple[Sandbox, ...]:
        return tuple(self._ledger)

    def by_cookie(self) -> Mapping[int, Sandbox]:
        return self._ledger.by_cookie()

    def netns(self, cookie: int) -> Netns:
        """The namespace of a sandbox, owned by this store: dup() what must outlive a CNI DEL. Raises KeyError."""
        return self._netns[cookie]

    def close(self) -> None:
        """Let go of the descriptors; records and names stay for the next agent."""
        while self._netns:
            self._netns.popitem()[1].detach()

    def _write(self, detached: Detached | None) -> Sandbox | None:
        """Record what remains of a sandbox; the sandbox, if nothing does."""
        if detached is None:
            return None
        if detached.left is not None:
            self._rewrite(detached.left)
            return None
        self._drop((detached.before,))
        return detached.before

    def _rewrite(self, sandbox: Sandbox) -> None:
        try:
            self._records.write(sandbox, self._netns[sandbox.netns_cookie].identity)
        except OSError as error:
            log.warning("pod %s: its record is out of date: %s", sandbox.id, error)

    def _is_there(self, sandbox: Sandbox) -> bool:
        """Whether the runtime's path still means this namespace. It is held by us, so its inode is nobody else's."""
        try:
            status = os.stat(sandbox.runtime_path)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return (status.st_dev, status.st_ino) == self._netns[sandbox.netns_cookie].identity

    def _drop(self, sandboxes: tuple[Sandbox, ...]) -> None:
        """Forget records of sandboxes that left the ledger, and namespaces that nobody in it means."""
        for sandbox in sandboxes:
            self._records.remove(sandbox.container_id)
        self._close_unused()

    def _close_unused(self) -> None:
        self._found &= self._ledger.by_cookie().keys()
        for cookie in self._netns.keys() - self._ledger.by_cookie().keys():
            try:
                self._netns.pop(cookie).close()
            except OSError as error:
                log.warning("the name of namespace %d stays until the next start: %s", cookie, error)

    def _still_there(self, sandbox: Sandbox) -> Netns | None:
        """The namespace of a recorded sandbox; None if the runtime's path means nothing or another one by now.

        Inode numbers of namespaces are used again, cookies are not.
        """
        try:
            return self._names.reopen(sandbox.runtime_path, sandbox.netns_cookie)
        except OSError as error:
            log.info("pod %s: its sandbox %.12s is gone: %s", sandbox.id, sandbox.container_id, error)
            return None


def _attachment(request: CniRequest) -> Attachment:
    return Attachment(request.ifname, request.network, request.ips)
