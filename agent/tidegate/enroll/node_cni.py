"""Our plugin in the node's CNI directories: the binary, and its place in the configuration that the runtime uses.

Every change is a new file and a rename, so a runtime finds the old state or the new one, and doing it again changes
nothing. Which configuration a runtime uses: the first by name (container network interface library, ConfFiles).
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from tidegate.enroll import conflist
from tidegate.errors import Rejected, TidegateError, Transient

SUFFIXES = (".conf", ".conflist", ".json")
_MODE = 0o755
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CniStatus:
    """What is there. conflist: the file that the runtime uses (None: none yet); chained: files with our entry."""

    binary: bool
    conflist: Path | None
    network: str
    chained: tuple[Path, ...]
    problems: tuple[str, ...]  # what is wrong, and what to do

    @property
    def whole(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class NodeCni:
    """The CNI directories of one node. plugin: the binary as built; conflist: file name, empty = the first by name."""

    conf_dir: Path
    bin_dir: Path
    agent_socket: Path
    plugin: Path
    conflist: str = ""

    def install(self) -> tuple[str, ...]:
        """Put the binary in place, then chain it; says what was changed. Raises Rejected or Transient (not yet)."""
        done = []
        if not self._binary_is_ours():
            self._place_binary()
            done.append(f"{self._binary} installed")
        file = self._target()
        text = _read(file)
        if file.suffix == ".conflist":
            new = conflist.add(conflist.parse(text, file), str(self.agent_socket), file)
            if new != text:
                _replace(file, file, text, new)
                done.append(f"{file}: plugin {conflist.TYPE} chained")
            return tuple(done)
        wrapped = file.with_suffix(".conflist")
        new = conflist.add(conflist.parse(conflist.wrap(text, file), file), str(self.agent_socket), file)
        if wrapped.exists() and not conflist.parse(_read(wrapped), wrapped).ours:
            raise Rejected(f"{wrapped}", f"is there besides {file.name}", "remove the one that is not meant")
        # Until the plain file is gone the runtime uses that one: its name comes first.
        _replace(file, wrapped, text, new)
        _unlink(file)
        return (*done, f"{file} became {wrapped.name}: plugin {conflist.TYPE} chained")

    def uninstall(self) -> tuple[str, ...]:
        """Take our entry out of every configuration, then the binary away; says what was changed. Raises Rejected.

        A configuration that cannot be read is reported when the others are done.
        """
        done, errors = [], []
        for file in self._lists():
            try:
                text = _read(file)
                found = conflist.parse(text, file)
                if not found.ours:
                    continue
                bare = conflist.remove(found, file)
                plain = conflist.unwrap(bare, file)
                if plain is None:
                    _replace(file, file, text, bare)
                else:
                    _replace(file, file.with_suffix(".conf"), text, plain)
                    _unlink(file)
                done.append(f"{file}: plugin {conflist.TYPE} taken out" + (", plain file again" if plain else ""))
            except TidegateError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        if self._binary.exists():
            _unlink(self._binary)
            done.append(f"{self._binary} removed")
        return tuple(done)

    def status(self) -> CniStatus:
        """Look, change nothing, raise nothing."""
        problems: list[str] = []
        binary = self._binary_is_ours()
        if not binary:
            there = "is missing" if not self._binary.exists() else "is not the plugin of this build"
            problems.append(f"{self._binary} {there}; run `tidegate cni install`")
        chained: list[Path] = []
        for other in self._lists():
            try:
                if conflist.parse(_read(other), other).ours:
                    chained.append(other)
            except TidegateError:  # said below if it is the one that matters
                continue
        file, network = None, ""
        try:
            file = self._target()
            if file.suffix == ".conflist":
                found = conflist.parse(_read(file), file)
                network = found.name
                wrong = conflist.problem(found, str(self.agent_socket))
            else:
                conflist.wrap(_read(file), file)
                wrong = "is a plain configuration, in which nothing can be chained"
            if wrong:
                problems.append(f"{file}: {wrong}; run `tidegate cni install`")
        except TidegateError as error:
            problems.append(str(error))
        return CniStatus(binary, file, network, tuple(chained), tuple(problems))

    @property
    def _binary(self) -> Path:
        return self.bin_dir / conflist.TYPE

    def _lists(self) -> list[Path]:
        return [file for file in self._candidates() if file.suffix == ".conflist"]

    def _candidates(self) -> list[Path]:
        try:
            return sorted(f for f in self.conf_dir.iterdir() if f.suffix in SUFFIXES and not f.is_dir())
        except OSError:
            return []

    def _target(self) -> Path:
        if not self.conf_dir.is_dir():
            raise Transient(f"CNI directory {self.conf_dir}", "does not exist", "name the runtime's with --conf-dir")
        files = self._candidates()
        if not self.conflist:
            if not files:
                raise Transient(
                    f"CNI directory {self.conf_dir}", "has no network configuration yet", "install the primary CNI"
                )
            return files[0]
        file = self.conf_dir / self.conflist
        if file.suffix not in SUFFIXES or file.parent != self.conf_dir:
            raise Rejected(f"--conflist {self.conflist}", "is no name of a file *.conflist, *.conf or *.json")
        if file not in files and file.with_suffix(".conflist") in files:
            return file.with_suffix(".conflist")  # what became of a plain one
        if file not in files:
            raise Transient(f"{file}", "does not exist", f"there is: {', '.join(f.name for f in files) or 'nothing'}")
        return file

    def _binary_is_ours(self) -> bool:
        try:
            found, built = self._binary.stat(), self.plugin.stat()
            same = found.st_size == built.st_size and stat.S_IMODE(found.st_mode) == _MODE
            return same and self._binary.read_bytes() == self.plugin.read_bytes()
        except OSError:
            return False

    def _place_binary(self) -> None:
        if not self.plugin.is_file():
            raise Rejected(f"CNI plugin {self.plugin}", "does not exist", "run `make build`")
        if not self.bin_dir.is_dir():
            raise Rejected(f"CNI directory {self.bin_dir}", "does not exist", "name the runtime's with --bin-dir")
        new = self.bin_dir / f".{conflist.TYPE}.{os.getpid()}.new"
        try:
            try:
                shutil.copyfile(self.plugin, new)
                new.chmod(_MODE)
                _sync(new)
                new.replace(self._binary)
            finally:
                new.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(self._binary, error) from None


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise Rejected(f"{file}", "is larger than 1 MiB", "is that a CNI configuration?")
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Rejected(f"{file}", f"is no UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise Transient(f"{file}", f"cannot be read: {error.strerror}") from None


def _replace(source: Path, file: Path, before: str, after: str) -> None:
    """Write file with owner and mode of source, unless source is no longer what was read."""
    file = file.resolve()
    new = file.with_name(f".{file.name}.{os.getpid()}.tidegate-new")  # no suffix that a runtime reads
    try:
        found = source.stat()
        try:
            new.write_bytes(after.encode())
            new.chmod(stat.S_IMODE(found.st_mode))
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(new, found.st_uid, found.st_gid)
            _sync(new)
            if _read(source) != before:
                raise Transient(f"{source}", "was changed by somebody else meanwhile", "try again")
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(file, error) from None


def _unlink(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(file, error) from None


def _sync(file: Path) -> None:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _refused(file: Path, error: OSError) -> Rejected:
    return Rejected(f"{file}", f"cannot be written: {error.strerror}", "run as root, on a writable file system")
