"""When certificates are issued and renewed, and what becomes of those whose authority is away, or answers nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.clock import ManualClock
from tests.support.dataplane import off_the_loop
from tests.support.eventually import HANG_SECONDS

from tidegate.errors import Rejected, Transient
from tidegate.identity.authority import Signed, open_authority
from tidegate.identity.certificate_requests import AskedFor, asked_in
from tidegate.identity.keys import KeysInMemory, NewKey, new_key
from tidegate.identity.revocation import Revocations
from tidegate.identity.store import AT_ONCE, TOGETHER, CertificateState, Identities
from tidegate.model.identity import Identity

A, B = Identity("default", "a"), Identity("default", "b")
LIFE = 1000.0
START = 1_800_000_000.0
AWAY = str(Transient("the authority", "is away", "wait"))


class FakeIssuer:
    """A real authority that may be away, refuse, be slow, or answer with what was not asked for."""

    name = "the authority"

    def __init__(self, folder: Path) -> None:
        self.authority = open_authority(folder, "td", START)
        self.numbers: dict[str, str] = {}  # of serial numbers, in the order in which they were issued
        self.refused: set[str] = set()
        self.away: set[str] = set()
        self.under_way = self.most_under_way = 0
        self.held: asyncio.Event | None = None  # answers wait for it
        self.answer: Callable[[AskedFor, Signed], Signed] = lambda request, signed: signed

    async def sign(self, spiffe: str, trust_domain: str, request: bytes, now: float, lifetime: float) -> Signed:
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            if self.held is not None:
                await self.held.wait()
            account = spiffe.rpartition("/")[2]
            if account in self.refused:
                raise Rejected("the authority", "does not know it", "ask")
            if account in self.away:
                raise Transient("the authority", "is away", "wait")
        finally:
            self.under_way -= 1
        asked = asked_in(request)
        signed = self.authority.sign(asked.public, spiffe, now, lifetime)
        self.numbers[signed.serial] = str(len(self.numbers) + 1)
        return self.answer(asked, signed)

    async def close(self) -> None:
        raise NotImplementedError


class OffTheLoop(KeysInMemory):
    def new(self, spiffe: str) -> NewKey:
        off_the_loop()
        return super().new(spiffe)


class Store:
    def __init__(self, folder: Path, jitter: float = 0.0, lifetime: float = LIFE) -> None:
        self.clock = ManualClock(START)
        self.issuer = FakeIssuer(folder)
        self.identities = Identities(self.issuer, OffTheLoop(), self.clock, lambda: jitter, lifetime)

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

    def numbers(self) -> dict[str, str]:
        return {one.account: self.issuer.numbers[held.serial] for one, held in self.identities.held.value.items()}

    def state(self, identity: Identity) -> CertificateState:
        spiffe = identity.spiffe("td")
        return next(one.state for one in self.identities.states() if one.spiffe == spiffe)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


async def test_what_is_wanted_is_issued_and_what_is_not_is_forgotten(store: Store) -> None:
    async with store.running():
        await store.want(A)
        await store.want(A, B)
        assert store.numbers() == {"a": "1", "b": "2"}
        assert store.identities.missing() == {}
        await store.want(B)
        assert store.numbers() == {"b": "2"}
        await store.want(A, B)
        assert store.numbers() == {"b": "2", "a": "3"}
        assert store.identities.counts["issued"] == 3


async def test_a_certificate_is_renewed_at_half_its_life_and_a_little(tmp_path: Path) -> None:
    store = Store(tmp_path, jitter=0.5)
    async with store.running():
        await store.want(A)
        assert [one.renewal for one in store.identities.states()] == [START + LIFE * 0.55]
        await store.turn(LIFE * 0.5)
        assert store.numbers() == {"a": "1"}
        await store.turn(LIFE * 0.05 + 1)
        assert store.numbers() == {"a": "2"}


async def test_it_has_a_new_key_each_time(store: Store) -> None:
    async with store.running():
        await store.want(A)
        first = store.identities.held.value[A].key
        await store.turn(LIFE * 0.6)
        assert store.identities.held.value[A].key != first


async def test_an_authority_that_is_away_harms_nobody_before_expiry(store: Store) -> None:
    async with store.running():
        await store.want(A)
        assert (store.identities.away_since, store.state(A)) == (None, CertificateState.GOOD)
        store.issuer.away = {"a"}
        await store.turn(LIFE * 0.6)
        assert (store.numbers(), store.identities.missing()) == ({"a": "1"}, {}), "the old one is good"
        assert store.identities.refusals == {A: AWAY}
        assert (store.identities.away_since, store.state(A)) == (START + LIFE * 0.6, CertificateState.NOT_RENEWED)
        await store.turn(LIFE * 0.4)
        assert store.identities.missing() == {A: AWAY}
        assert store.state(A) is CertificateState.EXPIRED
        assert store.identities.away_since == START + LIFE * 0.6, "since then, and not anew"
        store.issuer.away = set()
        await store.turn(150)
        assert (store.numbers(), store.identities.missing()) == ({"a": "2"}, {})
        assert not store.identities.refusals
        assert store.identities.away_since is None
        assert store.state(A) is CertificateState.GOOD


async def test_there_are_ten_attempts_before_it_ends(tmp_path: Path) -> None:
    life = 100.0
    store = Store(tmp_path, lifetime=life)
    async with store.running():
        await store.want(A)
        store.issuer.away = {"a"}
        await store.turn(life * 0.5)
        while store.clock.now() < START + life:
            await store.turn(store.clock.waiting()[0])
        assert store.identities.counts["away"] >= 10


async def test_one_that_is_refused_holds_up_no_other(store: Store) -> None:
    store.issuer.refused = {"a"}
    async with store.running():
        await store.want(A, B)
        assert store.numbers() == {"b": "1"}
        assert list(store.identities.missing()) == [A]
        assert (store.state(A), store.identities.away_since) == (CertificateState.MISSING, None)
        assert store.identities.counts["refused"] == 1


async def test_who_has_none_comes_before_who_has_one(store: Store) -> None:
    many = [Identity("default", f"a{number}") for number in range(AT_ONCE)]
    late = Identity("default", "z")
    async with store.running():
        await store.want(*many)
        store.identities.want([*many, late], "td")
        store.clock.advance(LIFE * 0.6)
        await store.calm()
        assert int(store.numbers()["z"]) <= AT_ONCE * 2, "in the first of the two rounds"


async def test_only_so_many_are_asked_for_at_the_same_time(store: Store) -> None:
    store.issuer.held = asyncio.Event()
    many = [Identity("default", f"a{number}") for number in range(AT_ONCE)]
    async with store.running():
        store.identities.want(many, "td")
        async with asyncio.timeout(HANG_SECONDS):
            while store.issuer.under_way < TOGETHER:  # noqa: ASYNC110 - the issuer tells nobody
                await asyncio.sleep(0)
        store.issuer.held.set()
        await store.calm()
        assert len(store.numbers()) == AT_ONCE
        assert store.issuer.most_under_way == TOGETHER


async def test_another_trust_domain_is_another_certificate_and_the_old_one_stays_until_then(store: Store) -> None:
    async with store.running():
        await store.want(A)
        store.issuer.away = {"a"}
        await store.want(A, domain="other")
        assert store.numbers() == {"a": "1"}
        assert list(store.identities.missing()) == [A]
        store.issuer.away = set()
        await store.turn(150)
        assert store.identities.held.value[A].trust_domain == "other"


async def test_lists_of_revoked_certificates_go_with_those_held_and_those_to_come(store: Store) -> None:
    async with store.running():
        await store.want(A)
        version = store.identities.held.version
        await store.identities.revoke(Revocations(b"list"))
        assert store.identities.held.version > version, "whoever tells Envoy hears of it"
        assert store.identities.held.value[A].revoked == b"list"
        await store.want(A, B)
        assert {one.revoked for one in store.identities.held.value.values()} == {b"list"}


def test_nothing_of_a_key_is_shown(tmp_path: Path) -> None:
    made = KeysInMemory().new(A.spiffe("td"))
    assert b"PRIVATE KEY" in made.key
    assert "PRIVATE" not in repr(made)


class Answers:
    """What comes instead of what an authority signs."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._right = store.issuer.authority
        self._wrong = open_authority(folder, "td", START)
        self._key = new_key().public_key()

    def another_name(self, request: AskedFor, signed: Signed) -> Signed:
        return self._right.sign(request.public, B.spiffe("td"), START, LIFE)

    def another_key(self, request: AskedFor, signed: Signed) -> Signed:
        return self._right.sign(self._key, A.spiffe("td"), START, LIFE)

    def expired(self, request: AskedFor, signed: Signed) -> Signed:
        return self._right.sign(request.public, A.spiffe("td"), START - LIFE, LIFE)

    def not_yet(self, request: AskedFor, signed: Signed) -> Signed:
        return self._right.sign(request.public, A.spiffe("td"), START + LIFE, LIFE)

    def another_root(self, request: AskedFor, signed: Signed) -> Signed:
        return replace(signed, roots=self._wrong.roots)

    def no_root(self, request: AskedFor, signed: Signed) -> Signed:
        return replace(signed, roots=b"")

    def nonsense(self, request: AskedFor, signed: Signed) -> Signed:
        return replace(signed, chain=b"\x00" * 100)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answers.another_name, "is of spiffe://td/ns/default/sa/b and not of"),
        (Answers.another_key, "is of another key"),
        (Answers.expired, "is not good now"),
        (Answers.not_yet, "is not good now"),
        (Answers.another_root, "leads to none of the roots"),
        (Answers.no_root, "cannot be read"),
        (Answers.nonsense, "cannot be read"),
    ],
)
async def test_an_answer_that_was_not_asked_for_is_refused(
    answer: Callable[[Answers, AskedFor, Signed], Signed], why: str, store: Store, tmp_path: Path
) -> None:
    answers = Answers(store, tmp_path / "other")
    store.issuer.answer = lambda request, signed: answer(answers, request, signed)
    async with store.running():
        await store.want(A)
        assert not store.identities.held.value
        assert why in store.identities.missing()[A]
        assert store.identities.counts["refused"] == 1
