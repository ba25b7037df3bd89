"""A sandbox has its network namespace by a name of ours."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.eventually import HANG_SECONDS
from tests.support.sandbox_store import Namespaces, cookie_by, names, request, store

from tidegate.enroll.sandbox_store import SandboxStore
from tidegate.errors import Transient
from tidegate.linux.netns import Mounting, NetnsNames


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
