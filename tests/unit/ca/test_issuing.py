"""Who gets which certificate: drawn callers against an oracle, and what the log says of each answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.clock import ManualClock

from tidegate.ca.callers import CallerRow, CallerTable
from tidegate.ca.issuing import Asking, Bounds, Issued, Issuing, NotIssuedError, Refusal
from tidegate.ca.rates import Rates
from tidegate.ca.tokens import Account
from tidegate.errors import Rejected, Transient
from tidegate.identity.authority import Signed, open_authority
from tidegate.identity.chains import described
from tidegate.identity.embedded import AuthorityFolder
from tidegate.identity.keys import KeysInMemory
from tidegate.identity.revocation import Revocations
from tidegate.model.identity import Identity
from tidegate.runtime.worker import Worker

NOW = 1_800_000_000.0
BOUNDS = Bounds(3600.0, 60.0, 7200.0)
DOMAINS = ("td", "old.td")
A, B, AGENT = Identity("shop", "a"), Identity("shop", "b"), Identity("mesh", "agent")
PEER = "10.0.0.1"


class FakeTokens:
    """Tokens are names of accounts, with the node behind an @."""

    async def account(self, token: str) -> Account:
        if token == "later":
            raise Transient("the cluster", "is away")
        name, _, node = token.partition("@")
        if name != "agent":
            raise Rejected("the token", "is nobody's")
        return Account(AGENT, "agent-x", "uid", node)


@dataclass
class FakeNodes:
    pods: set[tuple[str, Identity]] = field(default_factory=set)
    nodes: dict[str, str] = field(default_factory=dict)
    away: bool = False

    async def node_of(self, account: Account) -> str:
        return self.nodes.get(account.pod, "")

    async def runs(self, node: str, identity: Identity) -> bool:
        if self.away:
            raise Transient("the cluster", "is away")
        return (node, identity) in self.pods


class Service:
    def __init__(self, folder: Path, rows: tuple[CallerRow, ...], nodes: FakeNodes | None, tokens: bool = True) -> None:
        self.clock, self.told = ManualClock(NOW), list[Issued]()
        table = CallerTable(
            {row.digest: row for row in rows if row.digest}, {row.account: row for row in rows if row.account}
        )
        self.issuing = Issuing(
            AuthorityFolder(folder),
            Worker("authority"),
            lambda: table,
            DOMAINS,
            BOUNDS,
            Rates(1.0, 5),
            self.clock,
            tokens=FakeTokens() if tokens else None,
            nodes=nodes,
            revoked=lambda: Revocations(b"list", {"O=td": frozenset({"bad"})}),
            told=self.told.append,
        )

    async def ask(self, asking: Asking) -> tuple[Signed | None, Refusal | None]:
        """The answer, or why there is none; the log says the same."""
        refused: NotIssuedError | None = None
        signed: Signed | None = None
        try:
            signed = await self.issuing.answer(asking)
        except NotIssuedError as error:
            refused = error
        assert self.told[-1].refusal is (refused.refusal if refused else None)
        assert self.told[-1].reason == (str(refused) if refused else "")
        return signed, refused.refusal if refused else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    open_authority(folder, "td", NOW)
    return folder


def asking(identity: Identity, domain: str = "td", **more: object) -> Asking:
    spiffe = identity.spiffe(domain)
    return replace(Asking(PEER, KeysInMemory().new(spiffe).request, 600.0, spiffe), **more)  # type: ignore[arg-type]


ROW = CallerRow("agents", (), account=AGENT)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    token=st.sampled_from(["", "agent", "agent@n1", "agent@n2", "stranger", "later"]),
    certificate=st.sampled_from([(), (AGENT.spiffe("td"),), (A.spiffe("old.td"),), (A.spiffe("corp"),), ("dns",)]),
    serial=st.sampled_from(["good", "bad"]),
    wanted=st.sampled_from([A, B, AGENT]),
    domain=st.sampled_from(["td", "old.td", "corp"]),
    may=st.sampled_from([None, (), ("node",), ("shop/a",), ("shop/*",), ("*/*",), ("node", "shop/b")]),
    known=st.sampled_from([None, frozenset(), frozenset({("n1", A)}), frozenset({("n1", A), ("n2", B)})]),
    where=st.sampled_from(["", "n1"]),
)
def test_an_oracle_agrees(
    folder: Path,
    token: str,
    certificate: tuple[str, ...],
    serial: str,
    wanted: Identity,
    domain: str,
    may: tuple[str, ...] | None,
    known: frozenset[tuple[str, Identity]] | None,
    where: str,
) -> None:
    nodes = FakeNodes(set(known), {"agent-x": where} if where else {}) if known is not None else None
    rows = (replace(ROW, may=may),) if may is not None else ()

    def oracle() -> Refusal | None:
        node = ""
        if token == "later":
            return Refusal.LATER
        if token:
            if not token.startswith("agent"):
                return Refusal.UNKNOWN
            who = AGENT
            node = token.partition("@")[2] or (where if known is not None else "")
        else:
            shown = {AGENT.spiffe("td"): AGENT, A.spiffe("old.td"): A}
            if len(certificate) != 1 or certificate[0] not in shown or serial == "bad":
                return Refusal.UNKNOWN
            who = shown[certificate[0]]
        if domain == "corp":
            return Refusal.NOT_PERMITTED
        mine = may if who == AGENT and may is not None else ()
        allowed = wanted == who or (f"shop/{wanted.account}" in mine and wanted != AGENT)
        allowed |= "*/*" in mine or ("shop/*" in mine and wanted.namespace == "shop")
        allowed |= "node" in mine and bool(node) and known is not None and (node, wanted) in known
        return None if allowed else Refusal.NOT_PERMITTED

    service = Service(folder, rows, nodes)
    asked = asking(wanted, domain, token=token, certificate=certificate, serial=serial, issuer="O=td")
    signed, refusal = asyncio.run(service.ask(asked))
    assert refusal == oracle(), service.told
    (line,) = service.told
    if signed is not None:
        leaf = described(signed.chain)[0]
        assert leaf.names == (wanted.spiffe(domain),)
        assert (line.serial, line.expires, line.identity) == (leaf.serial, leaf.not_after, wanted.spiffe(domain))
    assert service.issuing.counts == {"issued" if refusal is None else refusal: 1}


async def test_who_says_nobody_is_itself(folder: Path) -> None:
    service = Service(folder, (), None)
    own = replace(asking(AGENT), impersonated="", token="agent")
    signed, _ = await service.ask(own)
    assert signed is not None
    assert described(signed.chain)[0].names == (AGENT.spiffe("td"),)


@pytest.mark.parametrize(("seconds", "given"), [(0, 3600), (-5, 3600), (600, 600), (1, 60), (7201, 7200), (1e12, 7200)])
async def test_how_long_a_certificate_is_good_is_bounded(seconds: float, given: float, folder: Path) -> None:
    service = Service(folder, (), None)
    signed, _ = await service.ask(asking(AGENT, token="agent", seconds=seconds))
    assert signed is not None
    assert described(signed.chain)[0].not_after == NOW + given


async def test_the_request_has_to_be_for_who_is_asked_for(folder: Path) -> None:
    service = Service(folder, (replace(ROW, may=("*/*",)),), None)
    asked = replace(asking(A, token="agent"), impersonated=B.spiffe("td"))
    assert await service.ask(asked) == (None, Refusal.MALFORMED)
    assert await service.ask(replace(asked, csr=b"no request")) == (None, Refusal.MALFORMED)
    assert await service.ask(replace(asked, impersonated="spiffe://td/ns/shop/sa/a/more")) == (None, Refusal.MALFORMED)


async def test_a_caller_that_asks_too_often_waits_and_others_do_not(folder: Path) -> None:
    service = Service(folder, (), None)
    answers = [(await service.ask(asking(AGENT, token="agent")))[1] for _ in range(7)]
    assert answers == [None] * 5 + [Refusal.TOO_OFTEN] * 2
    own = asking(A, certificate=(A.spiffe("td"),))
    assert (await service.ask(own))[1] is None
    service.clock.advance(1.0)
    assert (await service.ask(asking(AGENT, token="agent")))[1] is None


async def test_an_address_of_strangers_is_not_listened_to_for_a_while(folder: Path) -> None:
    service = Service(folder, (), None)
    stranger = asking(A, token="stranger")
    answers = [(await service.ask(stranger))[1] for _ in range(51)]
    assert answers == [Refusal.UNKNOWN] * 50 + [Refusal.TOO_OFTEN]
    assert (await service.ask(asking(AGENT, token="agent")))[1] is Refusal.TOO_OFTEN
    assert (await service.ask(asking(AGENT, token="agent", peer="10.0.0.2")))[1] is None
    service.clock.advance(1.0)
    assert (await service.ask(asking(AGENT, token="agent")))[1] is None


async def test_a_cluster_that_is_away_is_no_permission(folder: Path) -> None:
    service = Service(folder, (replace(ROW, may=("node",)),), FakeNodes({("n1", A)}, away=True))
    assert (await service.ask(asking(A, token="agent@n1")))[1] is Refusal.LATER


async def test_nothing_of_a_token_is_told(folder: Path) -> None:
    service = Service(folder, (), None, tokens=False)
    await service.ask(asking(A, token="a-secret-word"))
    assert "a-secret-word" not in repr(service.told) + repr(asking(A, token="a-secret-word"))
