"""The import law: values flow one way, and each foreign library has one door."""

from __future__ import annotations

import ast
import re
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


def rooms_of_the_page() -> dict[str, set[str]]:
    """Each room of the table in docs/architecture.md and what it may import, in the order of the table."""
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    table = page.partition("| room | what it is | may import |\n|---|---|---|\n")[2].partition("\n\n")[0]
    found: dict[str, set[str]] = {}
    for line in table.splitlines():
        names, _, allowed = (cell.strip() for cell in line.strip("|").split("|"))
        words = {"above": set(found), "nothing of ours": set[str]()}
        may = words[allowed] if allowed in words else set(re.findall(r"`(\w+)`", allowed))
        assert may <= set(found), f"{names} may import what is not above it: {may - set(found)}"
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), may)
    return found


def test_the_page_has_every_room_and_its_imports() -> None:
    """What docs/architecture.md allows a room is all that its modules import."""
    page = rooms_of_the_page()
    beside = {"__main__", "__init__"}
    assert set(page) == set.union(*ROWS) - beside
    wrong = {
        f"{module} imports {name}"
        for module, path in modules()
        for name in imports(path)
        if (room := module.split(".", maxsplit=1)[0]) not in beside and name.startswith("tidegate.")
        if (other := name.split(".")[1]) != room and other in page and other not in page[room]
    }
    assert wrong == set()
