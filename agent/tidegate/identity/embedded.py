"""The embedded authority as an issuer: its root is read, or made, when the first certificate is wanted."""

from __future__ import annotations

from pathlib import Path

from tidegate.identity.authority import Authority, open_authority
from tidegate.model.identity import Certified, Identity


class EmbeddedAuthority:
    """For one thread."""

    def __init__(self, folder: Path) -> None:
        """folder: where the root is, or will be."""
        self._folder = folder
        self._authority: Authority | None = None

    def issue(self, identity: Identity, trust_domain: str, now: float, lifetime: float) -> Certified:
        """See store.Issuer."""
        if self._authority is None:
            self._authority = open_authority(self._folder, trust_domain, now)
        return self._authority.issue(identity, trust_domain, now, lifetime)
