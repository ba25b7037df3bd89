from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.support.eventually import HANG_SECONDS

from tidegate.enroll.sandbox_store import SandboxStore
from tidegate.enroll.wire import CniRequest, Command
from tidegate.errors import Rejected, Transient
from tidegate.linux.netns import Mounting, NetnsNames
from tidegate.model.names import WorkloadId
from tidegate.model.workload import Capture


class Namespaces:
    """Files in the place of network namespaces: a file's inode is its cookie, until it is made anew."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made = -1
        self.cookies: dict[tuple[int, int], int] = {}
        self.nodes_own = self.make("the node's own")

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
        return NetnsNames(directory, Mounting(self.cookie_of, self.bind, nothing, lambda: 0))

    def bind(self, fd: int, path: Path) -> None:
        path.unlink()
        os.link(os.readlink(f"/proc/self/fd/{fd}"), path)

    @staticmethod
    def _id(status: os.stat_result) -> tuple[int, int]:
        return status.st_dev, status.st_ino


@pytest.fixture
def namespaces(tmp_path: Path) -> Namespaces:
    (tmp_path / "netns").mkdir()
    return Namespaces(tmp_path / "netns")


def request(netns: Path, pod: str = "web", container: str = "c1", ifname: str = "eth0") -> CniRequest:
    fd = os.open(netns, os.O_RDONLY)
    ips = (ip_address("10.0.0.2"), ip_address("fd00::2")) if ifname == "eth0" else (ip_address("192.168.0.2"),)
    name = WorkloadId("default", pod)
    return CniRequest(Command.ADD, container, str(netns), fd, ifname, name, False, ips, "1.0.0", f"net-of-{ifname}")


def collection(network: str, *valid: tuple[str, str], says: bool = True) -> CniRequest:
    """A GC of a network."""
    listed = frozenset(valid) if says else None
    return CniRequest(Command.GC, "", "", -1, "", WorkloadId("", ""), False, (), "1.1.0", network, listed)


def store(tmp_path: Path, namespaces: Namespaces) -> SandboxStore:
    return SandboxStore(tmp_path / "sandboxes", namespaces.names(tmp_path / "names"))


def cookie_by(one: SandboxStore, cookie: int) -> int:
    """What the store has for this cookie."""
    with contextlib.closing(one.netns(cookie)) as netns:
        return netns.cookie


def records(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "sandboxes").iterdir())


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "names").iterdir())


def test_a_new_agent_knows_what_the_old_one_recorded(tmp_path: Path, namespaces: Namespaces) -> None:
    old = store(tmp_path, namespaces)
    sandbox = old.add(request(namespaces.make("a")))
    killed_at_once = store(tmp_path, namespaces)
    assert killed_at_once.load() == (sandbox,), "known from the moment at which ADD was heard"
    old.remember(replace(sandbox, capture=Capture(fastpath4=4001, envoy6=4002), v6_capture=True))
    new = store(tmp_path, namespaces)
    assert new.load() == old.all()
    assert new.by_cookie()[1].capture == Capture(fastpath4=4001, envoy6=4002)


@pytest.mark.case("E1")
def test_the_nodes_own_namespace_is_no_pod(tmp_path: Path, namespaces: Namespaces) -> None:
    """Whatever the node itself connects to would be taken for the pod's."""
    held = store(tmp_path, namespaces)
    with pytest.raises(Rejected, match="default/web: CNI_NETNS is the node's own network namespace"):
        held.add(request(namespaces.nodes_own))
    assert held.all() == ()
    assert not (tmp_path / "sandboxes").exists() or not records(tmp_path)
    assert not (tmp_path / "names").exists() or not names(tmp_path)


def test_records_are_for_root_only(tmp_path: Path, namespaces: Namespaces) -> None:
    store(tmp_path, namespaces).add(request(namespaces.make("a")))
    (file,) = (tmp_path / "sandboxes").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_sandboxes_that_are_gone_are_dropped_at_load(tmp_path: Path, namespaces: Namespaces) -> None:
    old = store(tmp_path, namespaces)
    for name in ("kept", "gone", "remade", "recycled"):
        old.add(request(namespaces.make(name), pod=name, container=name))
    (namespaces.directory / "gone").unlink()
    (namespaces.directory / "remade").rename(namespaces.directory / "aside")  # keeps its inode from being used again
    namespaces.make("remade")
    recycled = os.stat(namespaces.directory / "recycled")
    namespaces.cookies[recycled.st_dev, recycled.st_ino] = 99  # same path, same inode, another namespace
    assert [sandbox.id.name for sandbox in store(tmp_path, namespaces).load()] == ["kept"]
    assert records(tmp_path) == ["kept.json"]


def test_a_record_that_cannot_be_read_hides_no_other(tmp_path: Path, namespaces: Namespaces) -> None:
    store(tmp_path, namespaces).add(request(namespaces.make("a")))
    for name, text in {"cut": '{"format": 1', "other": '{"format": 2}', "odd": "[]"}.items():
        (tmp_path / "sandboxes" / f"{name}.json").write_text(text)
    assert [sandbox.id.name for sandbox in store(tmp_path, namespaces).load()] == ["web"]
    assert records(tmp_path) == ["c1.json"]


def test_a_replaced_sandbox_leaves_no_record(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    one.add(request(namespaces.make("a")))
    one.add(request(namespaces.make("b"), container="c2"))
    assert records(tmp_path) == ["c2.json"]
    assert json.loads((tmp_path / "sandboxes" / "c2.json").read_text())["pod"]["name"] == "web"


def test_of_two_records_of_a_pod_the_newer_counts(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    one.add(request(namespaces.make("a"), container="z1"))
    kept = (tmp_path / "sandboxes" / "z1.json").read_text()
    one.add(request(namespaces.make("b"), container="a2"))
    crashed = tmp_path / "sandboxes" / "z1.json"
    crashed.write_text(kept)
    os.utime(crashed, (1, 1))
    assert [sandbox.container_id for sandbox in store(tmp_path, namespaces).load()] == ["a2"]
    assert records(tmp_path) == ["a2.json"]


def test_delete_forgets_and_an_unknown_one_is_fine(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    added = request(namespaces.make("a"))
    one.add(added)
    assert one.find(added) is not None
    assert one.delete(added) is not None
    assert one.delete(added) is None
    assert (one.all(), one.find(added), records(tmp_path)) == ((), None, [])


def test_a_sandbox_that_cannot_be_recorded_is_not_taken(tmp_path: Path, namespaces: Namespaces) -> None:
    (tmp_path / "sandboxes").touch()  # a file where the directory should be
    one = store(tmp_path, namespaces)
    with pytest.raises(Transient, match="cannot be recorded"):
        one.add(request(namespaces.make("a")))
    assert one.all() == ()


def test_a_container_that_is_started_again_keeps_its_id_and_its_record(tmp_path: Path, namespaces: Namespaces) -> None:
    old = store(tmp_path, namespaces)
    old.add(request(namespaces.make("a")))
    again = old.add(request(namespaces.make("b")))  # the agent was away when the runtime said DEL
    assert store(tmp_path, namespaces).load() == (again,)
    assert not again.kubernetes


def test_a_sandbox_has_its_namespace_until_it_is_deleted(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    added = request(namespaces.make("a"))
    sandbox = one.add(added)
    os.close(added.netns_fd)  # open for the duration of the call only
    (namespaces.directory / "a").unlink()
    namespaces.make("a")  # the runtime gives the path to another pod
    working = one.netns(sandbox.netns_cookie)
    assert (working.cookie, str(working.path)) == (namespaces.cookie_of(working.fd), sandbox.netns_path)
    assert one.delete(added) is not None
    with pytest.raises(KeyError):
        one.netns(sandbox.netns_cookie)
    assert one.has_unused
    one.let_go()
    assert not one.has_unused
    assert namespaces.cookie_of(working.fd) == sandbox.netns_cookie, "who still works in there is not disturbed"
    working.close()
    assert names(tmp_path) == []


def test_a_namespace_that_comes_back_before_it_was_let_go_keeps_its_name(
    tmp_path: Path, namespaces: Namespaces
) -> None:
    one = store(tmp_path, namespaces)
    path = namespaces.make("a")
    one.add(request(path))
    one.delete(request(path))
    back = one.add(request(path, container="c2"))
    one.let_go()
    assert names(tmp_path) == [str(back.netns_cookie)]
    assert cookie_by(one, back.netns_cookie) == back.netns_cookie


def test_a_namespace_that_comes_back_while_its_name_is_removed_gets_a_new_one(
    tmp_path: Path, namespaces: Namespaces
) -> None:
    removing, go_on = threading.Event(), threading.Event()

    def unbind(_: Path) -> None:
        if armed:
            removing.set()
            assert go_on.wait(HANG_SECONDS)

    armed = False
    mounting = Mounting(namespaces.cookie_of, namespaces.bind, unbind, lambda: 0)
    one = SandboxStore(tmp_path / "sandboxes", NetnsNames(tmp_path / "names", mounting))
    path = namespaces.make("a")
    one.add(request(path))
    one.delete(request(path))
    armed = True
    with ThreadPoolExecutor(2) as threads:
        leaving = threads.submit(one.let_go)
        assert removing.wait(HANG_SECONDS)
        armed = False
        other = one.add(request(namespaces.make("b"), pod="other", container="other"))
        back = threads.submit(one.add, request(path, container="c2"))
        assert not back.done()
        go_on.set()
        leaving.result(HANG_SECONDS)
        assert back.result(HANG_SECONDS).netns_cookie != other.netns_cookie
        assert names(tmp_path) == ["1", "2"]


def test_a_repeated_add_keeps_the_namespace(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    path = namespaces.make("a")
    cookie = one.add(request(path)).netns_cookie
    assert one.add(request(path)).netns_cookie == cookie
    assert not one.has_unused
    assert cookie_by(one, cookie) == cookie
    assert names(tmp_path) == [str(cookie)]


def test_a_pods_new_namespace_takes_the_place_of_its_old_one(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    old = one.add(request(namespaces.make("a")))
    new = one.add(request(namespaces.make("b"), container="c2"))
    with pytest.raises(KeyError):
        one.netns(old.netns_cookie)
    assert cookie_by(one, new.netns_cookie) == new.netns_cookie
    one.let_go()
    assert names(tmp_path) == [str(new.netns_cookie)]


def test_a_new_agent_keeps_the_names_and_removes_those_of_sandboxes_that_went_meanwhile(
    tmp_path: Path, namespaces: Namespaces
) -> None:
    old = store(tmp_path, namespaces)
    kept, gone = (old.add(request(namespaces.make(name), pod=name, container=name)) for name in ("kept", "gone"))
    inode = os.stat(kept.netns_path).st_ino
    old.close()
    (namespaces.directory / "gone").unlink()
    (tmp_path / "names" / "stray").touch()
    new = store(tmp_path, namespaces)
    assert new.load() == (kept,)
    assert os.stat(kept.netns_path).st_ino == inode
    assert cookie_by(new, kept.netns_cookie) == kept.netns_cookie
    assert names(tmp_path) == [str(kept.netns_cookie)]
    assert gone.netns_cookie != kept.netns_cookie


def test_a_name_of_before_the_machine_started_anew_is_made_again(tmp_path: Path, namespaces: Namespaces) -> None:
    """Then a plain file may lie there, if the run directory outlives the machine's start."""
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "1").touch()
    sandbox = store(tmp_path, namespaces).add(request(namespaces.make("a")))
    with open(sandbox.netns_path) as name:
        assert namespaces.cookie_of(name.fileno()) == sandbox.netns_cookie == 1


def test_a_namespace_that_cannot_be_kept_is_not_taken(tmp_path: Path, namespaces: Namespaces) -> None:
    (tmp_path / "names").touch()  # a file where the directory should be
    one = store(tmp_path, namespaces)
    with pytest.raises(Transient, match="cannot be kept"):
        one.add(request(namespaces.make("a")))
    assert one.all() == ()


@pytest.mark.case("E1")
def test_the_del_of_a_second_interface_leaves_the_pod_and_its_record(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    path = namespaces.make("a")
    first, second = request(path), request(path, ifname="net1")
    alone = one.add(first)
    both = one.add(second)
    assert (both.ips, both.netns_cookie) == (alone.ips, alone.netns_cookie)
    assert store(tmp_path, namespaces).load() == (both,), "the next agent knows both"
    assert one.delete(second) is None
    assert one.delete(second) is None
    assert (one.all(), one.find(second), records(tmp_path)) == ((alone,), None, ["c1.json"])
    assert store(tmp_path, namespaces).load() == (alone,)
    assert one.delete(first) == alone
    one.let_go()
    assert (one.all(), records(tmp_path), names(tmp_path)) == ((), [], [])


@pytest.mark.case("E1")
def test_a_del_before_its_add_and_one_of_an_unknown_interface_change_nothing(
    tmp_path: Path, namespaces: Namespaces
) -> None:
    one = store(tmp_path, namespaces)
    path = namespaces.make("a")
    assert one.delete(request(path)) is None
    added = one.add(request(path))
    assert one.delete(request(path, ifname="net7")) is None
    assert one.all() == (added,)


@pytest.mark.case("E1")
def test_a_container_whose_namespace_is_gone_goes_with_all_its_interfaces(
    tmp_path: Path, namespaces: Namespaces
) -> None:
    """The runtime may tell of one only, and this store's descriptor would keep the namespace for ever."""
    one = store(tmp_path, namespaces)
    path = namespaces.make("a")
    one.add(request(path))
    both = one.add(request(path, ifname="net1"))
    assert one.delete(replace(request(path), netns_fd=-1)) == both
    one.let_go()
    assert (one.all(), records(tmp_path), names(tmp_path)) == ((), [], [])


@pytest.mark.case("E1")
def test_a_late_del_of_the_same_containers_earlier_namespace_changes_nothing(
    tmp_path: Path, namespaces: Namespaces
) -> None:
    """A container that is started again keeps its id and its name."""
    one = store(tmp_path, namespaces)
    old, new = namespaces.make("a"), namespaces.make("b")
    one.add(request(old))
    again = one.add(request(new))
    assert one.delete(request(old)) is None
    assert one.all() == (again,)
    assert one.delete(request(new)) == again


@pytest.mark.case("E1")
def test_a_record_of_an_agent_that_knew_no_interfaces_is_taken_over(tmp_path: Path, namespaces: Namespaces) -> None:
    old = store(tmp_path, namespaces)
    path = namespaces.make("a")
    old.add(request(path))
    (file,) = (tmp_path / "sandboxes").iterdir()
    body = json.loads(file.read_text())
    assert (body["format"], body["ips"]) == (1, ["10.0.0.2", "fd00::2"]), "what an earlier agent reads of ours"
    del body["attachments"]
    file.write_text(json.dumps(body))
    new = store(tmp_path, namespaces)
    (taken,) = new.load()
    assert taken.ips == request(path).ips
    new.add(request(path, ifname="net1"))
    assert new.delete(request(path, ifname="net1")) is None
    assert new.delete(request(path, ifname="net1")) is None
    assert [sandbox.ips for sandbox in new.all()] == [taken.ips]
    assert new.delete(request(path)) is not None


@pytest.mark.case("E1")
def test_ports_that_are_remembered_late_do_not_forget_an_interface(tmp_path: Path, namespaces: Namespaces) -> None:
    """They are opened while the second ADD comes."""
    one = store(tmp_path, namespaces)
    path = namespaces.make("a")
    first = one.add(request(path))
    both = one.add(request(path, ifname="net1"))
    one.remember(replace(first, capture=Capture(fastpath4=4001)))
    assert one.all() == (replace(both, capture=Capture(fastpath4=4001)),)
    assert store(tmp_path, namespaces).load() == one.all()


@pytest.mark.case("E1")
def test_a_second_interface_that_cannot_be_recorded_leaves_the_first(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    path = namespaces.make("a")
    first = one.add(request(path))
    (tmp_path / "sandboxes").rename(tmp_path / "aside")
    (tmp_path / "sandboxes").touch()
    with pytest.raises(Transient, match="cannot be recorded"):
        one.add(request(path, ifname="net1"))
    assert one.all() == (first,)
    assert cookie_by(one, first.netns_cookie) == first.netns_cookie


@pytest.mark.case("E2")
def test_what_a_gc_does_not_list_is_released_and_the_rest_stays(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    stays, goes = namespaces.make("stays"), namespaces.make("goes")
    one.add(request(stays, pod="stays", container="c1"))
    kept = one.add(request(stays, pod="stays", container="c1", ifname="net1"))
    gone = one.add(request(goes, pod="goes", container="c2"))
    assert one.collect(collection("net-of-eth0", ("c1", "eth0"))) == (gone,)
    assert one.all() == (kept,), "net1 is of another network, of which nothing was said"
    assert records(tmp_path) == ["c1.json"]
    assert one.collect(collection("net-of-net1")) == ()
    assert [a.ifname for a in one.all()[0].attachments] == ["eth0"]
    assert one.collect(collection("net-of-eth0")) != ()
    one.let_go()
    assert (one.all(), records(tmp_path), names(tmp_path)) == ((), [], [])


@pytest.mark.case("E2")
def test_a_gc_without_a_list_takes_only_what_has_no_namespace_any_more(tmp_path: Path, namespaces: Namespaces) -> None:
    one = store(tmp_path, namespaces)
    kept = one.add(request(namespaces.make("kept"), pod="kept", container="c1"))
    gone = one.add(request(namespaces.make("gone"), pod="gone", container="c2"))
    (namespaces.directory / "gone").unlink()
    assert one.collect(collection("net-of-eth0", ("c2", "eth0"), ("c1", "eth0"))) == (), "the runtime knows better"
    assert one.collect(collection("net-of-eth0", says=False)) == (gone,)
    assert one.all() == (kept,)


@pytest.mark.case("E2")
def test_a_sandbox_that_was_never_seen_at_its_path_is_not_missed_there(tmp_path: Path, namespaces: Namespaces) -> None:
    """An agent in a container may not see where a runtime keeps its namespaces."""
    one = store(tmp_path, namespaces)
    unseen = one.add(replace(request(namespaces.make("a")), netns_path="/run/netns/of-another-mount-namespace"))
    seen = one.add(request(namespaces.make("b"), pod="b", container="c2"))
    assert one.sweep() == ()
    (namespaces.directory / "b").unlink()
    assert one.sweep({"c2"}) == ()
    assert one.sweep() == (seen,)
    assert (one.all(), records(tmp_path)) == ((unseen,), ["c1.json"])
