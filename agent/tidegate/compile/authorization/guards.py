"""Which pods of the node the kernel leads to the relay, because policies are for them. Pure."""

from __future__ import annotations

from tidegate.model.kube import Pod
from tidegate.model.plan.kernel import GuardRow
from tidegate.model.plan.policy import PolicyTable
from tidegate.model.workload import Sandbox


def guards(sandbox: Sandbox, pod: Pod, policies: PolicyTable) -> frozenset[GuardRow]:
    """Rows of a pod in the mesh; none, if nobody says anything about it: then it pays nothing."""
    cookie = sandbox.netns_cookie
    if not policies.workloads.get(cookie):
        return frozenset()
    callers = (GuardRow(cookie, address=address) for address in sandbox.ips)
    probes = (GuardRow(cookie, port) for port in pod.probe_ports)
    return frozenset((GuardRow(cookie), *callers, *probes))
