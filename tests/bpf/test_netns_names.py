"""Names of network namespaces: a path that means one namespace for ever, whatever becomes of the runtime's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.bpf.pod import ip

from tidegate.linux.netns import Netns, NetnsNames, netns_cookie, unbind_name


@pytest.fixture
def make_netns() -> Iterator[Callable[[], Path]]:
    """Namespaces as a runtime has them: by a path below /run/netns."""
    made: list[str] = []

    def make(name: str = "") -> Path:
        name = name or f"x-names-{os.getpid()}-{len(made)}"
        ip("netns", "add", name)
        made.append(name)
        return Path("/run/netns") / name

    yield make
    for name in set(made):
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def names(tmp_path: Path) -> Iterator[NetnsNames]:
    # Of its own, and private, so that copies in other mount namespaces hear of nothing.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True)
    subprocess.run(["mount", "--make-private", str(tmp_path)], check=True)
    names = NetnsNames(tmp_path / "netns")
    try:
        yield names
        names.remove()
        assert mounted(tmp_path) == [str(tmp_path)]
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def mounted(directory: Path, pid: int | str = "self") -> list[str]:
    points = [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(str(directory))]


def keep(names: NetnsNames, path: Path) -> Netns:
    """As a CNI call hands it over: by a descriptor that is closed afterwards."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return names.keep(fd, names.cookie_of(fd))
    finally:
        os.close(fd)


def cookie_at(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return netns_cookie(fd)
    finally:
        os.close(fd)


def test_the_name_means_its_namespace_when_the_runtimes_path_means_another(
    names: NetnsNames, make_netns: Callable[..., Path]
) -> None:
    path = make_netns()
    netns = keep(names, path)
    ip("netns", "delete", path.name)
    assert make_netns(path.name) == path
    assert cookie_at(path) != netns.cookie
    assert cookie_at(netns.path) == netns.cookie == netns_cookie(netns.fd)
    with pytest.raises(OSError, match="another network namespace"):
        names.reopen(str(path), netns.cookie)
    netns.close()
    assert not netns.path.exists()


def test_the_next_agent_takes_the_name_over_without_a_moment_without_it(
    names: NetnsNames, make_netns: Callable[..., Path], tmp_path: Path
) -> None:
    """An Envoy that lived on opens the path whenever it likes."""
    path = make_netns()
    old = keep(names, path)
    old.detach()
    before = mount_ids(tmp_path)
    new = names.reopen(str(path), old.cookie)
    assert new.path == old.path
    assert mount_ids(tmp_path) == before
    names.sweep({new.cookie})
    assert cookie_at(new.path) == new.cookie
    new.close()


def mount_ids(directory: Path) -> list[str]:
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [line[0] for line in lines if line[4].startswith(str(directory))]


def test_the_sweep_lets_namespaces_go_whose_sandbox_went_while_no_agent_ran(
    names: NetnsNames, make_netns: Callable[..., Path]
) -> None:
    gone, kept = keep(names, make_netns()), keep(names, make_netns())
    gone.detach()
    names.sweep({kept.cookie})
    assert not gone.path.exists()
    assert cookie_at(kept.path) == kept.cookie
    kept.close()


@pytest.mark.parametrize("leftover", ["a plain file", "another namespace", "the namespace twice"])
def test_what_a_crash_left_under_the_name_is_put_right(
    names: NetnsNames, make_netns: Callable[..., Path], tmp_path: Path, leftover: str
) -> None:
    path, other = make_netns(), make_netns()
    name = tmp_path / "netns" / str(cookie_at(path))
    name.parent.mkdir()
    name.touch()
    for source in {"another namespace": [other], "the namespace twice": [path, path]}.get(leftover, []):
        subprocess.run(["mount", "--bind", str(source), str(name)], check=True)
    netns = keep(names, path)
    assert cookie_at(netns.path) == netns.cookie
    netns.close()
    assert mounted(tmp_path) == [str(tmp_path)]


def test_a_container_that_was_started_meanwhile_does_not_keep_the_namespace(
    names: NetnsNames, make_netns: Callable[..., Path], tmp_path: Path
) -> None:
    """It begins with copies of all mounts."""
    netns = keep(names, make_netns())
    command = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo ready; read x"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as container:
        assert container.stdin is not None
        assert container.stdout is not None
        assert container.stdout.readline() == b"ready\n"
        assert str(netns.path) in mounted(tmp_path, container.pid)
        netns.close()
        assert str(netns.path) not in mounted(tmp_path, container.pid)
        container.stdin.close()


def test_what_is_no_network_namespace_is_refused_and_leaves_nothing(names: NetnsNames, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="netns descriptor"):
        keep(names, Path("/proc/self/ns/uts"))
    assert not (tmp_path / "netns").exists()


def test_nothing_mounted_is_fine(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    unbind_name(tmp_path / "file")
    unbind_name(tmp_path / "absent")
