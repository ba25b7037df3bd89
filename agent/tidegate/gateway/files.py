"""Certificates that Gateways name by path: read, checked, and read again when they change.

Invariant: a pair is handed on whole or not at all. While a new certificate is there and its key is not, as in the
middle of a rotation, the pair before it serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from tidegate.compile.gateway.tls import Materials
from tidegate.config.shapes.certificates import authorities_problem, pair_problem, revocations_problem
from tidegate.model.gateway import CertificateFiles, Gateway
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.runtime.latest import Latest

LOOK_SECONDS = 2.0  # between two looks; kubelets write mounted Secrets once a minute
MOST_BYTES = 1 << 20


class CertificateDirectory:
    """What stands in the files that the Gateways name."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._wanted: dict[str, Callable[[bytes], str]] = {}  # path -> what is wrong with its content
        self._pairs: tuple[CertificateFiles, ...] = ()
        self._wake = asyncio.Event()
        self.materials: Latest[Materials] = Latest(Materials())

    def want(self, gateways: Iterable[Gateway]) -> None:
        """Say whose files are of interest."""
        servers = [s.tls for g in gateways for s in g.servers if s.tls is not None]
        pairs = tuple(dict.fromkeys(pair for tls in servers for pair in tls.files))
        wanted: dict[str, Callable[[bytes], str]] = {tls.ca_file: authorities_problem for tls in servers if tls.ca_file}
        wanted |= {tls.crl_file: revocations_problem for tls in servers if tls.crl_file}
        if (pairs, wanted) != (self._pairs, self._wanted):
            self._pairs, self._wanted = pairs, wanted
            self._wake.set()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            self._wake.clear()
            found = await asyncio.to_thread(self._look, self._pairs, dict(self._wanted))
            if found != self.materials.value:
                await self.materials.set(found)
            pause = asyncio.create_task(self._clock.sleep(LOOK_SECONDS))
            wake = asyncio.create_task(self._wake.wait())
            try:
                await asyncio.wait({pause, wake}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
                wake.cancel()

    def _look(self, pairs: Iterable[CertificateFiles], single: dict[str, Callable[[bytes], str]]) -> Materials:
        before = self.materials.value.files
        files: dict[str, bytes] = {}
        wrong: dict[str, str] = {}
        for pair in pairs:
            paths = (pair.certificate, pair.key)
            contents = [_read(path) for path in paths]
            problems = {p: c for p, c in zip(paths, contents, strict=True) if isinstance(c, str)}
            certificate, key = contents
            if isinstance(certificate, bytes) and isinstance(key, bytes):
                found = pair_problem(certificate, key)
                if found is not None:
                    problems[paths[found[0]]] = f"cannot be used: {found[1]}"
                else:
                    files |= {paths[0]: certificate, paths[1]: key}
            if problems and all(path in before for path in paths):
                files |= {path: before[path] for path in paths}
            wrong |= problems
        for path, problem_of in single.items():
            content = _read(path)
            problem = content if isinstance(content, str) else problem_of(content)
            if isinstance(content, bytes) and not problem:
                files[path] = content
            else:
                wrong[path] = problem if isinstance(content, str) else f"cannot be used: {problem}"
                if path in before:
                    files[path] = before[path]
        return Materials(files=files, wrong_files=wrong)


def _read(path: str) -> bytes | str:
    """The content, or what is wrong with it."""
    file = Path(path)
    try:
        if not file.is_file():
            return "is no file" if file.exists() else "does not exist"
        if file.stat().st_size > MOST_BYTES:
            return f"is larger than {MOST_BYTES} bytes"
        return file.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
