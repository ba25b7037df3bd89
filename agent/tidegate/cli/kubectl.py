"""`kubectl tidegate COMMAND ...`: a command of `tidegate` where it can answer, in the agent's pod of the right node.

kubectl runs this as its plugin (`kubectl-tidegate` on PATH); it asks the cluster by kubectl itself, so contexts, logins
and proxies are as the user has them. `explain` is asked of the node on which the pod runs, everything else of the node
that --node names, or of each node in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from tidegate.errors import Rejected, TidegateError, Unreachable

AGENTS = "app.kubernetes.io/name=tidegate"  # label of the agents' pods (deploy/kubernetes)
HOME = "tidegate-system"
_PROGRAM = "/opt/tidegate/bin/tidegate"

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants. kubectl: words that each of its commands gets."""

    kubectl: tuple[str, ...]
    agents_in: str
    namespace: str
    node: str
    words: tuple[str, ...]


def read(argv: Sequence[str]) -> Asked:
    """Exits with 2 for what is no such command line, as argparse does."""
    parser = argparse.ArgumentParser(
        "kubectl tidegate", description="A command of `tidegate`, asked of the agents of a cluster.", allow_abbrev=False
    )
    parser.add_argument("--context", default="", help="of the kubeconfig")
    parser.add_argument("--kubeconfig", default="", help="file; default: as kubectl finds it")
    parser.add_argument("-n", "--namespace", default="default", help="of a pod that is named without one")
    parser.add_argument("--agents-in", default=HOME, help="namespace of the DaemonSet")
    parser.add_argument("--node", default="", help="ask this one's agent only")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="as `tidegate` has them")
    got = parser.parse_args(argv)
    if not got.words:
        parser.error("which command? `kubectl tidegate status`, for example")
    flags = [f"--{name}={value}" for name in ("context", "kubeconfig") if (value := getattr(got, name))]
    return Asked(tuple(flags), got.agents_in, got.namespace, got.node, tuple(got.words))


def ask(asked: Asked, captured: Run, shown: Run) -> int:
    """Ask, and return the worst exit code. captured, shown: run kubectl, and show what it says or not.

    Raises Rejected for a pod or node that has no agent, Unreachable if the cluster does not answer.
    """
    words, node = list(asked.words), asked.node
    if words[0] == "explain" and len(words) > 1 and "://" not in words[1]:
        namespace, _, name = words[1].rpartition("/")
        words[1] = f"{namespace or asked.namespace}/{name}"
        node = _node_of(asked, namespace or asked.namespace, name, captured)
    agents = _agents(asked, captured)
    if node:
        agents = {name: pod for name, pod in agents.items() if name == node}
    if not agents:
        where = f"node {node}" if node else f"namespace {asked.agents_in}"
        raise Rejected(where, "has no agent that runs", f"see kubectl get pods -n {asked.agents_in} -o wide")
    worst = 0
    for _, pod in sorted(agents.items()):
        command = [*asked.kubectl, "exec", "-n", asked.agents_in, pod, "-c", "agent", "--", _PROGRAM, *words]
        worst = max(worst, shown(command).returncode)
    return worst


def main() -> NoReturn:
    """Entry point. Exit codes are those of `tidegate`."""
    try:
        sys.exit(ask(read(sys.argv[1:]), _captured, _shown))
    except TidegateError as error:
        print(f"kubectl tidegate: {error}", file=sys.stderr)
        sys.exit(3 if isinstance(error, Unreachable) else 1)


def _agents(asked: Asked, captured: Run) -> dict[str, str]:
    """Pods of agents that run, by node."""
    found = _get(asked, captured, "pods", "-n", asked.agents_in, "-l", AGENTS, "--field-selector=status.phase=Running")
    return {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in found["items"]}


def _node_of(asked: Asked, namespace: str, name: str, captured: Run) -> str:
    node = _get(asked, captured, "pod", name, "-n", namespace)["spec"].get("nodeName", "")
    if not node:
        raise Rejected(f"pod {namespace}/{name}", "is on no node yet")
    return str(node)


def _get(asked: Asked, captured: Run, *words: str) -> dict[str, Any]:
    done = captured([*asked.kubectl, "get", *words, "-o", "json"])
    if done.returncode:
        raise Unreachable("the cluster", done.stderr.strip() or f"kubectl ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _captured(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return _kubectl(words, capture=True)


def _shown(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return _kubectl(words, capture=False)


def _kubectl(words: Sequence[str], *, capture: bool) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["kubectl", *words], capture_output=capture, text=True, check=False)
    except FileNotFoundError:
        raise Unreachable("kubectl", "is not on PATH", "install it, or ask an agent by its pod") from None


if __name__ == "__main__":
    main()
