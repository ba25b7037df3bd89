"""One name means one thing: no public class or type is declared twice in the agent and the lab."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ROOT / "agent" / "tidegate", ROOT / "lab" / "tidegate_lab")
# Kubernetes' own names, of which the lab keeps a reading as a kubelet has it (docs/decisions/0003).
LAB_READS = frozenset(
    {
        "ContainerPort",
        "DeploymentSpec",
        "LabelSelector",
        "Metadata",
        "Pod",
        "PodSpec",
        "PodTemplate",
        "Service",
        "ServicePort",
        "ServiceSpec",
    }
)
LAB_SPEC = "lab/tidegate_lab/spec.py"


def declared(tree: ast.Module) -> set[str]:
    """Public classes and type aliases of a module."""
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name) and not target.id.isupper()}
    return {name for name in names if name[0].isupper()}


def places() -> dict[str, list[str]]:
    """Name -> files that declare it, but for the lab's reading of what is Kubernetes'."""
    found: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            file = str(path.relative_to(ROOT))
            for name in declared(ast.parse(path.read_text())) - (LAB_READS if file == LAB_SPEC else frozenset()):
                found[name].append(file)
    return found


def test_a_name_stands_for_one_thing() -> None:
    twice = {name: files for name, files in places().items() if len(files) > 1}
    assert not twice, "two things of one name: give the one that fewer use another, the field's"


def test_the_exceptions_are_needed() -> None:
    names, lab = places(), declared(ast.parse((ROOT / LAB_SPEC).read_text()))
    assert not {name for name in LAB_READS if name not in names or name not in lab}, "not there twice any more"
