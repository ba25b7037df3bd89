"""The sandboxes of this node: what CNI calls say (enroll.ledger), on disk (enroll.records), known by netns cookie."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tidegate.enroll.ledger import Ledger
from tidegate.enroll.records import Records
from tidegate.enroll.wire import CniRequest
from tidegate.errors import Transient
from tidegate.linux.netns import netns_cookie
from tidegate.model.workload import Sandbox

log = logging.getLogger(__name__)


class Registry:
    """Use from one event loop. cookie_of(fd) gives the cookie of a network namespace."""

    def __init__(self, directory: Path, cookie_of: Callable[[int], int] = netns_cookie) -> None:
        self._ledger = Ledger()
        self._records = Records(directory)
        self._cookie_of = cookie_of

    def load(self) -> tuple[Sandbox, ...]:
        """Take up what an earlier agent recorded, as far as it still exists; all sandboxes. Call before any other."""
        for sandbox in self._records.read():
            if self._is_alive(sandbox):
                self._forget_on_disk(self._ledger.add(sandbox).replaced)
            else:
                self._records.remove(sandbox.container_id)
        return self.all()

    def add(self, request: CniRequest) -> Sandbox:
        """Record the sandbox of a CNI ADD; repeating it changes nothing. Raises Transient if it cannot be recorded."""
        try:
            cookie = self._cookie_of(request.netns_fd)
            added = self._ledger.add(
                Sandbox(
                    request.pod,
                    request.container_id,
                    request.netns_path,
                    cookie,
                    request.ips,
                    kubernetes=request.kubernetes,
                )
            )
            self._records.write(added.sandbox)
        except OSError as error:
            self._ledger.remove(request.container_id)
            raise Transient(f"sandbox of pod {request.pod}", f"cannot be recorded: {error}") from error
        # A container that is started again keeps its id, so its old record has been overwritten already.
        self._forget_on_disk(tuple(old for old in added.replaced if old.container_id != request.container_id))
        for old in added.replaced:
            log.info(
                "pod %s: sandbox %.12s takes the place of %.12s", request.pod, request.container_id, old.container_id
            )
        return added.sandbox

    def delete(self, request: CniRequest) -> bool:
        """Forget the sandbox of a CNI DEL; False if it was not known."""
        self._records.remove(request.container_id)
        return self._ledger.remove(request.container_id) is not None

    def find(self, request: CniRequest) -> Sandbox | None:
        return self._ledger.find(request.container_id)

    def remember(self, sandbox: Sandbox) -> None:
        """Record what the data plane gave to a sandbox (capture ports)."""
        if self._ledger.update(sandbox):
            try:
                self._records.write(sandbox)
            except OSError as error:
                log.warning("pod %s: its record is out of date: %s", sandbox.id, error)

    def all(self) -> tuple[Sandbox, ...]:
        return tuple(self._ledger)

    def by_cookie(self) -> Mapping[int, Sandbox]:
        return self._ledger.by_cookie()

    def _forget_on_disk(self, sandboxes: tuple[Sandbox, ...]) -> None:
        for sandbox in sandboxes:
            self._records.remove(sandbox.container_id)

    def _is_alive(self, sandbox: Sandbox) -> bool:
        """Inode numbers of namespaces are used again, cookies are not."""
        try:
            fd = os.open(sandbox.netns_path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return self._cookie_of(fd) == sandbox.netns_cookie
        except OSError:
            return False
        finally:
            os.close(fd)
