"""Connections to pods that went past the relay, because they were there before any policy was: judged here, by the
sockets that a pod has, and ended where what holds now denies them.

Who calls is, as everywhere, whose socket the other end is: it is looked for in the network namespaces of the node's
pods by both addresses and both ports. An address only says in which of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tidegate.dataplane.capture import Inside
from tidegate.dataplane.sandboxes import Sandboxes
from tidegate.linux.sock_diag import ListedSocket, TcpSockets
from tidegate.model.authorization import PolicyDecision, PolicySubject
from tidegate.model.identity import Identity
from tidegate.model.plan import Plan
from tidegate.runtime.worker import Worker

log = logging.getLogger("tidegate.policy")


@dataclass(frozen=True, slots=True)
class PodsJudged:
    """What is needed to judge the sockets of pods: a value, so that it may go to a thread. By netns cookie."""

    plan: Plan
    netns: dict[int, int]  # descriptors, borrowed
    names: dict[int, str]  # for the log
    at: dict[object, int]  # address -> who has it


class EarlierConnections:
    """Ends what is denied."""

    def __init__(
        self, sandboxes: Sandboxes, inside: Inside, worker: Worker, relay_cgroup: int, ended: Callable[[], None]
    ) -> None:
        """relay_cgroup: id of the group whose sockets the relay judges itself; 0 = not known. ended: called on the
        worker's thread for each connection that is."""
        self._ended = ended
        self._sandboxes = sandboxes
        self._inside = inside
        self._worker = worker
        self._relay_cgroup = relay_cgroup

    async def judge(self, plan: Plan, cookies: Iterable[int]) -> dict[int, str]:
        """Judge what these pods have. Returns why that could not be done, by cookie."""
        known = {cookie: box for cookie, box in self._sandboxes.known.items() if cookie in self._sandboxes.open}
        node = PodsJudged(
            plan,
            {cookie: self._sandboxes.netns_fd(cookie) for cookie in known},
            {cookie: str(box.id) for cookie, box in known.items()},
            {ip: cookie for cookie, box in known.items() for ip in box.ips},
        )
        due = [cookie for cookie in cookies if cookie in known and plan.policies.workloads.get(cookie)]
        return await self._worker.do(self._judge, node, due) if due else {}

    # --- on the worker's thread -----------------------------------------------------------------------------------
    def _judge(self, node: PodsJudged, cookies: list[int]) -> dict[int, str]:
        failed: dict[int, str] = {}
        looked: dict[int, TcpSockets] = {}

        def sockets(cookie: int) -> TcpSockets:
            if cookie not in looked:
                looked[cookie] = self._inside.sockets(node.netns[cookie])
            return looked[cookie]

        for cookie in cookies:
            try:
                for one in self._arrived(sockets(cookie)):
                    self._ask(node, cookie, one, sockets)
            except OSError as error:
                failed[cookie] = f"connections of before its policies: {error.strerror or error}"
        return failed

    def _arrived(self, found: TcpSockets) -> Iterator[ListedSocket]:
        """What came to the pod from elsewhere, and not by the relay."""
        for one in found.connected:
            own = one.remote[0] == one.local[0] or one.remote[0].is_loopback or one.local[0].is_loopback
            if one.local[1] in found.listening and not own and (not one.cgroup or one.cgroup != self._relay_cgroup):
                yield one

    def _ask(self, node: PodsJudged, cookie: int, one: ListedSocket, sockets: Callable[[int], TcpSockets]) -> None:
        caller = node.at.get(one.remote[0], 0)
        if caller and not any((s.local, s.remote) == (one.remote, one.local) for s in sockets(caller).connected):
            caller = 0
        decision = _decide(node.plan, cookie, caller, one)
        if decision.verdict.allows or not self._inside.cut(node.netns[cookie], one):
            return
        self._ended()
        log.warning(
            "deny_late: policy=%s src=%s:%d (%s) dst=%s:%d (%s): it was there before its policies",
            decision.policy or "-",
            *one.remote,
            node.names.get(caller, "no identity"),
            *one.local,
            node.names[cookie],
        )


def _decide(plan: Plan, cookie: int, caller: int, one: ListedSocket) -> PolicyDecision:
    from tidegate.compile.explain.authorization import decide  # of a start that cuts nobody 10 ms

    table = plan.policies
    domain, _, namespace, _, account = (table.names.get(caller, "").removeprefix("spiffe://") or "////").split("/")
    identity = Identity(namespace, account) if account else None
    subject = PolicySubject(one.remote[0], one.local[0], one.local[1], identity, domain)
    return decide([table.policies[number - 1] for number in table.workloads[cookie]], subject)
