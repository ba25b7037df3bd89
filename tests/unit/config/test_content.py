"""Odd files: no file of a directory can stop, fill or mislead the agent, and the others go on."""

from __future__ import annotations

import codecs
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.configs import service
from tests.support.eventually import HANG_SECONDS

from tidegate.config.messages import Wrong
from tidegate.config.sources import files
from tidegate.config.sources.base import Change, Upsert
from tidegate.config.sources.content import MOST_BYTES, decode, files_below, read_text
from tidegate.config.sources.files import FileSource

WEB = service("web", "http:80")
ODD = "is {} and no file, ignored"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def fifo_with_a_writer(path: Path) -> None:
    os.mkfifo(path)
    os.open(path, os.O_RDWR)  # a writer that says nothing; it goes with this process


def socket_(path: Path) -> None:
    os.chdir(path.parent)  # its address has few bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def big(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


def to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def silent(path: Path) -> None:
    """A regular file whose end never comes."""
    path.symlink_to("/proc/kmsg")


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (fifo, ODD.format("a FIFO")),
    "fifo with a writer": (fifo_with_a_writer, ODD.format("a FIFO")),
    "socket": (socket_, ODD.format("a socket")),
    "link to an endless device": (endless, ODD.format("a device")),
    "link to itself": (to_itself, "cannot be read: Too many levels of symbolic links"),
    "file without an end": (big, "is larger than 32 MiB, ignored"),
}


def told(changes: list[Change]) -> tuple[list[str], dict[str, str]]:
    """Names of the objects, and what was said of each file."""
    names = sorted(change.document.key.name for change in changes if isinstance(change, Upsert))
    return names, {Path(p.file).name: p.message for change in changes for p in change.problems}


@pytest.mark.case("A4")
@pytest.mark.parametrize("what", CASES)
def test_an_odd_file_is_named_and_the_others_go_on(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, message = CASES[what]
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd.yaml")
    (tmp_path / "web.yaml").write_text(WEB)
    source = FileSource(tmp_path)
    assert told(list(source.load())) == (["web"], {"odd.yaml": message})
    (tmp_path / "more.yaml").write_text(service("more", "http:80"))
    assert told(list(source.load()))[0] == ["more"], "reloads go on"
    (tmp_path / "odd.yaml").unlink()
    (tmp_path / "odd.yaml").write_text(service("odd", "http:80"))
    assert told(list(source.load())) == (["odd"], {})


@pytest.mark.case("A4")
@pytest.mark.parametrize("name", ["REVISION", ".origins.json"])
def test_a_fifo_in_place_of_a_file_of_the_source_stops_nothing(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / "web.yaml").write_text(WEB)
    assert told(list(FileSource(tmp_path).load())) == (["web"], {})


@pytest.mark.case("A4")
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full"])
def test_a_device_is_never_opened(path: str) -> None:
    """To validate one takes no memory."""
    limited = f"ulimit -v 2000000; exec {sys.executable} -m tidegate validate -f {path}"
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, check=False, timeout=HANG_SECONDS)
    assert done.returncode == 1, done.stderr
    assert "larger than 32 MiB" in done.stdout or "is a device" in done.stdout, done.stdout + done.stderr


def test_a_pipe_on_the_command_line_is_read() -> None:
    command = f"{sys.executable} -m tidegate validate -f /dev/stdin"
    done = subprocess.run(
        ["sh", "-c", f"cat | {command}"], input=WEB, capture_output=True, text=True, check=False, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.case("A4")
def test_reading_takes_no_more_memory_than_a_file_may_have(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    big(tmp_path / "big.yaml")
    os.truncate(tmp_path / "big.yaml", 1 << 40)
    with pytest.raises(Wrong, match="larger than 32 MiB"):
        read_text(str(tmp_path / "big.yaml"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * MOST_BYTES // 1024


@pytest.mark.case("A4")
def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also long after the file was written, when its mark is trusted."""
    file = tmp_path / "a.yaml"
    file.write_text(service("a", "http:80"))
    source = FileSource(tmp_path)
    now = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now)
    source.load()
    assert not source.load()
    before = file.stat()
    with file.open("r+") as out:
        out.write(service("b", "http:80"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_ino, file.stat().st_size) == (before.st_ino, before.st_size)
    assert told(list(source.load()))[0] == ["b"]


@pytest.mark.case("A4")
def test_links_that_lead_upwards_are_followed_once(tmp_path: Path) -> None:
    """Two of them in each of two directories would be a walk without end."""
    (tmp_path / "web.yaml").write_text(WEB)
    (tmp_path / "sub").mkdir()
    for place in (tmp_path, tmp_path / "sub"):
        for name in ("up", "round"):
            (place / name).symlink_to(tmp_path)
    found = files_below(str(tmp_path), (".yaml",))
    assert (found.paths, found.unread) == ([str(tmp_path / "web.yaml")], {})


@pytest.mark.case("A4")
def test_a_directory_may_be_called_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").mkdir()
    (tmp_path / "x.yaml" / "web.yaml").write_text(WEB)
    assert told(list(FileSource(tmp_path).load())) == (["web"], {})


@pytest.mark.case("A4")
def test_a_link_to_everything_is_named_and_what_was_read_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    source = FileSource(tmp_path)
    assert told(list(source.load()))[0] == ["web"]
    monkeypatch.setattr(files, "files_below", lambda root, suffixes: files_below(root, suffixes, 3))
    for number in range(5):
        (tmp_path / f"{number}.txt").touch()
    names, said = told(list(source.load()))
    assert (names, list(said.values())) == ([], ["has more than 3 names below it, some are not read"])
    monkeypatch.undo()
    assert told(list(source.load())) == ([], {}), "and it was there all the time"


def test_a_name_of_bytes_that_are_no_text_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff\n.yaml")).write_text("x")
    (file,) = told(list(FileSource(tmp_path).load()))[1]
    assert file == "a\\xff\\n.yaml"


TEXT = "kind: Größe # \U0001f600\n"
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",  # as a machine writes it, with its mark
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.case("D6")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_text_is_read_in_each_encoding_that_yaml_has(encoding: str) -> None:
    """With a mark in front, as PowerShell writes UTF-16, and without one."""
    assert decode(ENCODINGS[encoding] + TEXT.encode(encoding)) == TEXT
    assert decode(TEXT.encode(encoding)) == TEXT


@pytest.mark.case("D6")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Größe: 1\n".encode("latin-1"), "is no UTF-8 text (byte 2): save it as UTF-8"),
        ("key: €\n".encode("cp1252"), "is no UTF-8 text (byte 5): save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"a\0b", "begins as UTF-16 and is none (byte 4): save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"\0\xd8a\0", "begins as UTF-16 and is none (byte 2): save it as UTF-8"),
        (b"a\0\0\0b", "begins as UTF-32 and is none (byte 4): save it as UTF-8"),
    ],
)
def test_another_encoding_is_named_with_what_to_do(content: bytes, message: str) -> None:
    with pytest.raises(Wrong) as caught:
        decode(content)
    assert str(caught.value) == message


@pytest.mark.case("D6")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("before", ["", "---\n", "%YAML 1.1\n---\n", "# ours\n%YAML 1.2\n---\n"])
def test_a_file_of_another_system_is_read(tmp_path: Path, encoding: str, before: str) -> None:
    text = (before + WEB).replace("\n", "\r\n")
    (tmp_path / "web.yaml").write_bytes(text.encode(encoding))
    assert told(list(FileSource(tmp_path).load())) == (["web"], {})
