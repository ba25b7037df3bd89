"""The sandboxes of this node: what CNI calls say (enroll.ledger), on disk (enroll.records), each with the namespace
that it means, held by a descriptor of ours from ADD to DEL."""

from __future__ import annotations

import logging
import os
import threading
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

TAKEN_BACK = 1024  # namespaces that are remembered after their DEL; cookies are not used again


class SandboxStore:
    """Owns the namespaces of its sandboxes until let_go() or close().

    load(), add(), delete(), collect(), sweep() and remember() block: call them from one thread at a time. let_go()
    blocks longer, as the kernel waits for all processors before a name is gone: give it another thread. The rest may
    be called from any.
    """

    def __init__(self, directory: Path, names: NetnsNames) -> None:
        self._ledger = Ledger()
        self._records = Records(directory)
        self._names = names
        self._guard = threading.Condition()  # of the three below; nothing blocks while it is held
        self._netns: dict[int, Netns] = {}  # by cookie, of every sandbox in the ledger
        self._unused: dict[int, Netns] = {}  # that no sandbox means any more
        self._leaving: set[int] = set()  # whose names are being removed
        self._taken_back: dict[int, None] = {}  # cookies of those that a DEL took back last, the oldest first
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
            self._own(netns)
            self._found.add(netns.cookie)
            self._drop(self._ledger.add(replace(sandbox, netns_path=str(netns.path))).replaced)
        try:
            self._names.sweep(self._netns.keys())
        except OSError as error:
            log.warning("names of namespaces that are gone stay: %s", error)
        self.let_go()
        return self.all()

    def add(self, request: CniRequest) -> Sandbox:
        """Record what a CNI ADD attached; repeating it changes nothing, and another interface of a sandbox changes
        nothing for those that it has. Raises Transient if it cannot be recorded, Rejected for the node's own namespace,
        where all that the node itself connects to would be taken for the pod's."""
        try:
            cookie = self._names.cookie_of(request.netns_fd)
            if cookie == self._names.own_cookie():
                remedy = "a pod of the host network is not attached"
                raise Rejected(f"sandbox of pod {request.pod}", "CNI_NETNS is the node's own network namespace", remedy)
            netns = self._held(request.netns_fd, cookie, request.netns_path)
        except OSError as error:
            raise Transient(f"sandbox of pod {request.pod}", f"its namespace cannot be kept: {error}") from error
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
            self._part()
            raise Transient(f"sandbox of pod {request.pod}", f"cannot be recorded: {error}") from error
        # A container that is started again keeps its id, so its old record has been overwritten already.
        self._drop(tuple(old for old in added.replaced if old.container_id != request.container_id))
        for old in added.replaced:
            log.info(
                "pod %s: sandbox %.12s takes the place of %.12s", request.pod, request.container_id, old.container_id
            )
        return added.sandbox

    def take_up(self, request: CniRequest) -> Sandbox | None:
        """add() of a sandbox that was found running; None if an ADD has told of that pod or namespace meanwhile, or a
        DEL has: the runtime takes it down while the cluster says that its pod runs."""
        cookie = self._names.cookie_if_any(request.netns_fd)
        if self.has_told(cookie) or any(sandbox.id == request.pod for sandbox in self._ledger):
            return None
        return self.add(request)

    def look(self, request: CniRequest) -> tuple[int, bool]:
        """The cookie of a request's namespace, and whether that is where the runtime says. Blocks, on any thread.
        Raises Transient if it is no namespace."""
        try:
            held, cookie = os.fstat(request.netns_fd), self._names.cookie_of(request.netns_fd)
        except OSError as error:
            raise Transient(f"sandbox of pod {request.pod}", f"its namespace cannot be kept: {error}") from error
        return cookie, _is_at(request.netns_path, (held.st_dev, held.st_ino))

    def delete(self, request: CniRequest) -> Sandbox | None:
        """Forget what a CNI DEL takes back; the sandbox, if that was its last interface or its namespace is gone. None
        if something of it stays, or if nothing was known."""
        cookie = self._names.cookie_if_any(request.netns_fd)
        known = self._ledger.find(request.container_id) or self._found_running(cookie)
        if known is None:
            self._records.remove(request.container_id)
            return None
        if cookie not in (0, known.netns_cookie):
            log.info("pod %s: DEL of an earlier namespace of %.12s", known.id, request.container_id)
            return None
        if attachment_of(known, request.ifname, request.ips) is None:
            log.info("pod %s: DEL of %s, which is not attached", known.id, request.ifname)
            return None
        self._take_back(known.netns_cookie)
        # Whose namespace is gone has no interface any more, whether or not the runtime tells of each.
        return self._write(
            self._ledger.detach(known.container_id, _attachment(request))
            if cookie
            else self._ledger.remove(known.container_id)
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

    def has_told(self, cookie: int) -> bool:
        """Whether a runtime has said that this namespace has come, or that it goes."""
        return cookie in self._ledger.by_cookie() or cookie in self._taken_back

    def _found_running(self, cookie: int) -> Sandbox | None:
        """The sandbox of this namespace, if nobody told its container id."""
        known = self._ledger.by_cookie().get(cookie)
        return known if known is not None and known.found else None

    def knows(self, container_id: str) -> bool:
        """Whether a sandbox is here, whatever its interfaces."""
        return self._ledger.find(container_id) is not None

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
        """The namespace of a sandbox, by a descriptor that the caller closes. Raises KeyError, OSError."""
        with self._guard:
            return self._netns[cookie].dup()

    @property
    def has_unused(self) -> bool:
        """Whether there is something to let go of."""
        with self._guard:
            return bool(self._unused)

    def let_go(self) -> None:
        """Close the namespaces that no sandbox means any more, and remove their names. From any thread."""
        while (netns := self._next_unused()) is not None:
            try:
                netns.close()
            except OSError as error:
                log.warning("the name of namespace %d stays until the next start: %s", netns.cookie, error)
            finally:
                with self._guard:
                    self._leaving.discard(netns.cookie)
                    self._guard.notify_all()

    def close(self) -> None:
        """Let go of the descriptors; records and names stay for the next agent, which removes names without record."""
        with self._guard:
            for held in (self._netns, self._unused):
                while held:
                    held.popitem()[1].detach()

    def _take_back(self, cookie: int) -> None:
        """Remember, for as long as a runtime needs to take down what it says is going."""
        self._taken_back[cookie] = None
        while len(self._taken_back) > TAKEN_BACK:
            del self._taken_back[next(iter(self._taken_back))]

    def _held(self, fd: int, cookie: int, told: str) -> Netns:
        """The namespace of a borrowed descriptor, owned. A name of it that is being removed is waited for. OSError."""
        with self._guard:
            self._guard.wait_for(lambda: cookie not in self._leaving)
            known = self._netns.get(cookie) or self._unused.pop(cookie, None)
        netns = known or self._names.keep(fd, cookie, told)
        self._own(netns)
        return netns

    def _own(self, netns: Netns) -> None:
        with self._guard:
            self._netns[netns.cookie] = netns

    def _next_unused(self) -> Netns | None:
        with self._guard:
            if not self._unused:
                return None
            cookie, netns = self._unused.popitem()
            self._leaving.add(cookie)
            return netns

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
        return _is_at(sandbox.runtime_path, self._netns[sandbox.netns_cookie].identity)

    def _drop(self, sandboxes: tuple[Sandbox, ...]) -> None:
        """Forget records of sandboxes that left the ledger, and part with namespaces that nobody in it means."""
        for sandbox in sandboxes:
            self._records.remove(sandbox.container_id)
        self._part()

    def _part(self) -> None:
        meant = self._ledger.by_cookie().keys()
        self._found &= meant
        with self._guard:
            for cookie in self._netns.keys() - meant:
                self._unused[cookie] = self._netns.pop(cookie)

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


def _is_at(path: str, identity: tuple[int, int]) -> bool:
    """Whether a path means what has this device and inode; so if nobody can say."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return (status.st_dev, status.st_ino) == identity
