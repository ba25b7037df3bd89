"""Whether somebody gets the certificate that he asks for: who he is, whom he may ask for, what his request says.

One line for each answer in the log (audit.py) and one count. Nothing of a token or a key is in either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from tidegate.ca.callers import CallerRow, CallerTable
from tidegate.ca.rates import Rates
from tidegate.ca.tokens import Account
from tidegate.errors import Rejected, TidegateError, Transient
from tidegate.identity.authority import Signed
from tidegate.identity.certificate_requests import asked_in
from tidegate.identity.embedded import AuthorityFolder
from tidegate.identity.revocation import NOTHING_REVOKED, Revocations
from tidegate.model.identity import Identity, identity_in
from tidegate.runtime.clock import Clock
from tidegate.runtime.worker import Worker

FAILURES_EACH_SECOND, MOST_FAILURES = 1.0, 50  # of an address from which nobody known came


class Refusal(StrEnum):
    """Why there is no certificate, as counters call it."""

    UNKNOWN = "unauthenticated"
    NOT_PERMITTED = "not permitted"
    MALFORMED = "malformed"
    TOO_OFTEN = "too often"
    LATER = "unavailable"


class NotIssuedError(Exception):
    """No certificate, and what the caller is told."""

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds that certificates are good for."""

    usual: float
    least: float
    most: float

    def lifetime(self, asked: float) -> float:
        """What somebody gets who asks for so many; 0 or less = he does not say."""
        return min(max(asked, self.least), self.most) if asked > 0 else min(self.usual, self.most)


@dataclass(frozen=True, slots=True)
class Asking:
    """A call, as it came. peer: the address that it came from."""

    peer: str
    csr: bytes = field(repr=False)
    seconds: float
    impersonated: str  # empty: the caller's own identity
    token: str = field(default="", repr=False)
    certificate: tuple[str, ...] = ()  # names in the client's certificate, which TLS has verified
    serial: str = ""  # of that, hexadecimal
    issuer: str = ""  # of that (RFC 4514)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. account: None for one that is known by a word of the table."""

    name: str
    row: CallerRow | None
    account: Identity | None = None
    node: str = ""  # that its pod is on; empty: unknown


@dataclass(frozen=True, slots=True)
class Issued:
    """What became of a call, for the log."""

    peer: str
    caller: str = ""
    identity: str = ""
    serial: str = ""
    expires: float = 0.0  # seconds since the epoch
    refusal: Refusal | None = None
    reason: str = ""


class Tokens(Protocol):
    """Who reads tokens of service accounts. Raises Rejected, and Transient if it cannot say now."""

    async def account(self, token: str) -> Account: ...


class Nodes(Protocol):
    """Who knows which pods are where. Raises Transient if it cannot say now."""

    async def node_of(self, account: Account) -> str:
        """The node of the pod that a token is bound to; empty if there is no such pod."""

    async def runs(self, node: str, identity: Identity) -> bool:
        """Whether some pod of the node is of this service account."""


class Issuing:
    """Use from one event loop."""

    def __init__(
        self,
        folder: AuthorityFolder,
        worker: Worker,
        table: Callable[[], CallerTable],
        trust_domains: tuple[str, ...],
        bounds: Bounds,
        rates: Rates,
        clock: Clock,
        *,
        tokens: Tokens | None = None,
        nodes: Nodes | None = None,
        revoked: Callable[[], Revocations] = lambda: NOTHING_REVOKED,
        told: Callable[[Issued], None] = lambda issued: None,
    ) -> None:
        """worker: the thread of the folder. trust_domains: of whom certificates are given, the first to a root that is
        made. revoked: whose certificates are not believed any more. told: hears of each answer."""
        self._folder = folder
        self._worker = worker
        self._table = table
        self._domains = trust_domains
        self._bounds = bounds
        self._rates = rates
        self._strangers = Rates(FAILURES_EACH_SECOND, MOST_FAILURES)
        self._clock = clock
        self._tokens = tokens
        self._nodes = nodes
        self._revoked = revoked
        self._told = told
        self.counts = Counter[str]()  # answers by what they are: issued, or a Refusal

    async def answer(self, asking: Asking) -> Signed:
        """A certificate. Raises NotIssuedError."""
        line = Issued(asking.peer)
        try:
            caller = await self._caller(asking)
            line = replace(line, caller=caller.name)
            spiffe = asking.impersonated or self._own(caller)
            line = replace(line, identity=spiffe[:512])
            await self._permitted(caller, spiffe)
            lifetime, now = self._bounds.lifetime(asking.seconds), self._clock.now()
            signed = await self._worker.do(self._sign, asking.csr, spiffe, now, lifetime)
        except NotIssuedError as error:
            self.counts[error.refusal] += 1
            self._told(replace(line, refusal=error.refusal, reason=str(error)))
            raise
        self.counts["issued"] += 1
        self._told(replace(line, serial=signed.serial, expires=now + lifetime))
        return signed

    async def _caller(self, asking: Asking) -> Caller:
        now = self._clock.monotonic()
        if self._strangers.exhausted(asking.peer, now):
            raise NotIssuedError(Refusal.TOO_OFTEN, "too many calls of nobody known came from this address")
        try:
            caller = await self._known(asking)
        except Rejected as error:
            self._strangers.take(asking.peer, now)
            raise NotIssuedError(Refusal.UNKNOWN, str(error)) from None
        except Transient as error:
            raise NotIssuedError(Refusal.LATER, str(error)) from None
        if not self._rates.take(caller.name, now):
            raise NotIssuedError(Refusal.TOO_OFTEN, f"{caller.name} asks too often")
        return caller

    async def _known(self, asking: Asking) -> Caller:
        table = self._table()
        if asking.token:
            row = table.with_word(asking.token)
            if row is not None:
                return Caller(row.name, row)
            if self._tokens is None:
                raise Rejected("the token", "is none of the table of callers")
            account = await self._tokens.account(asking.token)
            row = table.by_account.get(account.identity)
            node = account.node
            if row is not None and row.of_its_node and not node and self._nodes is not None:
                node = await self._nodes.node_of(account)
            name = row.name if row is not None else f"{account.identity.namespace}/{account.identity.account}"
            return Caller(f"{name}@{node}" if node else name, row, account.identity, node)
        if asking.certificate:
            return self._by_certificate(asking, table)
        raise Rejected("the caller", "shows neither a token nor a certificate")

    def _by_certificate(self, asking: Asking, table: CallerTable) -> Caller:
        found = [known for name in asking.certificate if (known := identity_in(name)) is not None]
        if len(found) != 1 or found[0][0] not in self._domains:
            raise Rejected("the client's certificate", "is of no workload of this mesh")
        if self._revoked().has(asking.issuer, asking.serial):
            raise Rejected("the client's certificate", f"is revoked (serial number {asking.serial})")
        account = found[0][1]
        row = table.by_account.get(account)
        return Caller(row.name if row else f"{account.namespace}/{account.account}", row, account)

    def _own(self, caller: Caller) -> str:
        if caller.account is None:
            reason = f"{caller.name} does not say whom it asks for, and is no account itself"
            raise NotIssuedError(Refusal.MALFORMED, reason)
        return caller.account.spiffe(self._domains[0])

    async def _permitted(self, caller: Caller, spiffe: str) -> None:
        known = identity_in(spiffe)
        if known is None:
            raise NotIssuedError(Refusal.MALFORMED, f"{spiffe[:512]!r} is no spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT")
        domain, identity = known
        if domain not in self._domains:
            raise NotIssuedError(Refusal.NOT_PERMITTED, f"trust domain {domain} is not of this authority")
        row = caller.row
        if identity == caller.account or (row is not None and row.names(identity)):
            return
        if row is None or not row.of_its_node:
            raise NotIssuedError(Refusal.NOT_PERMITTED, f"{caller.name} may not ask for {spiffe}")
        if self._nodes is None or not caller.node:
            why = "its node is not known" if self._nodes is not None else "nobody tells which pods are on its node"
            raise NotIssuedError(Refusal.NOT_PERMITTED, f"{caller.name} may ask for those of its node, and {why}")
        try:
            there = await self._nodes.runs(caller.node, identity)
        except Transient as error:
            raise NotIssuedError(Refusal.LATER, str(error)) from None
        if not there:
            raise NotIssuedError(Refusal.NOT_PERMITTED, f"no pod of {spiffe} is on node {caller.node}")

    def _sign(self, csr: bytes, spiffe: str, now: float, lifetime: float) -> Signed:
        """On the folder's thread. Raises NotIssuedError."""
        try:
            asked = asked_in(csr)
        except Rejected as error:
            raise NotIssuedError(Refusal.MALFORMED, str(error)) from None
        if asked.name != spiffe:
            reason = f"the certificate request is for {asked.name[:512]!r}, and the call is for {spiffe}"
            raise NotIssuedError(Refusal.MALFORMED, reason)
        try:
            return self._folder.now(self._domains[0], now).sign(asked.public, spiffe, now, lifetime)
        except (OSError, TidegateError) as error:
            raise NotIssuedError(Refusal.LATER, str(error)) from None
