"""An agent in a container: what outlives it, and how it goes for good."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

REMOVAL = "agent/tidegate/config/sources/kube/removal.py"
REMOVAL_TESTS = "tests/unit/config/kube/test_removal.py"
NETNS = "agent/tidegate/linux/netns.py"
LINK_TESTS = "tests/unit/linux/test_netns_links.py"
ENVOY = "agent/tidegate/envoy/supervisor.py"
MANIFEST_TESTS = "tests/unit/deploy/test_manifests.py"

KUBECTL = "agent/tidegate/cli/kubectl.py"
KUBECTL_TESTS = "tests/unit/cli/test_kubectl.py"

GROUPS = (
    Group(
        "kubectl tidegate asks the agents that can answer",
        (
            Mutant(
                "explain-is-asked-anywhere",
                "explain is answered by a node that does not know the pod",
                KUBECTL,
                "        agents = {name: pod for name, pod in agents.items() if name == node}\n",
                "        pass\n",
                (KUBECTL_TESTS,),
            ),
            Mutant(
                "one-well-agent-hides-another",
                "the exit code of the last node's agent is that of all",
                KUBECTL,
                "        worst = max(worst, shown(command).returncode)\n",
                "        worst = shown(command).returncode\n",
                (KUBECTL_TESTS,),
            ),
        ),
    ),
    Group(
        "an agent in a container leaves to the next one what it should, and nothing once it is removed",
        (
            Mutant(
                "an-update-takes-for-a-removal",
                "a server that is overloaded while an agent is replaced takes the mesh off the node",
                REMOVAL,
                '        return f"DaemonSet {namespace}/{name}: {_GONE[error.code]}" if error.code in _GONE else ""\n',
                '        return f"DaemonSet {namespace}/{name}: {error}"\n',
                (REMOVAL_TESTS,),
            ),
            Mutant(
                "a-removal-by-404-alone",
                "whose account was deleted first leaves its plugin in the chain, and no pod ever starts again",
                REMOVAL,
                '    403: "this account may not look at it any more",\n',
                "",
                (REMOVAL_TESTS,),
            ),
            Mutant(
                "deletion-takes-its-time-unseen",
                "an agent that ends while its DaemonSet is being deleted leaves everything",
                REMOVAL,
                '            if told["metadata"].get("deletionTimestamp"):\n',
                "            if False:\n",
                (REMOVAL_TESTS,),
            ),
            Mutant(
                "a-link-is-unmounted",
                "an agent that lets go of a pod unmounts the runtime's own name",
                NETNS,
                "    def _remove(self, path: Path) -> None:\n        path.unlink(missing_ok=True)\n",
                "",
                (LINK_TESTS,),
            ),
            Mutant(
                "a-link-to-whatever-is-there",
                "Envoy opens the namespace that has the runtime's path by now, another pod's",
                NETNS,
                "        if not self._names(netns):\n            raise",
                "        if False:\n            raise",
                (LINK_TESTS,),
            ),
            Mutant(
                "envoy-by-its-inode",
                "each update of the DaemonSet starts Envoy anew",
                ENVOY,
                "        return digest\n",
                "        return str(file)\n",
                ("tests/unit/envoy/test_supervisor.py",),
            ),
            Mutant(
                "a-right-too-many",
                "the agent may read what it has no use for",
                "deploy/kubernetes/base/service-account.yaml",
                "    resources: [namespaces, nodes, pods, services]\n",
                "    resources: [namespaces, nodes, pods, serviceaccounts, services]\n",
                (MANIFEST_TESTS,),
            ),
            Mutant(
                "a-capability-too-few",
                "an agent in a container cannot start relay and Envoy with fewer rights than its own",
                "deploy/kubernetes/base/daemonset.yaml",
                "NET_ADMIN, SETPCAP, SYS_ADMIN",
                "NET_ADMIN, SYS_ADMIN",
                (MANIFEST_TESTS,),
            ),
        ),
    ),
)
