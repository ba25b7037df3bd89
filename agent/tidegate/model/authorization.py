"""The one form in which it is decided who may connect: what PeerAuthentication and AuthorizationPolicy become.

It is istio.security.Authorization of the workload API (ztunnel's proto/authorization.proto) with one action more. The
relay decides by the same form (agent/relay/policy_abi.h, whose numbers are these; a test compares them), and vectors in
tests/vectors/authorization hold both to the same answers:

* a policy matches if any of its rules does; one without rules never matches;
* a rule matches if all of its clauses do; one without clauses always matches;
* a clause matches if any of its matches does; one without matches always does;
* a match fits if each of its lists does: one of the positive list, if there is any, and none of the negative one. One
  that says nothing never fits, as in ztunnel: so nobody may write "always" that way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from tidegate.model.identity import Identity
from tidegate.model.net import IPAddress, IPNetwork
from tidegate.model.origin import Origin


class AuthorizationAction(IntEnum):
    """What a policy that matches does; values equal enum fp_policy_action."""

    ALLOW = 0  # beside others of its kind: whoever none of them matches is refused
    DENY = 1
    AUDIT = 2  # decides nothing: that it matches is told. Not in the workload API


class PolicyScope(IntEnum):
    """For whom a policy is; values equal those of istio.security.Scope."""

    GLOBAL = 0  # every workload: a policy without selector in the root namespace
    NAMESPACE = 1  # every workload of its namespace
    WORKLOAD_SELECTOR = 2  # those that list it


class How(IntEnum):
    """How a text is compared; values equal enum fp_policy_how."""

    EXACT = 0
    PREFIX = 1
    SUFFIX = 2
    PRESENT = 3  # there is one


class PolicyVerdict(IntEnum):
    """What was decided, and by what; values equal enum fp_policy_verdict, names are those of the counters."""

    ALLOW_NO_POLICY = 0  # no ALLOW policy is for the workload, and no DENY policy matches
    ALLOW_BY_POLICY = 1
    DENY_BY_POLICY = 2
    DENY_NOT_ALLOWED = 3  # there are ALLOW policies, and none of them matches
    DENY_UNKNOWN_WORKLOAD = 4  # nobody said what holds for it

    @property
    def allows(self) -> bool:
        """Whether the connection may be."""
        return self in (PolicyVerdict.ALLOW_NO_POLICY, PolicyVerdict.ALLOW_BY_POLICY)


@dataclass(frozen=True, slots=True)
class Text:
    """A condition on a text. value: "" where only presence is asked for."""

    how: How
    value: str = ""

    def fits(self, text: str) -> bool:
        """Whether the text fulfils it; "" = there is none."""
        match self.how:
            case How.EXACT:
                return text == self.value
            case How.PREFIX:
                return text.startswith(self.value)
            case How.SUFFIX:
                return text.endswith(self.value)
            case _:
                return bool(text)

    @classmethod
    def parse(cls, text: str) -> Text:
        """As policies write it: `*` anything that is there, `*end`, `begin*`, or the text itself."""
        if text == "*":
            return cls(How.PRESENT)
        if text.startswith("*"):
            return cls(How.SUFFIX, text[1:])
        return cls(How.PREFIX, text[:-1]) if text.endswith("*") else cls(How.EXACT, text)

    def __str__(self) -> str:
        before, behind = self.how in (How.SUFFIX, How.PRESENT), self.how is How.PREFIX
        return f"{'*' if before else ''}{self.value}{'*' if behind else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyMatch:
    """Conditions of which all have to hold. Principals are without spiffe://; ports are those of the workload."""

    namespaces: tuple[Text, ...] = ()
    not_namespaces: tuple[Text, ...] = ()
    principals: tuple[Text, ...] = ()
    not_principals: tuple[Text, ...] = ()
    source_ips: tuple[IPNetwork, ...] = ()
    not_source_ips: tuple[IPNetwork, ...] = ()
    destination_ips: tuple[IPNetwork, ...] = ()
    not_destination_ips: tuple[IPNetwork, ...] = ()
    destination_ports: tuple[int, ...] = ()
    not_destination_ports: tuple[int, ...] = ()
    service_accounts: tuple[Identity, ...] = ()  # in any trust domain
    not_service_accounts: tuple[Identity, ...] = ()


NOTHING_SAID = PolicyMatch()
Clause = tuple[PolicyMatch, ...]
Clauses = tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """One policy in force. http: what it says of requests only is not in here, and somebody who sees them has to ask
    the policy itself; those who see none decide by this, which refuses rather more than less."""

    namespace: str
    name: str
    scope: PolicyScope
    action: AuthorizationAction
    rules: tuple[Clauses, ...] = ()
    dry_run: bool = False  # decided and told, never in force
    http: bool = False
    selector: Mapping[str, str] = field(default_factory=dict)  # of WORKLOAD_SELECTOR
    origin: Origin = Origin("AuthorizationPolicy", "", "")

    @property
    def key(self) -> str:
        """NAMESPACE/NAME: what workloads list, and logs say."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PolicySubject:
    """A connection, as far as policies look at it. Addresses: the client's as the workload sees it, the workload's own
    with the port at which it listens."""

    source: IPAddress
    destination: IPAddress
    port: int
    identity: Identity | None = None  # what the client's certificate says; None: it showed none
    trust_domain: str = ""  # of that

    @property
    def principal(self) -> str:
        """As policies write it; "" = nobody's."""
        return self.identity.spiffe(self.trust_domain).removeprefix("spiffe://") if self.identity else ""


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """policy: NAMESPACE/NAME of the one that decided, "" where none did. would_*: what policies on trial (dry-run)
    would decide if there were no others. audited: the first AUDIT policy that matches."""

    verdict: PolicyVerdict
    policy: str = ""
    would: PolicyVerdict = PolicyVerdict.ALLOW_NO_POLICY
    would_policy: str = ""
    audited: str = ""
