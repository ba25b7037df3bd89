"""Names of namespaces that are links to the runtime's own, for agents in containers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tidegate.linux.netns import Mounting, NetnsLinks


def never(*_: object) -> None:
    raise AssertionError("an agent in a container mounts nothing, and unmounts nothing of the runtime's")


def links(directory: Path) -> NetnsLinks:
    return NetnsLinks(directory, Mounting(lambda fd: os.fstat(fd).st_ino, never, never, lambda: 0))


@pytest.fixture
def runtimes(tmp_path: Path) -> Path:
    path = tmp_path / "cni-1"
    path.touch()
    return path


def held(names: NetnsLinks, path: Path, cookie: int = 7) -> Path:
    fd = os.open(path, os.O_RDONLY)
    try:
        netns = names.keep(fd, cookie, str(path))
        netns.detach()
        return netns.path
    finally:
        os.close(fd)


def test_a_name_leads_to_the_namespace_by_the_runtimes_own(tmp_path: Path, runtimes: Path) -> None:
    name = held(links(tmp_path / "names"), runtimes)
    assert (name.name, name.readlink()) == ("7", runtimes)
    assert held(links(tmp_path / "names"), runtimes) == name, "the next agent takes it over"


def test_a_name_that_means_another_one_by_now_is_made_anew(tmp_path: Path, runtimes: Path) -> None:
    names = links(tmp_path / "names")
    other = runtimes.with_name("cni-2")
    other.touch()
    name = held(names, other)
    assert held(names, runtimes) == name
    assert name.readlink() == runtimes


def test_a_path_that_is_not_the_namespace_that_was_opened_is_refused(tmp_path: Path, runtimes: Path) -> None:
    fd = os.open(runtimes, os.O_RDONLY)
    runtimes.rename(runtimes.with_name("aside"))
    runtimes.touch()
    with pytest.raises(OSError, match="another network namespace by now") as refused:
        links(tmp_path / "names").keep(fd, 7, str(runtimes))
    os.close(fd)
    assert refused.value.errno == errno.ESTALE
    assert not list((tmp_path / "names").iterdir())


def test_a_name_goes_and_what_it_leads_to_stays(tmp_path: Path, runtimes: Path) -> None:
    names = links(tmp_path / "names")
    fd = os.open(runtimes, os.O_RDONLY)
    names.keep(fd, 7, str(runtimes)).close()
    os.close(fd)
    held(names, runtimes, 8)
    names.sweep({9})
    assert list((tmp_path / "names").iterdir()) == []
    assert runtimes.exists()
    names.remove()
    assert not (tmp_path / "names").exists()
