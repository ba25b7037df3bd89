"""What is told of the certificates of a process: as rows of `tidegate certs`, and as a part of its status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tidegate.identity.chains import Described, described, merged, root_ids
from tidegate.identity.files import WatchedFile
from tidegate.identity.revocation import Revocations
from tidegate.identity.store import CertificateState, Identities, IdentityStatus
from tidegate.runtime.clock import Clock


class CertificatesView:
    """A provider of observe.admin. Times are RFC 3339; nothing of a key is in it."""

    def __init__(
        self, node: str, identities: Identities, clock: Clock, revoked: WatchedFile[Revocations] | None = None
    ) -> None:
        """revoked: where lists of revoked certificates come from."""
        self._node = node
        self._identities = identities
        self._clock = clock
        self._revoked = revoked

    async def rows(self, _: Mapping[str, str]) -> list[dict[str, Any]]:
        """Each identity that is wanted here."""
        return [self._row(one) for one in self._identities.states()]

    def status(self) -> dict[str, Any]:
        """Who signs, and how many certificates are in which state."""
        states = self._identities.states()
        since = self._identities.away_since
        ends = [one.held.expires for one in states if one.held is not None]
        return {
            "authority": self._identities.issuer.name,
            "away_seconds": round(self._clock.now() - since, 1) if since is not None else 0.0,
            "states": {state: sum(one.state is state for one in states) for state in CertificateState},
            "first_expiry": time_of(min(ends)) if ends else "",
            "troubles": self.troubles(),
        }

    def troubles(self) -> list[str]:
        """What somebody should look into, before it harms anybody or after; by name."""
        return self.of_lists() + [
            f"{one.spiffe}: {one.state}{_until(one)}" + (f": {one.reason}" if one.reason else "")
            for one in self._identities.states()
            if one.state is not CertificateState.GOOD and (one.held is not None or one.reason)
        ]

    def of_lists(self) -> list[str]:
        """What is wrong with lists of revoked certificates."""
        if self._revoked is None:
            return []
        roots = merged(one.roots for one in self._identities.held.value.values())
        found = self._identities.revocations.troubles(roots, self._clock.now())
        return [*(f"{self._revoked.path}: {one}" for one in found), *filter(None, [self._revoked.problem])]

    def _row(self, one: IdentityStatus) -> dict[str, Any]:
        leaf: Described | None = described(one.held.chain)[0] if one.held else None
        return {
            "node": self._node,
            "identity": one.spiffe,
            "state": str(one.state),
            "reason": one.reason,
            "serial": leaf.serial if leaf else "",
            "not_before": time_of(leaf.not_before) if leaf else "",
            "not_after": time_of(leaf.not_after) if leaf else "",
            "next_rotation": time_of(one.renewal) if leaf else "",
            "issuer": leaf.issuer if leaf else "",
            "roots": list(root_ids(one.held.roots)) if one.held else [],
            "authority": self._identities.issuer.name,
        }


def _until(one: IdentityStatus) -> str:
    if one.held is None:
        return ""
    word = "since" if one.state is CertificateState.EXPIRED else "and good until"
    return f" {word} {time_of(one.held.expires)}"


def time_of(seconds: float) -> str:
    """RFC 3339 of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
