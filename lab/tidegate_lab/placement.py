"""Which node a pod runs on. Plays the scheduler."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from tidegate.errors import Rejected
from tidegate_lab import spec
from tidegate_lab.cluster import DEPLOYMENT, POD
from tidegate_lab.manifest import Manifest
from tidegate_lab.node import LabNode
from tidegate_lab.workloads import PodObject

HOSTNAME = "kubernetes.io/hostname"
_TRUE_EVERYWHERE = {"kubernetes.io/os", "kubernetes.io/arch"}


class Scheduler:
    """Where the pod says, else node after node."""

    def __init__(self, nodes: Sequence[LabNode]) -> None:
        self._nodes = nodes
        self._turns = itertools.cycle(nodes)

    def place(self, pod: PodObject) -> LabNode:
        name = pod.spec.node_name or pod.spec.node_selector.get(HOSTNAME)
        return named(name, self._nodes) if name else next(self._turns)


def named(name: str, nodes: Sequence[LabNode]) -> LabNode:
    """The node of that name. Raises Rejected if there is none."""
    for node in nodes:
        if node.name == name:
            return node
    raise Rejected(f"node {name}", "no such node", f"there are {', '.join(node.name for node in nodes)}")


def check(documents: Iterable[Manifest], nodes: Sequence[LabNode]) -> None:
    """Raises Rejected, naming file and line, if a pod asks for a node that the lab cannot offer."""
    for document in documents:
        kind = (document.key.group, document.key.kind)
        if kind == POD:
            _check(document, spec.read(document, spec.Pod).spec, ("spec",), nodes)
        elif kind == DEPLOYMENT:
            template = spec.read(document, spec.Deployment).spec.template
            _check(document, template.spec, ("spec", "template", "spec"), nodes)


def _check(document: Manifest, pod: spec.PodSpec, path: tuple[str, ...], nodes: Sequence[LabNode]) -> None:
    names = {node.name for node in nodes}
    remedy = f"the lab has {', '.join(sorted(names))}"
    if pod.node_name and pod.node_name not in names:
        raise document.rejected(f"there is no node {pod.node_name!r}", (*path, "nodeName"), remedy)
    for label, value in pod.node_selector.items():
        if label == HOSTNAME and value not in names:
            raise document.rejected(f"there is no node {value!r}", (*path, "nodeSelector", label), remedy)
        if label != HOSTNAME and label not in _TRUE_EVERYWHERE:
            raise document.rejected(f"no node has the label {label}", (*path, "nodeSelector", label), remedy)
