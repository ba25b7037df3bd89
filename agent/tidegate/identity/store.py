"""The certificates of the identities that are wanted here: issued when they are, renewed at about half of their life.

An authority that is away, or refuses, harms nobody as long as the certificates of before are good. All that blocks is
done on a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tidegate.errors import TidegateError
from tidegate.model.identity import Certified, Identity
from tidegate.runtime.clock import Clock
from tidegate.runtime.latest import Latest
from tidegate.runtime.retries import Retries
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

LIFETIME_SECONDS = 86_400.0  # as ztunnel and Istio's agents ask for (SECRET_TTL)
HALF, SPREAD = 0.5, 0.1  # renewed at half of a life, and up to a tenth of it later
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 150.0  # of an identity's back-off, as ztunnel's
LOOK_SECONDS = 300.0  # at least so often: somebody may set the clock
AT_ONCE = 32  # certificates until those who wait for one of them are told


class Issuer(Protocol):
    """Who signs. Calls block, and raise OSError or TidegateError."""

    def issue(self, identity: Identity, trust_domain: str, now: float, lifetime: float) -> Certified:
        """now: seconds since the epoch; lifetime: seconds."""


@dataclass(frozen=True, slots=True)
class WantedIdentities:
    """Whose certificates are wanted, and in which trust domain."""

    identities: frozenset[Identity] = frozenset()
    trust_domain: str = ""


class Identities:
    """Feed with want(); run() does the work. held: what there is, replaced whole."""

    def __init__(
        self,
        issuer: Issuer,
        worker: Worker,
        clock: Clock,
        jitter: Callable[[], float],
        lifetime: float = LIFETIME_SECONDS,
    ) -> None:
        """lifetime: seconds that a certificate is good for. jitter: in [0, 1), see Retries."""
        self._issuer = issuer
        self._worker = worker
        self._clock = clock
        self._jitter = jitter
        self._lifetime = lifetime
        self._retries: Retries[Identity] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._wanted = WantedIdentities()
        self._wake = asyncio.Event()
        self._renew: dict[Identity, float] = {}  # when, in seconds since the epoch
        self.refusals: Mapping[Identity, str] = {}  # of those that could not be had, or not anew, and why
        self.held: Latest[Mapping[Identity, Certified]] = Latest({})

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
        now, monotonic, held = self._clock.now(), self._clock.monotonic(), self.held.value
        return [
            one
            for one in sorted(self._wanted.identities)
            if not self._retries.waits(one, monotonic)
            and (
                one not in held or held[one].trust_domain != self._wanted.trust_domain or self._renew.get(one, 0) <= now
            )
        ]

    async def _issue(self, due: list[Identity]) -> None:
        domain = self._wanted.trust_domain
        got, refused = await self._worker.do(self._all, due, domain, self._clock.now())
        for one in got:
            life = got[one].expires - got[one].issued
            self._renew[one] = got[one].issued + life * (HALF + SPREAD * self._jitter())
            self._retries.forget(one)
        for one, why in refused.items():
            self._retries.refused(one, self._clock.monotonic())
            if self.refusals.get(one) != why:
                log.warning("no certificate for %s: %s", one.spiffe(domain), why)
        self.refusals = {one: why for one, why in self.refusals.items() if one not in got} | refused
        await self.held.set({**self.held.value, **got})

    def _all(
        self, due: list[Identity], domain: str, now: float
    ) -> tuple[dict[Identity, Certified], dict[Identity, str]]:
        got: dict[Identity, Certified] = {}
        refused: dict[Identity, str] = {}
        for one in due:
            try:
                got[one] = self._issuer.issue(one, domain, now, self._lifetime)
            except (OSError, TidegateError) as error:
                refused[one] = str(error)
        return got, refused

    async def _forget(self) -> None:
        wanted = self._wanted.identities
        gone = self.held.value.keys() - wanted
        self._renew = {one: due for one, due in self._renew.items() if one in wanted}
        self.refusals = {one: why for one, why in self.refusals.items() if one in wanted}
        if gone:
            await self.held.set({one: held for one, held in self.held.value.items() if one in wanted})
