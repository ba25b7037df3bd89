"""The import law: values flow one way, and each foreign library has one door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "agent" / "tidegate"

# Higher may import lower; rooms of one row are strangers to each other.
ROWS: list[set[str]] = [
    {"__main__"},
    {"cli"},
    {"app", "ca", "discovery", "end", "gateway"},
    {"observe"},
    {"telemetry"},
    {"dataplane"},
    {"enroll", "config", "relay", "xds", "envoy", "dns", "identity"},
    {"compile", "supervise"},
    {"bpf"},
    {"linux"},
    {"native"},
    {"model"},
    {"settings", "runtime"},
    {"errors", "__init__"},
]
# The dashboard of what runs reads every part; the lab drives agents through their public API only.
DOORS = {
    "prometheus_client": {"telemetry", "discovery", "gateway.app", "ca.views"},
    "aiohttp": {"runtime.http"},
    "msgspec": {"config.typed", "config.sources.kube"},
    "grpc": {"xds", "identity.remote", "ca.service"},
    "yaml": {"config", "cli.output"},
    "typer": {"cli"},
    "rich": {"cli"},
    "cryptography": {"config.shapes.certificates", "identity", "ca.tokens"},
    "dns": {"dns.wire"},
    "tidegate_lab": set(),
    "watchfiles": {"runtime.watch"},
    "tidegate._bpf": {"native"},
    "tidegate._relay": {"relay.abi"},
}
PURE = [
    "ca.callers",
    "ca.rates",
    "ca.tokens",
    "identity.certificate_requests",
    "identity.chains",
    "model",
    "compile",
    "config.documents",
    "config.kinds",
    "config.links",
    "config.messages",
    "config.reading",
    "config.schema",
    "config.shapes",
    "config.sources.holdings",
    "config.sources.kube.decode",
    "config.sources.kube.object_set",
    "config.sources.kube.resources",
    "config.sources.kube.secrets",
    "config.sources.kube.stream",
    "config.store",
    "config.tree",
    "config.typed",
    "dataplane.changes",
    "dns.answers",
    "dns.names",
    "dns.wire",
    "runtime.backoff",
    "runtime.retries",
    "xds.checks",
    "xds.client_status",
    "xds.delta",
    "xds.sotw",
    "xds.session",
    "xds.watch",
    "xds.stream",
    "xds.encode",
]
IMPURE_MODULES = {"asyncio", "os", "socket", "time", "logging", "random", "subprocess", "threading"}


def modules() -> list[tuple[str, Path]]:
    return [(".".join(p.relative_to(SOURCE).with_suffix("").parts), p) for p in sorted(SOURCE.rglob("*.py"))]


def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def row(room: str) -> int:
    for index, rooms in enumerate(ROWS):
        if room in rooms:
            return index
    raise AssertionError(f"room {room!r} has no row: add it to ROWS where it belongs")


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_go_down_only(module: str, path: Path) -> None:
    room = module.split(".", maxsplit=1)[0]
    for name in imports(path):
        if name.startswith("tidegate.") and not name.startswith("tidegate._"):
            other = name.split(".")[1]
            if other == "__version__":
                continue
            assert other == room or row(other) > row(room), f"{module} imports {name}: not below {room}"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_foreign_libraries_have_one_door(module: str, path: Path) -> None:
    for name in imports(path):
        for library, allowed in DOORS.items():
            if name == library or name.startswith(library + "."):
                assert any(module == a or module.startswith(a + ".") for a in allowed), f"{module} imports {name}"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_pure_rooms_do_no_io(module: str, path: Path) -> None:
    if any(module == pure or module.startswith(pure + ".") for pure in PURE):
        assert not IMPURE_MODULES & {name.split(".")[0] for name in imports(path)}
