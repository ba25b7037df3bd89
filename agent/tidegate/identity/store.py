"""The certificates of the identities that are wanted here: issued when they are, renewed at about half of their life.

An authority that is away, or refuses, harms nobody as long as the certificates of before are good. All that blocks is
done on a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from tidegate.errors import Rejected, TidegateError, Transient
from tidegate.identity.authority import Signed
from tidegate.identity.chains import check
from tidegate.identity.keys import KeyMaker
from tidegate.identity.revocation import NOTHING_REVOKED, Revocations
from tidegate.model.identity import Certified, Identity
from tidegate.runtime.clock import Clock
from tidegate.runtime.latest import Latest
from tidegate.runtime.retries import Retries
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

LIFETIME_SECONDS = 86_400.0  # as ztunnel and Istio's agents ask for (SECRET_TTL)
HALF, SPREAD = 0.5, 0.1  # renewed at half of a life, and up to a tenth of it later
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 150.0  # of an identity's back-off, as ztunnel's
LONGEST_SHARE = 0.05  # of a life, if that is less: between half of a life and its end are ten attempts
LOOK_SECONDS = 300.0  # at least so often: somebody may set the clock
AT_ONCE = 32  # certificates until those who wait for one of them are told
TOGETHER = 8  # requests that are under way, as ztunnel's


class Issuer(Protocol):
    """Who signs."""

    @property
    def name(self) -> str:
        """For people."""

    async def sign(self, spiffe: str, trust_domain: str, request: bytes, now: float, lifetime: float) -> Signed:
        """A certificate of this name for the key of a request. trust_domain: of the name; now: seconds since the epoch;
        lifetime: seconds, which may become fewer. Raises OSError or TidegateError."""

    async def close(self) -> None:
        """Nobody asks any more."""


@dataclass(frozen=True, slots=True)
class WantedIdentities:
    """Whose certificates are wanted, and in which trust domain."""

    identities: frozenset[Identity] = frozenset()
    trust_domain: str = ""


class CertificateState(StrEnum):
    """How it is with a certificate."""

    GOOD = "good"
    NOT_RENEWED = "not renewed"  # it is good, and was to be replaced: why not stands beside it
    EXPIRED = "expired"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class IdentityStatus:
    """One identity that is wanted. Times are seconds since the epoch, 0 for never."""

    spiffe: str
    held: Certified | None
    renewal: float
    state: CertificateState
    reason: str


class Identities:
    """Feed with want(); run() does the work. held: what there is, replaced whole."""

    def __init__(
        self,
        issuer: Issuer,
        keys: KeyMaker,
        clock: Clock,
        jitter: Callable[[], float],
        lifetime: float = LIFETIME_SECONDS,
    ) -> None:
        """lifetime: seconds that a certificate is to be good for. jitter: in [0, 1), see Retries."""
        self.issuer = issuer
        self._keys = keys
        self._worker = Worker("certificates")
        self._clock = clock
        self._jitter = jitter
        self._lifetime = lifetime
        longest = max(FIRST_SECONDS, min(LONGEST_SECONDS, lifetime * LONGEST_SHARE))
        self._retries: Retries[Identity] = Retries(FIRST_SECONDS, longest, jitter)
        self._wanted = WantedIdentities()
        self._wake = asyncio.Event()
        self._renew: dict[Identity, float] = {}  # when, in seconds since the epoch
        self.refusals: Mapping[Identity, str] = {}  # of those that could not be had, or not anew, and why
        self.held: Latest[Mapping[Identity, Certified]] = Latest({})
        self.counts = Counter[str]()  # attempts by what became of them: issued, refused, away
        self.revocations = NOTHING_REVOKED
        self.away_since: float | None = None  # seconds since the epoch; None: who signs answered when last asked

    async def revoke(self, revocations: Revocations) -> None:
        """Whose certificates are not believed from now on."""
        self.revocations = revocations
        held = {one: replace(made, revoked=revocations.pem) for one, made in self.held.value.items()}
        await self.held.set(held)

    def want(self, identities: Iterable[Identity], trust_domain: str) -> None:
        """All that are wanted from now on."""
        wanted = WantedIdentities(frozenset(identities), trust_domain)
        if wanted != self._wanted:
            self._wanted = wanted
            self._retries.keep(wanted.identities)
            self._wake.set()

    def missing(self) -> dict[Identity, str]:
        """Those that are wanted and have no certificate; why, if somebody said so."""
        held, domain = self.held.value, self._wanted.trust_domain
        now = self._clock.now()
        return {
            one: self.refusals.get(one, "")
            for one in sorted(self._wanted.identities)
            if one not in held or held[one].trust_domain != domain or held[one].expires <= now
        }

    def states(self) -> list[IdentityStatus]:
        """How it is with each that is wanted, or still held."""
        held, now, domain = self.held.value, self._clock.now(), self._wanted.trust_domain
        return [
            IdentityStatus(
                one.spiffe(held[one].trust_domain if one in held else domain),
                held.get(one),
                self._renew.get(one, 0.0),
                self._state(held.get(one), now),
                self.refusals.get(one, ""),
            )
            for one in sorted(self._wanted.identities | held.keys())
        ]

    def _state(self, held: Certified | None, now: float) -> CertificateState:
        if held is None:
            return CertificateState.MISSING
        if held.expires <= now:
            return CertificateState.EXPIRED
        if held.identity in self.refusals:
            return CertificateState.NOT_RENEWED
        return CertificateState.GOOD

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            await self._forget()
            while due := self._due():
                await self._issue(due[:AT_ONCE])
            await self._rest()

    async def _rest(self) -> None:
        woken = asyncio.create_task(self._wake.wait())
        time = asyncio.create_task(self._clock.sleep(self._seconds()))
        try:
            await asyncio.wait((woken, time), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            time.cancel()

    def _seconds(self) -> float:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        waits = [due - now for one, due in self._renew.items() if not self._retries.waits(one, monotonic)]
        if (again := self._retries.next_due()) is not None:
            waits.append(again - monotonic)
        return max(0.0, min((*waits, LOOK_SECONDS)))

    def _due(self) -> list[Identity]:
        """Those that have none come before those that have one still."""
        now, monotonic, held = self._clock.now(), self._clock.monotonic(), self.held.value
        due = [
            one
            for one in sorted(self._wanted.identities)
            if not self._retries.waits(one, monotonic)
            and (
                one not in held or held[one].trust_domain != self._wanted.trust_domain or self._renew.get(one, 0) <= now
            )
        ]
        return sorted(due, key=lambda one: one in held)

    async def _issue(self, due: list[Identity]) -> None:
        domain, now = self._wanted.trust_domain, self._clock.now()
        turns = asyncio.Semaphore(TOGETHER)
        outcomes = await asyncio.gather(*(self._one(one, domain, now, turns) for one in due))
        got = {one: made for one, made in zip(due, outcomes, strict=True) if isinstance(made, Certified)}
        refused = {one: made for one, made in zip(due, outcomes, strict=True) if isinstance(made, TidegateError)}
        for one, made in got.items():
            self._renew[one] = made.issued + (made.expires - made.issued) * (HALF + SPREAD * self._jitter())
            self._retries.forget(one)
        for one, error in refused.items():
            self._retries.refused(one, self._clock.monotonic())
            if self.refusals.get(one) != str(error):
                log.warning("no certificate for %s: %s", one.spiffe(domain), error)
        away = sum(isinstance(error, Transient) for error in refused.values())
        self.counts.update({"issued": len(got), "away": away, "refused": len(refused) - away})
        if away < len(due):
            self.away_since = None
        elif self.away_since is None:
            self.away_since = now
        told = {one: str(error) for one, error in refused.items()}
        self.refusals = {one: why for one, why in self.refusals.items() if one not in got} | told
        await self.held.set({**self.held.value, **got})

    async def _one(self, one: Identity, domain: str, now: float, turns: asyncio.Semaphore) -> Certified | TidegateError:
        spiffe = one.spiffe(domain)
        async with turns:
            try:
                made = await self._worker.do(self._keys.new, spiffe)
                signed = await self.issuer.sign(spiffe, domain, made.request, now, self._lifetime)
                leaf = await self._worker.do(check, signed.chain, signed.roots, spiffe, made.request, now)
            except TidegateError as error:
                return error
            except OSError as error:
                return Rejected(self.issuer.name, str(error))
        return Certified(
            identity=one,
            trust_domain=domain,
            chain=signed.chain,
            key=made.key,
            roots=signed.roots,
            issued=now,
            expires=leaf.not_after,
            serial=leaf.serial,
            revoked=self.revocations.pem,
        )

    async def _forget(self) -> None:
        wanted = self._wanted.identities
        gone = self.held.value.keys() - wanted
        self._renew = {one: due for one, due in self._renew.items() if one in wanted}
        self.refusals = {one: why for one, why in self.refusals.items() if one in wanted}
        if gone:
            await self.held.set({one: held for one, held in self.held.value.items() if one in wanted})
