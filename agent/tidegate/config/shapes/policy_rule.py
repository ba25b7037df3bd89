"""Rules of an AuthorizationPolicy: who (from), at which ports (to), and what else (when).

What is refused is what upstream refuses (ValidateAuthorizationPolicy and pkg/config/security). Fields that only a
request of HTTP has are checked, and named in the value: what that means for a connection is compile's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, suggestion, words
from tidegate.model.authorization import PolicyMatch, Text
from tidegate.model.identity import Identity
from tidegate.model.net import IPNetwork, parse_network
from tidegate.model.policy import Alternative, PolicyRule

# Of a request; a connection has none of them.
_OF_REQUESTS = words("requestPrincipals notRequestPrincipals methods notMethods hosts notHosts paths notPaths")
# What a connection has too, and no Match of the workload API can say.
_LATER = words("trustDomains notTrustDomains")
_ATTRIBUTES = words(
    "source.ip source.namespace source.principal source.serviceAccount source.trustDomain remote.ip destination.ip "
    "destination.port connection.sni request.auth.principal request.auth.audiences request.auth.presenter"
)
_WITH_NAME = ("request.headers", "request.auth.claims", "experimental.envoy.filters.")
_NAMED = re.compile(r"[^\[\]]+(\[[^\[\]]+\])+")
_TEMPLATE = re.compile(r"\{\*\*?\}")
_IN_SEGMENT = re.compile(r"[-A-Za-z0-9._~!$&'()+,;:@=%]*")


class SourceDoc(ApiModel):
    principals: list[str] = []
    not_principals: list[str] = []
    request_principals: list[str] = []
    not_request_principals: list[str] = []
    namespaces: list[str] = []
    not_namespaces: list[str] = []
    service_accounts: list[str] = []
    not_service_accounts: list[str] = []
    trust_domains: list[str] = []
    not_trust_domains: list[str] = []
    ip_blocks: list[str] = []
    not_ip_blocks: list[str] = []
    remote_ip_blocks: list[str] = []
    not_remote_ip_blocks: list[str] = []

    def to_model(self, namespace: str, report: Report) -> Alternative:
        """namespace: of the policy, which accounts without one are of."""
        _check_values(self, report)
        if (self.service_accounts or self.not_service_accounts) and (
            self.principals or self.not_principals or self.namespaces or self.not_namespaces
        ):
            key = "serviceAccounts" if self.service_accounts else "notServiceAccounts"
            report.say(self, key, say.ACCOUNTS_ALONE())
        read = _Reader(self, report)
        return Alternative(
            PolicyMatch(
                namespaces=read.texts("namespaces"),
                not_namespaces=read.texts("notNamespaces"),
                principals=read.principals("principals"),
                not_principals=read.principals("notPrincipals"),
                source_ips=read.networks("ipBlocks"),
                not_source_ips=read.networks("notIpBlocks"),
                service_accounts=read.accounts("serviceAccounts", namespace),
                not_service_accounts=read.accounts("notServiceAccounts", namespace),
            ),
            remote_ips=read.networks("remoteIpBlocks"),
            not_remote_ips=read.networks("notRemoteIpBlocks"),
            http=_set(self, _OF_REQUESTS | _LATER),
        )


class OperationDoc(ApiModel):
    ports: list[str] = []
    not_ports: list[str] = []
    hosts: list[str] = []
    not_hosts: list[str] = []
    methods: list[str] = []
    not_methods: list[str] = []
    paths: list[str] = []
    not_paths: list[str] = []

    def to_model(self, report: Report) -> Alternative:
        _check_values(self, report)
        for key, paths in (("paths", self.paths), ("notPaths", self.not_paths)):
            for index, path in enumerate(paths):
                if not _is_path(path):
                    report.say(self, (key, index), say.PATH_TEMPLATE(given=path))
        read = _Reader(self, report)
        match = PolicyMatch(destination_ports=read.ports("ports"), not_destination_ports=read.ports("notPorts"))
        return Alternative(match, http=_set(self, _OF_REQUESTS))


class ConditionDoc(ApiModel):
    key: str
    values: list[str] = []
    not_values: list[str] = []

    def to_model(self, namespace: str, report: Report) -> Alternative:
        if not self.values and not self.not_values:
            report.say(self, None, say.NEEDS_ONE_OF(names="values, notValues"))
        _check_values(self, report)
        if self.key.startswith(_WITH_NAME):
            if not _NAMED.fullmatch(self.key):
                report.say(self, "key", say.NO_BRACKETS(key=self.key))
            return Alternative(http=(self.key,))
        if self.key not in _ATTRIBUTES:
            report.say(self, "key", say.NO_ATTRIBUTE(key=self.key, suggestion=suggestion(self.key, _ATTRIBUTES)))
            return Alternative()
        return self._asks(namespace, _Reader(self, report))

    def _asks(self, namespace: str, read: _Reader) -> Alternative:
        yes, no = "values", "notValues"
        match self.key:
            case "source.ip":
                return Alternative(PolicyMatch(source_ips=read.networks(yes), not_source_ips=read.networks(no)))
            case "remote.ip":
                return Alternative(remote_ips=read.networks(yes), not_remote_ips=read.networks(no))
            case "source.namespace":
                return Alternative(PolicyMatch(namespaces=read.texts(yes), not_namespaces=read.texts(no)))
            case "source.principal":
                return Alternative(PolicyMatch(principals=read.principals(yes), not_principals=read.principals(no)))
            case "source.serviceAccount":
                those, others = read.accounts(yes, namespace), read.accounts(no, namespace)
                return Alternative(PolicyMatch(service_accounts=those, not_service_accounts=others))
            case "destination.ip":
                return Alternative(
                    PolicyMatch(destination_ips=read.networks(yes), not_destination_ips=read.networks(no))
                )
            case "destination.port":
                return Alternative(PolicyMatch(destination_ports=read.ports(yes), not_destination_ports=read.ports(no)))
            case _:
                return Alternative(http=(self.key,))


class FromDoc(ApiModel):
    source: SourceDoc


class ToDoc(ApiModel):
    operation: OperationDoc


class PolicyRuleDoc(ApiModel):
    from_: list[FromDoc] | None = Field(default=None, alias="from")
    to: list[ToDoc] | None = None
    when: list[ConditionDoc] = []

    def to_model(self, namespace: str, report: Report) -> PolicyRule:
        """namespace: of the policy."""
        for key, inner in (("from", self.from_), ("to", self.to)):
            if inner is not None and not inner:
                report.say(self, key, say.NOTHING_ASKED())
        return PolicyRule(
            sources=tuple(one.source.to_model(namespace, report) for one in self.from_ or ()),
            operations=tuple(one.operation.to_model(report) for one in self.to or ()),
            conditions=tuple(one.to_model(namespace, report) for one in self.when),
        )


class _Reader:
    """Reads lists of one message."""

    def __init__(self, at: ApiModel, report: Report) -> None:
        self._at = at
        self._report = report

    def _each(self, key: str, parse: Callable[[str], Any]) -> Iterator[Any]:
        for index, text in enumerate(self._at.at.get(key, ())):
            if not text:
                continue  # told already
            found = parse(text)
            if isinstance(found, say.Said):
                self._report.say(self._at, (key, index), found)
            else:
                yield found

    def texts(self, key: str) -> tuple[Text, ...]:
        return tuple(self._each(key, Text.parse))

    def principals(self, key: str) -> tuple[Text, ...]:
        for index, text in enumerate(self._at.at.get(key, ())):
            if (why := _nobody(text)) != "":
                self._report.say(self._at, (key, index), say.NOBODYS_PRINCIPAL(given=text, why=why))
        return self.texts(key)

    def networks(self, key: str) -> tuple[IPNetwork, ...]:
        return tuple(self._each(key, _network))

    def ports(self, key: str) -> tuple[int, ...]:
        return tuple(self._each(key, _port))

    def accounts(self, key: str, namespace: str) -> tuple[Identity, ...]:
        return tuple(self._each(key, lambda text: _account(text, namespace)))


def _check_values(at: ApiModel, report: Report) -> None:
    """Upstream refuses a message without any value, and values without a text."""
    lists = {key: value for key, value in at.at.items() if isinstance(value, list)}
    if not isinstance(at, ConditionDoc) and not any(lists.values()):
        report.say(at, None, say.NOTHING_ASKED())
    for key, values in lists.items():
        for index, value in enumerate(values):
            if value == "":
                report.say(at, (key, index), say.EMPTY_MATCH())


def _set(at: ApiModel, fields: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(key for key in at.at if key in fields and at.at[key]))


def _nobody(principal: str) -> str:
    """Why a principal is nobody's; "" = it may be somebody's."""
    if principal.startswith("spiffe://"):
        return "principals are written without spiffe://"
    if "*" in principal[1:-1]:
        return "a * in the middle stands for itself"
    return ""


def _network(text: str) -> IPNetwork | say.Said:
    address, slash, bits = text.partition("/")
    try:
        if "%" in address or (slash and not bits.isdecimal()):
            raise ValueError
        return parse_network(text)
    except ValueError:
        return say.NO_SUBNET(given=text)


def _port(text: str) -> int | say.Said:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) <= 65535):
        return say.NO_POLICY_PORT(given=text, least=0)
    return int(text)


def _account(text: str, namespace: str) -> Identity | say.Said:
    before, slash, name = text.rpartition("/")
    if not name or (slash and not before) or "/" in before or "*" in text:
        return say.NO_ACCOUNT(given=text)
    return Identity(before if slash else namespace, name)


def _is_path(path: str) -> bool:
    """Whether a path without templates, or with templates as upstream takes them."""
    if not _TEMPLATE.search(path):
        return True
    any_number = False  # {**} was there
    for segment in path.removeprefix("/").split("/"):
        if segment == "{**}":
            if any_number:
                return False
            any_number = True
        elif segment == "{*}":
            if any_number:
                return False
        elif not _IN_SEGMENT.fullmatch(segment) or "*" in segment:
            return False
    return True
