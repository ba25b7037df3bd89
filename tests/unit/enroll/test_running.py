"""Namespaces of pods that run already: found by the addresses in them, each held once."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.support.sandbox_store import Namespaces, collection, records, request, store

from tidegate.enroll.running import RunningNetns, having
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.workload import Sandbox

WEB = WorkloadId("default", "web")
ADDRESS, OTHER = ip_address("10.0.0.2"), ip_address("10.0.0.3")


class Insides:
    """What is in the namespaces of a folder; a file that is not in the table is none."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self.addresses: dict[str, frozenset[IPAddress]] = {}
        self.open: set[int] = set()

    def __call__(self, fd: int) -> tuple[int, frozenset[IPAddress]]:
        name = Path(os.readlink(f"/proc/self/fd/{fd}")).name
        if name not in self.addresses:
            raise OSError(errno.EINVAL, "no namespace")
        return self._namespaces.cookie_of(fd), self.addresses[name]


@pytest.fixture
def insides(namespaces: Namespaces) -> Insides:
    return Insides(namespaces)


@contextlib.contextmanager
def found(namespaces: Namespaces, insides: Insides, *but: int) -> Iterator[list[RunningNetns]]:
    all_found = having(namespaces.directory, {ADDRESS}, but.__contains__, insides)
    try:
        yield all_found
    finally:
        for one in all_found:
            one.close()


def test_a_namespace_is_found_by_an_address_in_it(namespaces: Namespaces, insides: Insides) -> None:
    for name, addresses in (("a", {OTHER}), ("b", {ADDRESS, OTHER}), ("c", set[IPAddress]())):
        namespaces.make(name)
        insides.addresses[name] = frozenset(addresses)
    with found(namespaces, insides) as all_found:
        assert [(one.path.name, one.cookie) for one in all_found] == [("b", 2)]
        (one,) = all_found
        assert os.fstat(one.fd).st_ino == one.path.stat().st_ino
    assert not [link for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(one.path)]


def test_what_is_no_namespace_and_what_is_known_is_passed_over(namespaces: Namespaces, insides: Insides) -> None:
    namespaces.make("being made")
    (namespaces.directory / "goes").symlink_to("nowhere")
    namespaces.make("known")
    insides.addresses["known"] = frozenset({ADDRESS})
    with found(namespaces, insides) as (one,):
        cookie = one.cookie
    with found(namespaces, insides, cookie) as none:
        assert none == []


def test_two_names_of_one_namespace_are_one(namespaces: Namespaces, insides: Insides) -> None:
    os.link(namespaces.make("a"), namespaces.directory / "b")
    insides.addresses = {"a": frozenset({ADDRESS}), "b": frozenset({ADDRESS})}
    with found(namespaces, insides) as (one,):
        assert one.path.name == "a"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        having(tmp_path / "none", {ADDRESS}, lambda _: False)


def taken_up(tmp_path: Path, namespaces: Namespaces, insides: Insides) -> Sandbox:
    namespaces.make("a")
    insides.addresses["a"] = frozenset({ADDRESS})
    with found(namespaces, insides) as (one,):
        sandbox = store(tmp_path, namespaces).take_up(one.as_added(WEB, (ADDRESS,)))
    assert sandbox is not None
    return sandbox


def test_a_pod_that_was_found_is_recorded_for_the_next_agent(
    tmp_path: Path, namespaces: Namespaces, insides: Insides
) -> None:
    sandbox = taken_up(tmp_path, namespaces, insides)
    assert (sandbox.id, sandbox.ips, sandbox.found, sandbox.kubernetes) == (WEB, (ADDRESS,), True, True)
    assert store(tmp_path, namespaces).load() == (sandbox,)


def test_the_runtime_takes_back_a_pod_that_it_never_told_of(
    tmp_path: Path, namespaces: Namespaces, insides: Insides
) -> None:
    """Its DEL has the container id that nobody knew; the namespace says who is meant."""
    sandbox = taken_up(tmp_path, namespaces, insides)
    held = store(tmp_path, namespaces)
    held.load()
    assert held.delete(request(namespaces.make("b"), container="another")) is None
    assert held.all() == (sandbox,)
    assert held.delete(request(namespaces.directory / "a", container="its-id")) == sandbox
    assert held.all() == ()
    assert records(tmp_path) == []
    with found(namespaces, insides) as (one,):
        assert held.has_told(one.cookie), "it is taken down while the cluster says that the pod runs"
        assert held.take_up(one.as_added(WEB, (ADDRESS,))) is None


def test_garbage_that_a_runtime_collects_is_not_a_pod_that_it_never_told_of(
    tmp_path: Path, namespaces: Namespaces, insides: Insides
) -> None:
    sandbox = taken_up(tmp_path, namespaces, insides)
    held = store(tmp_path, namespaces)
    held.load()
    assert held.collect(collection("net", ("its-id", "eth0"))) == ()
    assert held.all() == (sandbox,)
    (namespaces.directory / "a").unlink()
    assert held.collect(collection("net")) == (sandbox,), "its namespace is gone"


def test_an_add_takes_the_place_of_what_was_found(tmp_path: Path, namespaces: Namespaces, insides: Insides) -> None:
    taken_up(tmp_path, namespaces, insides)
    held = store(tmp_path, namespaces)
    held.load()
    told = held.add(request(namespaces.directory / "a", container="its-id"))
    assert (held.all(), told.found) == ((told,), False)
    assert records(tmp_path) == ["its-id.json"]


def test_what_an_add_has_told_of_meanwhile_is_not_taken_up(
    tmp_path: Path, namespaces: Namespaces, insides: Insides
) -> None:
    namespaces.make("a")
    namespaces.make("b")
    insides.addresses = {"a": frozenset({ADDRESS}), "b": frozenset({ADDRESS})}
    held = store(tmp_path, namespaces)
    told = held.add(request(namespaces.directory / "a"))
    with found(namespaces, insides) as both:
        for one, pod in zip(both, (WorkloadId("default", "other"), WEB), strict=True):
            assert held.take_up(one.as_added(pod, (ADDRESS,))) is None, "the namespace, then the pod"
    assert held.all() == (told,)
