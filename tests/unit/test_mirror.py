"""Every module with code in it has a test that knows it: unit tests of its own name, tests that import it, or a suite
that runs it as users do, named here with what it shows."""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = {
    "tidegate": (ROOT / "agent", ROOT / "tests" / "unit"),
    "tidegate_lab": (ROOT / "lab", ROOT / "lab" / "tests" / "unit"),
}
# Modules that no test imports, by pattern -> the tests that run them through their neighbours or as users do.
ELSEWHERE = {
    "tidegate.app": "tests/stories/change/test_restart.py",
    "tidegate.ca.*": "tests/stories/identity/test_one_authority_for_two_nodes.py",
    "tidegate.bpf.migrations": "tests/bpf/test_upgrade.py",
    "tidegate.cli.*": "tests/stories/operate/test_nouns.py",
    "tidegate.compile.each": "tests/unit/compile/test_derive.py",
    "tidegate.compile.envoy.*": "tests/unit/compile/test_oracle_against_envoy.py",
    "tidegate.compile.explain.*": "tests/stories/operate/test_explain.py",
    "tidegate.compile.gateway.*": "tests/unit/compile/gateway/test_gateway_http.py",
    "tidegate.compile.inbound.*": "tests/unit/compile/inbound/test_inbound.py",
    "tidegate.compile.l4.*": "tests/unit/compile/test_compiler.py",
    "tidegate.compile.nodes": "tests/unit/compile/test_derive.py",
    "tidegate.compile.*_tables": "tests/unit/compile/test_facts.py",
    "tidegate.compile.tables": "tests/unit/compile/test_compiler.py",
    "tidegate.compile.others.*": "tests/unit/compile/test_others.py",
    "tidegate.config.*": "tests/unit/config/test_document_vectors.py",
    "tidegate.dataplane.*": "tests/unit/dataplane/test_cycle.py",
    "tidegate.dns.*": "tests/bpf/test_dns_process.py",
    "tidegate.end": "tests/stories/enrol/test_containers.py",
    "tidegate.enroll.records": "tests/unit/enroll/test_sandbox_store.py",
    "tidegate.envoy.admin": "tests/e2e/test_dashboard.py",
    "tidegate.gateway.*": "tests/stories/gateway/test_ingress.py",
    "tidegate.identity.csr_api": "tests/contract/test_authority.py",
    "tidegate.identity.opening": "tests/stories/identity/test_one_authority_for_two_nodes.py",
    "tidegate.linux.netlink": "tests/stories/capture/test_addresses.py",
    "tidegate.model.*": "tests/unit/compile/test_compiler.py",
    "tidegate.observe.certificates": "tests/stories/identity/test_one_authority_for_two_nodes.py",
    "tidegate.observe.views": "tests/stories/operate/test_nouns.py",
    "tidegate.relay.image_routes": "tests/relay/test_routes.py",
    "tidegate.telemetry.identities": "tests/stories/identity/test_one_authority_for_two_nodes.py",
    "tidegate_lab.*": "lab/tests/stories/test_lab_pods.py",
}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package, (parent, _) in TREES.items():
        for path in sorted((parent / package).rglob("*.py")):
            if not path.stem.startswith("__") and has_code(path):
                found.append((".".join(path.relative_to(parent).with_suffix("").parts), path))
    return found


def has_code(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


@cache
def imported() -> frozenset[str]:
    """Every dotted name that a test imports, modules and members alike."""
    names: set[str] = set()
    for folder in (ROOT / "tests", ROOT / "lab" / "tests"):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module)
                    names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_each_module_has_its_tests(module: str, path: Path) -> None:
    package, *rest = module.split(".")
    _, unit = TREES[package]
    mirrored = unit.joinpath(*rest[:-1], f"test_{rest[-1]}.py").exists()
    elsewhere = next((tests for pattern, tests in ELSEWHERE.items() if fnmatchcase(module, pattern)), None)
    assert mirrored or module in imported() or elsewhere, (
        f"{path.relative_to(ROOT)} has no test that knows it: write one, or name in ELSEWHERE the suite that runs it"
    )


@pytest.mark.parametrize(("pattern", "tests"), ELSEWHERE.items())
def test_elsewhere_is_true(pattern: str, tests: str) -> None:
    assert (ROOT / tests).exists()
    assert any(fnmatchcase(module, pattern) and module not in imported() for module, _ in modules()), "nobody needs it"
