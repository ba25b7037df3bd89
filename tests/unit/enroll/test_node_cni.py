from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tidegate.enroll.node_cni import NodeCni
from tidegate.errors import Rejected, Transient

LIST = '{"cniVersion": "1.0.0", "name": "net", "plugins": [\n  {"type": "bridge"}\n]}\n'
PLAIN = '{"cniVersion": "0.3.1", "name": "old", "type": "bridge"}\n'


@pytest.fixture
def node(tmp_path: Path) -> NodeCni:
    for name in ("net.d", "bin", "build"):
        (tmp_path / name).mkdir()
    (tmp_path / "build" / "tidegate").write_bytes(b"plugin")
    return NodeCni(tmp_path / "net.d", tmp_path / "bin", Path("/run/t/cni.sock"), tmp_path / "build" / "tidegate")


def write(node: NodeCni, **files: str) -> dict[str, str]:
    for name, text in files.items():
        (node.conf_dir / name.replace("_", ".")).write_text(text)
    return tree(node)


def tree(node: NodeCni) -> dict[str, str]:
    return {path.name: path.read_text() for path in (*node.conf_dir.iterdir(), *node.bin_dir.iterdir())}


def types(node: NodeCni, name: str) -> list[str]:
    return [plugin["type"] for plugin in json.loads((node.conf_dir / name).read_text())["plugins"]]


def test_install_makes_whole_and_uninstall_leaves_every_byte_as_it_was(node: NodeCni) -> None:
    before = write(node, **{"10-a_conflist": LIST, "20-b_conflist": LIST, "README": "no configuration"})
    (node.conf_dir / "10-a.conflist").chmod(0o640)
    assert not node.status().whole
    assert len(node.install()) == 2
    assert node.status().whole
    assert node.status().chained == (node.conf_dir / "10-a.conflist",)
    assert (types(node, "10-a.conflist"), types(node, "20-b.conflist")) == (["bridge", "tidegate"], ["bridge"])
    assert stat.S_IMODE((node.conf_dir / "10-a.conflist").stat().st_mode) == 0o640
    assert stat.S_IMODE((node.bin_dir / "tidegate").stat().st_mode) == 0o755
    assert len(node.uninstall()) == 2
    assert tree(node) == before


def written(node: NodeCni) -> dict[str, tuple[int, int, int]]:
    """Inode, mtime and ctime (ns) of each file. Not atime: reading, which an installation does, moves that."""
    files = (*node.conf_dir.iterdir(), *node.bin_dir.iterdir())
    return {file.name: (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns) for file in files for stat in [file.stat()]}


def test_install_again_touches_no_file(node: NodeCni) -> None:
    write(node, **{"10-a_conflist": LIST})
    node.install()
    marks = written(node)
    assert node.install() == ()
    assert written(node) == marks


def test_a_plain_configuration_becomes_a_list_and_comes_back(node: NodeCni) -> None:
    before = write(node, **{"10-a_conf": PLAIN})
    assert "plain configuration" in node.status().problems[1]
    node.install()
    assert sorted(tree(node)) == ["10-a.conflist", "tidegate"]
    assert (types(node, "10-a.conflist"), node.status().whole) == (["bridge", "tidegate"], True)
    assert replace(node, conflist="10-a.conf").status().whole
    node.uninstall()
    assert tree(node) == before


def test_a_plain_file_that_was_being_replaced_when_we_were_killed_is_finished(node: NodeCni) -> None:
    write(node, **{"10-a_conf": PLAIN})
    node.install()
    write(node, **{"10-a_conf": PLAIN})
    node.install()
    assert (sorted(tree(node)), node.status().whole) == (["10-a.conflist", "tidegate"], True)


def test_a_foreign_list_of_the_same_name_is_not_overwritten(node: NodeCni) -> None:
    before = write(node, **{"10-a_conf": PLAIN, "10-a_conflist": LIST})
    with pytest.raises(Rejected, match=r"10-a\.conflist: is there besides 10-a\.conf"):
        node.install()
    assert {name: text for name, text in tree(node).items() if name != "tidegate"} == before


def test_a_named_file_is_chained_instead_of_the_first(node: NodeCni) -> None:
    write(node, **{"10-a_conflist": LIST, "20-b_conflist": LIST})
    replace(node, conflist="20-b.conflist").install()
    assert (types(node, "10-a.conflist"), types(node, "20-b.conflist")) == (["bridge"], ["bridge", "tidegate"])
    (problem,) = node.status().problems
    assert "10-a.conflist: plugin tidegate is not in the chain" in problem


def test_a_list_changed_by_others_loses_our_entry_only(node: NodeCni) -> None:
    write(node, **{"10-a_conf": PLAIN})
    node.install()
    file = node.conf_dir / "10-a.conflist"
    file.write_text(file.read_text().replace('"old"', '"renamed"', 1))
    node.uninstall()
    assert (sorted(tree(node)), types(node, "10-a.conflist")) == (["10-a.conflist"], ["bridge"])


def test_an_older_plugin_is_replaced(node: NodeCni) -> None:
    write(node, **{"10-a_conflist": LIST})
    (node.bin_dir / "tidegate").write_bytes(b"plugix")
    assert "is not the plugin of this build" in node.status().problems[0]
    node.install()
    assert (node.bin_dir / "tidegate").read_bytes() == b"plugin"


def test_uninstall_does_what_it_can_before_it_complains(node: NodeCni) -> None:
    write(node, **{"20-b_conflist": LIST})
    node.install()
    write(node, **{"10-a_conflist": "{"})
    with pytest.raises(Rejected, match=r"10-a\.conflist:1: is not JSON"):
        node.uninstall()
    assert types(node, "20-b.conflist") == ["bridge"]
    assert (node.bin_dir / "tidegate").exists()  # a list that we could not read may name it


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({}, Transient, "has no network configuration yet; install the primary CNI"),
        ({"conf_dir": Path("/nonexistent")}, Transient, "/nonexistent: does not exist; name the runtime's"),
        (
            {"bin_dir": Path("/nonexistent")},
            Rejected,
            "/nonexistent: does not exist; name the runtime's with --bin-dir",
        ),
        ({"bin_dir": Path("/proc")}, Rejected, "/proc/tidegate: cannot be written"),
        ({"plugin": Path("/nonexistent")}, Rejected, "run `make build`"),
        ({"conflist": "99-z.conflist"}, Transient, "99-z.conflist: does not exist; there is: nothing"),
        ({"conflist": "../x.conflist"}, Rejected, "is no name of a file"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    node: NodeCni, change: dict[str, object], error: type[Exception], words: str
) -> None:
    other = replace(node, **change)  # type: ignore[arg-type]
    with pytest.raises(error, match=words):
        other.install()
    assert not other.status().whole
