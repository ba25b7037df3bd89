"""When certificates are issued and renewed, and what becomes of those whose authority is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.clock import ManualClock
from tests.support.dataplane import off_the_loop
from tests.support.eventually import HANG_SECONDS

from tidegate.errors import Rejected
from tidegate.identity.store import Identities
from tidegate.model.identity import Certified, Identity
from tidegate.runtime.worker import Worker

A, B = Identity("default", "a"), Identity("default", "b")
LIFE = 1000.0
AWAY = str(Rejected("the authority", "is away", "wait"))


class FakeIssuer:
    """Signs with numbers. away: whom it refuses."""

    def __init__(self) -> None:
        self.issued: list[tuple[Identity, float]] = []
        self.away: set[Identity] = set()

    def issue(self, identity: Identity, trust_domain: str, now: float, lifetime: float) -> Certified:
        off_the_loop()
        if identity in self.away:
            raise Rejected("the authority", "is away", "wait")
        self.issued.append((identity, now))
        serial = str(len(self.issued))
        return Certified(identity, trust_domain, b"chain", b"key", b"roots", now, now + lifetime, serial)


class Store:
    def __init__(self, jitter: float = 0.0) -> None:
        self.clock, self.issuer = ManualClock(), FakeIssuer()
        self.identities = Identities(self.issuer, Worker("certificates"), self.clock, lambda: jitter, LIFE)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.identities.run())
        try:
            await self.calm()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def calm(self) -> None:
        """Until it sleeps, all done that was to be done before."""
        for _ in range(10):
            await asyncio.sleep(0)  # it hears what it was told
        async with asyncio.timeout(HANG_SECONDS):
            while not self.clock.waiting():  # noqa: ASYNC110 - the clock of the test tells nobody
                await asyncio.sleep(0)

    async def want(self, *identities: Identity, domain: str = "td") -> None:
        self.identities.want(identities, domain)
        await self.calm()

    async def turn(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.calm()

    def serials(self) -> dict[str, str]:
        return {one.account: held.serial for one, held in self.identities.held.value.items()}


async def test_what_is_wanted_is_issued_and_what_is_not_is_forgotten() -> None:
    store = Store()
    async with store.running():
        await store.want(A, B)
        assert store.serials() == {"a": "1", "b": "2"}
        assert store.identities.missing() == {}
        await store.want(B)
        assert store.serials() == {"b": "2"}
        await store.want(A, B)
        assert store.serials() == {"b": "2", "a": "3"}


async def test_a_certificate_is_renewed_at_half_its_life_and_a_little() -> None:
    store = Store(jitter=0.5)
    async with store.running():
        await store.want(A)
        await store.turn(LIFE * 0.5)
        assert store.serials() == {"a": "1"}
        await store.turn(LIFE * 0.05 + 1)
        assert store.serials() == {"a": "2"}


async def test_an_authority_that_is_away_harms_nobody_before_expiry() -> None:
    store = Store()
    async with store.running():
        await store.want(A)
        store.issuer.away = {A}
        await store.turn(LIFE * 0.6)
        assert (store.serials(), store.identities.missing()) == ({"a": "1"}, {}), "the old one is good"
        assert store.identities.refusals == {A: AWAY}
        await store.turn(LIFE * 0.4)
        assert store.identities.missing() == {A: AWAY}
        store.issuer.away = set()
        await store.turn(150)
        assert (store.serials(), store.identities.missing()) == ({"a": "2"}, {})
        assert store.identities.refusals == {}


async def test_one_that_is_refused_holds_up_no_other() -> None:
    store = Store()
    store.issuer.away = {A}
    async with store.running():
        await store.want(A, B)
        assert store.serials() == {"b": "1"}
        assert list(store.identities.missing()) == [A]


async def test_another_trust_domain_is_another_certificate_and_the_old_one_stays_until_then() -> None:
    store = Store()
    async with store.running():
        await store.want(A)
        store.issuer.away = {A}
        await store.want(A, domain="other")
        assert store.serials() == {"a": "1"}
        assert list(store.identities.missing()) == [A]
        store.issuer.away = set()
        await store.turn(150)
        assert store.identities.held.value[A].trust_domain == "other"
