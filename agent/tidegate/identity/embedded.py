"""The authority of a folder, kept open: read, or made, when the first certificate is wanted, and read anew when its
files change. One that cannot be read any more leaves that of before in place."""

from __future__ import annotations

import logging
from pathlib import Path

from tidegate.errors import TidegateError
from tidegate.identity.authority import FILES, Authority, Signed, open_authority
from tidegate.identity.certificate_requests import asked_in
from tidegate.identity.chains import root_ids
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int] | None, ...]


class AuthorityFolder:
    """For one thread."""

    def __init__(self, folder: Path) -> None:
        """folder: where the root is, or will be."""
        self.folder = folder
        self.problem = ""  # why what stands in the folder now is not what signs
        self._authority: Authority | None = None
        self._stamp: Stamp = ()

    def now(self, trust_domain: str, now: float) -> Authority:
        """What signs. trust_domain: of a root that is made; now: seconds since the epoch. Raises OSError, Rejected."""
        stamp = self._look()
        if self._authority is None:
            self._authority = open_authority(self.folder, trust_domain, now)
            self._stamp = self._look()
        elif stamp != self._stamp:
            self._stamp = stamp
            try:
                self._authority, self.problem = open_authority(self.folder, trust_domain, now, make=False), ""
                log.info("authority %s in %s was read anew", self._authority.name, self.folder)
            except (OSError, TidegateError) as error:
                self.problem = str(error)
                log.warning("the authority of before goes on: %s", error)
        return self._authority

    @property
    def signs(self) -> str:
        """The name of who signs; empty before there is one."""
        return self._authority.name if self._authority else ""

    @property
    def expires(self) -> float:
        """When that ends, in seconds since the epoch; 0 before there is one."""
        return self._authority.expires if self._authority else 0.0

    @property
    def root_ids(self) -> tuple[str, ...]:
        """Which roots the mesh trusts, as far as this authority says so."""
        return root_ids(self._authority.roots) if self._authority else ()

    def _look(self) -> Stamp:
        found: list[tuple[int, int, int] | None] = []
        for name in FILES:
            try:
                stat = (self.folder / name).stat()
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
            except OSError:
                found.append(None)
        return tuple(found)


class EmbeddedAuthority:
    """The authority of one machine, in this process."""

    def __init__(self, folder: Path) -> None:
        """folder: as of AuthorityFolder."""
        self._folder = AuthorityFolder(folder)
        self._worker = Worker("authority")
        self.name = f"the embedded authority in {folder}"

    async def sign(self, spiffe: str, trust_domain: str, request: bytes, now: float, lifetime: float) -> Signed:
        """See store.Issuer."""
        return await self._worker.do(self._sign, spiffe, trust_domain, request, now, lifetime)

    async def close(self) -> None:
        """See store.Issuer."""
        self._worker.close()

    def _sign(self, spiffe: str, trust_domain: str, request: bytes, now: float, lifetime: float) -> Signed:
        return self._folder.now(trust_domain, now).sign(asked_in(request).public, spiffe, now, lifetime)
