"""What stands in a file, read so that no file can stop, fill or mislead its reader.

Only regular files are opened (a FIFO would block, a device may be endless or do something when it is opened), as many
bytes are read as one file may have, and the text is decoded as YAML says: by its byte order mark, else by where the
first zero bytes are, else as UTF-8.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from tidegate.config import messages as say
from tidegate.model.text import printable

MOST_BYTES = 32 * 1024 * 1024
MOST_NAMES = 200_000  # in a whole directory, with all that links in it lead to

Mark = tuple[int, int, int, int, int]  # device, inode, size, modification and change time in ns

_SORTS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Longest first: a mark of UTF-32 begins like one of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)


def mark(path: str) -> Mark | None:
    """By what a file is told apart from its next version; None: the name leads nowhere.

    The change time is part of it because nobody can set it: a program that writes a file of the same size and puts the
    old modification time back changes it all the same.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_text(path: str, most: int = MOST_BYTES, *, pipes: bool = False) -> str:
    """The text of a regular file. Raises OSError, and Wrong for what is no file, too long or no text.

    pipes: read what is no file as well, until it ends; for a name that somebody gave on a command line.
    """
    if not pipes:
        _require_file(os.stat(path).st_mode)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (0 if pipes else os.O_NONBLOCK))
    try:
        if not pipes:
            _require_file(os.fstat(fd).st_mode)  # it may be another one by now
        content = b"".join(_blocks(fd, most + 1))
    finally:
        os.close(fd)
    if len(content) > most:
        raise say.Wrong(say.TOO_BIG_FILE(most=most >> 20))
    return decode(content)


def decode(content: bytes) -> str:
    """The text of these bytes, without its byte order mark. Raises Wrong."""
    encoding, name, begin = _encoding(content)
    try:
        return content[begin:].decode(encoding)
    except UnicodeDecodeError as e:
        if name == "UTF-8":
            raise say.Wrong(say.NO_UTF8(byte=e.start + begin)) from e
        raise say.Wrong(say.BROKEN_TEXT(encoding=name, byte=e.start + begin)) from e


def _encoding(content: bytes) -> tuple[str, str, int]:
    """Codec, its name for people, length of the byte order mark."""
    for bom, codec, name in _MARKS:
        if content.startswith(bom):
            return codec, name, len(bom)
    # YAML 1.2.2, 5.2: a document begins with an ASCII character.
    zero = [byte == 0 for byte in content[:4]]
    if zero == [True, True, True, False]:
        return "utf-32-be", "UTF-32", 0
    if zero == [False, True, True, True]:
        return "utf-32-le", "UTF-32", 0
    if zero[:2] == [True, False]:
        return "utf-16-be", "UTF-16", 0
    if zero[:2] == [False, True]:
        return "utf-16-le", "UTF-16", 0
    return "utf-8", "UTF-8", 0


@dataclass(slots=True)
class Listing:
    """The files below a directory."""

    paths: list[str]
    unread: dict[str, say.Said]  # directories of which not every name was seen, and why

    def missing(self, path: str) -> bool:
        """Whether the path may be there all the same, although it was not seen."""
        return any(path.startswith(os.path.join(directory, "")) for directory in self.unread)


def files_below(root: str, suffixes: tuple[str, ...], most: int = MOST_NAMES) -> Listing:
    """Every file of these suffixes, through links, but no directory twice on one way down: a link may lead upwards.

    Names that start with a dot are left out.
    """
    found = Listing([], {})
    names = 0
    ways: list[tuple[str, tuple[tuple[int, int], ...]]] = [(root, ())]
    while ways:
        where, above = ways.pop()
        try:
            here = os.stat(where)
            with os.scandir(where) as entries:
                known = [(e.name, _is_dir(e)) for e in entries if not e.name.startswith(".")]
        except FileNotFoundError:
            continue
        except OSError as e:
            found.unread[where] = say.UNREADABLE(reason=e.strerror)
            continue
        if (here.st_dev, here.st_ino) in above:
            continue
        names += len(known)
        if names > most:
            found.unread[root] = say.TOO_MANY_NAMES(most=most)
            break
        way = (*above, (here.st_dev, here.st_ino))
        for name, is_dir in known:
            if is_dir:
                ways.append((os.path.join(where, name), way))
            elif name.endswith(suffixes):
                found.paths.append(os.path.join(where, name))
    return found


def shown(path: str) -> str:
    """A path as it can be printed on one line of UTF-8: names of files are bytes, and any of them."""
    if path.isprintable():
        return path
    return printable(path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def _require_file(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise say.Wrong(say.ODD_FILE(sort=next((name for is_one, name in _SORTS if is_one(mode)), "something else")))


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _blocks(fd: int, most: int) -> Iterator[bytes]:
    """At most so many bytes."""
    left = most
    while left > 0 and (block := os.read(fd, min(left, 1 << 20))):
        left -= len(block)
        yield block
