"""Which policies count for which workload. Pure.

A policy without selector is for its namespace, in the root namespace for all; one with a selector for the workloads of
its namespace that have its labels, in the root namespace for those of any. Of PeerAuthentications see mutual.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.compile.authorization.conversion import converted
from tidegate.compile.authorization.mutual import Authentications, MutualAsked
from tidegate.model.authorization import Authorization, PolicyScope
from tidegate.model.identity import identity_of
from tidegate.model.kube import Pod
from tidegate.model.mesh import Mesh
from tidegate.model.plan.policy import NO_POLICIES, PolicyTable
from tidegate.model.policy import AuthorizationPolicy
from tidegate.model.selectors import selects


class Policies:
    """What is in force in a mesh. before: of a mesh like it; what did not change since is the same object."""

    def __init__(self, mesh: Mesh, before: Policies | None = None) -> None:
        config = mesh.config
        self._root, self._domains = config.root_namespace, config.trust_domains
        self._written = mesh.authorization_policies, mesh.peer_authentications
        if before is not None and (before._root, before._domains) != (self._root, self._domains):
            before = None
        same = before is not None and before._written[1] is mesh.peer_authentications
        self.authentications: Authentications = (
            before.authentications if before is not None and same else Authentications(self._written[1], self._root)
        )
        known = before._converted if before is not None else {}
        self._converted: dict[int, tuple[AuthorizationPolicy, Authorization | None]] = {
            id(policy): known.get(id(policy)) or (policy, converted(policy, self._root, self._domains))
            for policy in mesh.authorization_policies
        }
        self._by_namespace: dict[str, list[Authorization]] = {}
        for _, made in self._converted.values():
            if made is not None:
                self._by_namespace.setdefault(made.namespace, []).append(made)

    def are_of(self, mesh: Mesh) -> bool:
        """Whether a mesh has the same policies."""
        now = mesh.authorization_policies, mesh.peer_authentications
        same = all(a is b for a, b in zip(now, self._written, strict=True))
        return same and (mesh.config.root_namespace, mesh.config.trust_domains) == (self._root, self._domains)

    def all(self) -> tuple[Authorization, ...]:
        """Every policy that connections may meet, by namespace and name."""
        written = [made for _, made in self._converted.values() if made is not None]
        return tuple(sorted((*written, *self.authentications.policies()), key=lambda one: (one.namespace, one.name)))

    def of(self, pod: Pod) -> tuple[Authorization, ...]:
        """Those that count for a workload, in the order in which they are asked: by namespace and name."""
        found = [*self.authentications.of(pod.id.namespace, pod.labels)]
        found += (one for one in self.near(pod) if is_for(one, pod, self._root))
        return tuple(sorted(found, key=lambda one: (one.namespace, one.name)))

    def near(self, pod: Pod) -> Sequence[Authorization]:
        """Written in its namespace or for all: those that might be for it."""
        namespaces = dict.fromkeys((pod.id.namespace, self._root))
        return [one for namespace in namespaces for one in self._by_namespace.get(namespace, ())]

    def asked(self, pod: Pod) -> MutualAsked:
        """What its PeerAuthentications ask of its clients."""
        return self.authentications.asked(pod.id.namespace, pod.labels)

    def table(self, pods: Mapping[int, Pod]) -> PolicyTable:
        """The policies of these workloads, by netns cookie."""
        if not pods:
            return NO_POLICIES
        of = {cookie: self.of(pod) for cookie, pod in sorted(pods.items())}
        used = {(one.namespace, one.name): one for found in of.values() for one in found}
        policies = tuple(used[key] for key in sorted(used))
        number = {one.key: number for number, one in enumerate(policies, 1)}
        return PolicyTable(
            policies,
            {cookie: tuple(number[one.key] for one in found) for cookie, found in of.items()},
            {cookie: identity_of(pods[cookie]).spiffe(self._domains[0]) for cookie in of},
        )


class FindPolicies:
    """Finds the policies of one state after the other; what did not change is the same object."""

    def __init__(self) -> None:
        self._policies: Policies | None = None
        self._of: Mapping[int, Pod] = {}
        self._table = NO_POLICIES

    def __call__(self, mesh: Mesh, pods: Mapping[int, Pod]) -> PolicyTable:
        """pods: of this node that are in the mesh, by netns cookie."""
        known = self._policies
        if known is None or not known.are_of(mesh):
            self._policies = Policies(mesh, known)
        assert self._policies is not None
        if self._policies is not known or pods is not self._of:
            found = self._policies.table(pods)
            self._table = self._table if found == self._table else found
            self._of = pods
        return self._table


def is_for(policy: Authorization, pod: Pod, root: str) -> bool:
    """Whether a written policy counts for a workload."""
    if policy.namespace not in (pod.id.namespace, root):
        return False
    return policy.scope is not PolicyScope.WORKLOAD_SELECTOR or selects(policy.selector, pod.labels)
