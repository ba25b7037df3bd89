"""Which claims each view sees, followed through changes: a change costs each view what changed, and not what there is.

A view is a namespace and a Sidecar (Source.view). What decides for it are its Sidecar, the MeshConfig, the services
themselves and the rules that lead to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2s

from tidegate.compile.derive import Read
from tidegate.compile.nodes import differences
from tidegate.compile.outbound.destinations import Claim
from tidegate.compile.visibility import Source, mesh_config, sees_service
from tidegate.model.mesh_config import MeshConfig
from tidegate.model.routing import VirtualService
from tidegate.model.sidecar import Sidecar


@dataclass(slots=True)
class Followed:
    """What all views look at, and what of it is another than before the last follow()."""

    claims: tuple[Claim, ...] = ()
    rules: Mapping[str, tuple[VirtualService, ...]] = field(default_factory=dict)  # by the host to which they lead
    gone: list[Claim] = field(default_factory=list)
    fresh: list[Claim] = field(default_factory=list)  # to be looked at again
    places: dict[str, int] = field(default_factory=dict)  # of claims in their order, by name
    _by_name: dict[str, Claim] = field(default_factory=dict)

    def follow(self, claims: tuple[Claim, ...], rules: Mapping[str, tuple[VirtualService, ...]]) -> None:
        """Claims are told apart by identity."""
        before, turned = self._by_name, set(differences(self.rules, rules)) if rules is not self.rules else set()
        if claims is not self.claims:
            self._by_name = {claim.name: claim for claim in claims}
            self.places = {name: place for place, name in enumerate(self._by_name)}
        now = self._by_name
        self.gone = [claim for name, claim in before.items() if name not in now] if now is not before else []
        self.fresh = [
            claim
            for claim in (claims if now is not before or turned else ())
            if before.get(claim.name) is not claim or claim.service.id.fqdn in turned
        ]
        self.claims, self.rules = claims, rules


class Outlook:
    """What one view sees. claims: by name; mark: the same for views that see claims of the same names."""

    def __init__(self) -> None:
        self._made_of: tuple[Sidecar | None, MeshConfig] | None = None
        self.claims: dict[str, Claim] = {}
        self.mark = 0
        self.changes = 0  # how often claims became others

    def follow(self, read: Read, source: Source, followed: Followed) -> None:
        """See what changed since the last time; every change has to be told."""
        before, made_of = self._made_of, (source.sidecar, mesh_config(read))
        if before is None or before[0] is not made_of[0] or before[1] is not made_of[1]:
            self._made_of, self.claims, self.mark = made_of, {}, 0
            self.changes += 1
            self._look(read, source, followed.claims)
            return
        for claim in followed.gone:
            self._forget(claim)
        self._look(read, source, followed.fresh)

    def _look(self, read: Read, source: Source, claims: Iterable[Claim]) -> None:
        for claim in claims:
            if not sees_service(read, source, claim.service, claim.port.port):
                self._forget(claim)
            elif self.claims.get(claim.name) is not claim:
                if claim.name not in self.claims:
                    self.mark ^= _digest(claim.name)
                self.claims[claim.name] = claim
                self.changes += 1

    def _forget(self, claim: Claim) -> None:
        if self.claims.pop(claim.name, None) is not None:
            self.mark ^= _digest(claim.name)
            self.changes += 1


def _digest(name: str) -> int:
    return int.from_bytes(blake2s(name.encode(), digest_size=16).digest(), "big")
