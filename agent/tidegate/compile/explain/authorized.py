"""What policies say of a connection to the pods where it may end: which decides, and why the others do not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tidegate.compile.authorization.in_force import Policies, is_for
from tidegate.compile.explain.authorization import PolicyAsked, ask, decide
from tidegate.compile.explain.explanation import Hop, Peer, as_origin
from tidegate.compile.facts import Facts
from tidegate.model.authorization import Authorization, PolicyDecision, PolicySubject
from tidegate.model.identity import identity_of
from tidegate.model.kube import Pod
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId
from tidegate.model.net import parse_ip
from tidegate.model.policy import AuthorizationPolicy, MutualTls, PolicyAction

DECIDED_BY = "the relay in front of the pod"


@dataclass(frozen=True, slots=True)
class Authorized:
    """What holds for a connection to some pods at one port. others: policies that were not asked, and why."""

    pods: tuple[str, ...]
    port: int
    client: str  # its principal; "" = it would show none
    mode: MutualTls
    decision: PolicyDecision
    asked: tuple[PolicyAsked, ...]
    others: tuple[tuple[AuthorizationPolicy, str], ...]

    def as_json(self) -> dict[str, Any]:
        deciding = next((one.policy for one in self.asked if one.policy.key == self.decision.policy), None)
        return {
            "pods": list(self.pods),
            "port": self.port,
            "client": self.client,
            "mutual_tls": self.mode.value,
            "verdict": self.decision.verdict.name.lower(),
            "allowed": self.decision.verdict.allows,
            "enforced": True,
            "decided_by": DECIDED_BY,
            "policy": _policy(deciding) if deciding else None,
            "would": self.decision.would.name.lower(),
            "would_policy": self.decision.would_policy,
            "audited": self.decision.audited,
            "policies": [
                *({**_policy(one.policy), "asked": True, "matches": one.matches, "why": one.why} for one in self.asked),
                *(
                    {**as_origin(one.origin), "action": one.action.value, "asked": False, "matches": False, "why": why}
                    for one, why in self.others
                ),
            ],
        }

    def hops(self) -> Iterator[Hop]:
        """For people: what is decided, then what each policy says."""
        if not self.asked and not self.others:
            return
        where = f"{', '.join(self.pods)} port {self.port}"
        verdict = self.decision.verdict
        by = f" by {self.decision.policy}" if self.decision.policy else ""
        what = f"{'allowed' if verdict.allows else 'refused'}{by} ({verdict.name})"
        yield Hop("authorization", f"{where}: {what}, in force: {DECIDED_BY} decides")
        for one in self.asked:
            trial = ", on trial" if one.policy.dry_run else ""
            fits = "matches" if one.matches else "does not match"
            yield Hop("authorization", f"{one.policy.origin} {one.policy.action.name}{trial} {fits}: {one.why}")
        for other, why in self.others:
            yield Hop("authorization", f"{other.origin} is not asked: {why}")


def authorized(facts: Facts, client: WorkloadId, peers: Sequence[Peer]) -> tuple[Authorized, ...]:
    """What policies say of connections of that pod to these servers, those alike together; of pods in the mesh only."""
    mesh = facts.mesh
    if not mesh.authorization_policies and not mesh.peer_authentications:
        return ()
    found: list[Authorized] = []
    known_near: dict[str, _Near] = {}
    for peer in peers:
        namespace, _, name = peer.pod.partition("/")
        pod = facts.pods.get(WorkloadId(namespace, name))
        if pod is None or not facts.enrolment(pod.id).enrolled:
            continue
        near = known_near.get(namespace) or known_near.setdefault(namespace, _near(mesh, namespace))
        one = _of(facts, client, pod, peer, near)
        place, known = next(
            ((n, o) for n, o in enumerate(found) if replace(o, pods=one.pods) == one), (len(found), one)
        )
        found[place:] = [replace(one, pods=tuple(dict.fromkeys((*known.pods, *one.pods)))), *found[place + 1 :]]
    return tuple(found)


_Near = tuple[tuple[AuthorizationPolicy, ...], Policies]


def _near(mesh: Mesh, namespace: str) -> _Near:
    """Policies that may be for workloads of a namespace: only those are looked at for one question."""
    near = tuple(o for o in mesh.authorization_policies if o.namespace in (namespace, mesh.config.root_namespace))
    return near, Policies(replace(mesh, authorization_policies=near))


def _of(facts: Facts, client: WorkloadId, pod: Pod, peer: Peer, near: _Near) -> Authorized:
    written, policies = near
    config = facts.mesh.config
    source, address = facts.pods.get(client), parse_ip(peer.address)
    # The kernel of the server's node says who calls; of sockets of another one it knows nothing.
    known = source is not None and facts.enrolment(client).enrolled and source.node == pod.node
    identity = identity_of(source) if source is not None and known else None
    own = next((ip for ip in source.ips if ip.version == address.version), address) if source else address
    domain = config.trust_domains[0] if identity else ""
    subject = PolicySubject(own, address, peer.port, identity, domain)
    counting = policies.of(pod)
    others = tuple((one, why) for one in written if (why := _not_asked(one, policies, pod, config.root_namespace)))
    mode = policies.asked(pod).at(peer.port)
    asked = tuple(ask(counting, subject))
    return Authorized((peer.pod,), peer.port, subject.principal, mode, decide(counting, subject), asked, others)


def _not_asked(policy: AuthorizationPolicy, policies: Policies, pod: Pod, root: str) -> str:
    """Why a policy is not asked about connections to a pod; "" if it is."""
    if policy.targeted:
        return "it is for what its targetRefs name"
    if policy.action is PolicyAction.CUSTOM:
        return "action CUSTOM is not supported yet"
    made = next((one for one in policies.near(pod) if one.origin == policy.origin and one.name == policy.name), None)
    if made is None or is_for(made, pod, root):
        return ""
    missing = [f"{key}={value}" for key, value in sorted(made.selector.items()) if pod.labels.get(key) != value]
    return f"{pod.id} is not {', '.join(missing)}"


def _policy(policy: Authorization) -> dict[str, Any]:
    return {**as_origin(policy.origin), "action": policy.action.name, "dry_run": policy.dry_run, "key": policy.key}
