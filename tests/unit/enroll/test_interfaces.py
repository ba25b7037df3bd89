"""A pod of several interfaces: what one of them is asked for leaves the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.sandbox_store import Namespaces, collection, cookie_by, names, records, request, store

from tidegate.errors import Transient
from tidegate.model.workload import Capture


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
