from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tidegate.enroll.registry import Registry
from tidegate.enroll.wire import CniRequest, Command
from tidegate.errors import Transient
from tidegate.linux.netns import Mounting, NetnsNames
from tidegate.model.names import WorkloadId
from tidegate.model.workload import Capture


class Namespaces:
    """Files in the place of network namespaces: a file's inode is its cookie, until it is made anew."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made = 0
        self.cookies: dict[tuple[int, int], int] = {}

    def make(self, name: str) -> Path:
        path = self.directory / name
        path.unlink(missing_ok=True)
        path.touch()
        self.made += 1
        self.cookies[self._id(os.stat(path))] = self.made
        return path

    def cookie_of(self, fd: int) -> int:
        return self.cookies[self._id(os.fstat(fd))]

    def names(self, directory: Path) -> NetnsNames:
        """A hard link in the place of a mount: it is the same file as what it stands for, too."""
        nothing: Callable[[Path], None] = lambda _: None  # noqa: E731
        return NetnsNames(directory, Mounting(self.cookie_of, self._bind, nothing))

    def _bind(self, fd: int, path: Path) -> None:
        path.unlink()
        os.link(os.readlink(f"/proc/self/fd/{fd}"), path)

    @staticmethod
    def _id(status: os.stat_result) -> tuple[int, int]:
        return status.st_dev, status.st_ino


@pytest.fixture
def namespaces(tmp_path: Path) -> Namespaces:
    (tmp_path / "netns").mkdir()
    return Namespaces(tmp_path / "netns")


def request(netns: Path, pod: str = "web", container: str = "c1") -> CniRequest:
    fd = os.open(netns, os.O_RDONLY)
    ips = (ip_address("10.0.0.2"), ip_address("fd00::2"))
    return CniRequest(Command.ADD, container, str(netns), fd, "eth0", WorkloadId("default", pod), False, ips, "1.0.0")


def registry(tmp_path: Path, namespaces: Namespaces) -> Registry:
    return Registry(tmp_path / "sandboxes", namespaces.names(tmp_path / "names"))


def records(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "sandboxes").iterdir())


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "names").iterdir())


def test_a_new_agent_knows_what_the_old_one_recorded(tmp_path: Path, namespaces: Namespaces) -> None:
    old = registry(tmp_path, namespaces)
    sandbox = old.add(request(namespaces.make("a")))
    killed_at_once = registry(tmp_path, namespaces)
    assert killed_at_once.load() == (sandbox,), "known from the moment at which ADD was heard"
    old.remember(replace(sandbox, capture=Capture(fastpath4=4001, envoy6=4002), v6_capture=True))
    new = registry(tmp_path, namespaces)
    assert new.load() == old.all()
    assert new.by_cookie()[1].capture == Capture(fastpath4=4001, envoy6=4002)


def test_records_are_for_root_only(tmp_path: Path, namespaces: Namespaces) -> None:
    registry(tmp_path, namespaces).add(request(namespaces.make("a")))
    (file,) = (tmp_path / "sandboxes").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_sandboxes_that_are_gone_are_dropped_at_load(tmp_path: Path, namespaces: Namespaces) -> None:
    old = registry(tmp_path, namespaces)
    for name in ("kept", "gone", "remade", "recycled"):
        old.add(request(namespaces.make(name), pod=name, container=name))
    (namespaces.directory / "gone").unlink()
    (namespaces.directory / "remade").rename(namespaces.directory / "aside")  # keeps its inode from being used again
    namespaces.make("remade")
    recycled = os.stat(namespaces.directory / "recycled")
    namespaces.cookies[recycled.st_dev, recycled.st_ino] = 99  # same path, same inode, another namespace
    assert [sandbox.id.name for sandbox in registry(tmp_path, namespaces).load()] == ["kept"]
    assert records(tmp_path) == ["kept.json"]


def test_a_record_that_cannot_be_read_hides_no_other(tmp_path: Path, namespaces: Namespaces) -> None:
    registry(tmp_path, namespaces).add(request(namespaces.make("a")))
    for name, text in {"cut": '{"format": 1', "other": '{"format": 2}', "odd": "[]"}.items():
        (tmp_path / "sandboxes" / f"{name}.json").write_text(text)
    assert [sandbox.id.name for sandbox in registry(tmp_path, namespaces).load()] == ["web"]
    assert records(tmp_path) == ["c1.json"]


def test_a_replaced_sandbox_leaves_no_record(tmp_path: Path, namespaces: Namespaces) -> None:
    one = registry(tmp_path, namespaces)
    one.add(request(namespaces.make("a")))
    one.add(request(namespaces.make("b"), container="c2"))
    assert records(tmp_path) == ["c2.json"]
    assert json.loads((tmp_path / "sandboxes" / "c2.json").read_text())["pod"]["name"] == "web"


def test_of_two_records_of_a_pod_the_newer_counts(tmp_path: Path, namespaces: Namespaces) -> None:
    one = registry(tmp_path, namespaces)
    one.add(request(namespaces.make("a"), container="z1"))
    kept = (tmp_path / "sandboxes" / "z1.json").read_text()
    one.add(request(namespaces.make("b"), container="a2"))
    crashed = tmp_path / "sandboxes" / "z1.json"
    crashed.write_text(kept)
    os.utime(crashed, (1, 1))
    assert [sandbox.container_id for sandbox in registry(tmp_path, namespaces).load()] == ["a2"]
    assert records(tmp_path) == ["a2.json"]


def test_delete_forgets_and_an_unknown_one_is_fine(tmp_path: Path, namespaces: Namespaces) -> None:
    one = registry(tmp_path, namespaces)
    added = request(namespaces.make("a"))
    one.add(added)
    assert one.find(added) is not None
    assert one.delete(added)
    assert not one.delete(added)
    assert (one.all(), one.find(added), records(tmp_path)) == ((), None, [])


def test_a_sandbox_that_cannot_be_recorded_is_not_taken(tmp_path: Path, namespaces: Namespaces) -> None:
    (tmp_path / "sandboxes").touch()  # a file where the directory should be
    one = registry(tmp_path, namespaces)
    with pytest.raises(Transient, match="cannot be recorded"):
        one.add(request(namespaces.make("a")))
    assert one.all() == ()


def test_a_container_that_is_started_again_keeps_its_id_and_its_record(tmp_path: Path, namespaces: Namespaces) -> None:
    old = registry(tmp_path, namespaces)
    old.add(request(namespaces.make("a")))
    again = old.add(request(namespaces.make("b")))  # the agent was away when the runtime said DEL
    assert registry(tmp_path, namespaces).load() == (again,)
    assert not again.kubernetes


def test_a_sandbox_has_its_namespace_until_it_is_deleted(tmp_path: Path, namespaces: Namespaces) -> None:
    one = registry(tmp_path, namespaces)
    added = request(namespaces.make("a"))
    sandbox = one.add(added)
    os.close(added.netns_fd)  # open for the duration of the call only
    (namespaces.directory / "a").unlink()
    namespaces.make("a")  # the runtime gives the path to another pod
    netns = one.netns(sandbox.netns_cookie)
    assert (netns.cookie, str(netns.path)) == (namespaces.cookie_of(netns.fd), sandbox.netns_path)
    working = netns.dup()
    assert one.delete(added)
    with pytest.raises(KeyError):
        one.netns(sandbox.netns_cookie)
    with pytest.raises(OSError, match="given up"):
        _ = netns.fd
    assert namespaces.cookie_of(working.fd) == sandbox.netns_cookie, "who still works in there is not disturbed"
    working.close()
    assert names(tmp_path) == []


def test_a_repeated_add_keeps_the_namespace(tmp_path: Path, namespaces: Namespaces) -> None:
    one = registry(tmp_path, namespaces)
    path = namespaces.make("a")
    netns = one.netns(one.add(request(path)).netns_cookie)
    assert one.netns(one.add(request(path)).netns_cookie) is netns
    assert namespaces.cookie_of(netns.fd) == netns.cookie
    assert names(tmp_path) == [str(netns.cookie)]


def test_a_pods_new_namespace_takes_the_place_of_its_old_one(tmp_path: Path, namespaces: Namespaces) -> None:
    one = registry(tmp_path, namespaces)
    old = one.add(request(namespaces.make("a")))
    new = one.add(request(namespaces.make("b"), container="c2"))
    with pytest.raises(KeyError):
        one.netns(old.netns_cookie)
    assert one.netns(new.netns_cookie).cookie == new.netns_cookie
    assert names(tmp_path) == [str(new.netns_cookie)]


def test_a_new_agent_keeps_the_names_and_removes_those_of_sandboxes_that_went_meanwhile(
    tmp_path: Path, namespaces: Namespaces
) -> None:
    old = registry(tmp_path, namespaces)
    kept, gone = (old.add(request(namespaces.make(name), pod=name, container=name)) for name in ("kept", "gone"))
    inode = os.stat(kept.netns_path).st_ino
    old.close()
    (namespaces.directory / "gone").unlink()
    (tmp_path / "names" / "stray").touch()
    new = registry(tmp_path, namespaces)
    assert new.load() == (kept,)
    assert os.stat(kept.netns_path).st_ino == inode
    assert new.netns(kept.netns_cookie).cookie == kept.netns_cookie
    assert names(tmp_path) == [str(kept.netns_cookie)]
    assert gone.netns_cookie != kept.netns_cookie


def test_a_name_of_before_the_machine_started_anew_is_made_again(tmp_path: Path, namespaces: Namespaces) -> None:
    """Then a plain file may lie there, if the run directory outlives the machine's start."""
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "1").touch()
    sandbox = registry(tmp_path, namespaces).add(request(namespaces.make("a")))
    with open(sandbox.netns_path) as name:
        assert namespaces.cookie_of(name.fileno()) == sandbox.netns_cookie == 1


def test_a_namespace_that_cannot_be_kept_is_not_taken(tmp_path: Path, namespaces: Namespaces) -> None:
    (tmp_path / "names").touch()  # a file where the directory should be
    one = registry(tmp_path, namespaces)
    with pytest.raises(Transient, match="cannot be kept"):
        one.add(request(namespaces.make("a")))
    assert one.all() == ()
