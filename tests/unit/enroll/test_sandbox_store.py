from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.sandbox_store import Namespaces, names, records, request, store

from tidegate.errors import Rejected, Transient
from tidegate.model.workload import Capture


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


def test_a_namespace_is_looked_at_and_nothing_is_recorded(tmp_path: Path, namespaces: Namespaces) -> None:
    held, asked = store(tmp_path, namespaces), request(namespaces.make("a"))
    assert held.look(asked) == (1, True)
    assert held.all() == ()
    path = Path(asked.netns_path)
    path.rename(path.with_name("aside"))
    assert held.look(asked) == (1, False)
    namespaces.make("a")
    assert held.look(asked) == (1, False), "another one of that name"


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
