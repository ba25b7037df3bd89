"""AuthorizationPolicy (security.istio.io v1beta1 and v1 are one schema): who may connect, and ask what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.policy_rule import PolicyRuleDoc
from tidegate.config.shapes.workload_selector import PolicySelectorDoc
from tidegate.config.tree import YamlList, YamlMap
from tidegate.model.authorization import NOTHING_SAID, PolicyMatch
from tidegate.model.policy import Alternative, AuthorizationPolicy, PolicyAction, PolicyRule

DRY_RUN: Final = "istio.io/dry-run"
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("", "0", "f", "F", "FALSE", "false", "False")
_NOT_OF_CUSTOM: Final = (
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
)
_KEYS_NOT_OF_CUSTOM: Final = ("source.namespace", "source.serviceAccount", "source.principal", "request.auth.")


class ProviderDoc(ApiModel):
    name: str = ""


class TargetDoc(ApiModel):
    group: str = ""
    kind: str = Field(min_length=1)
    name: str = Field(min_length=1)
    namespace: str = ""


class AuthorizationPolicySpec(ApiModel):
    selector: PolicySelectorDoc | None = None
    target_ref: TargetDoc | None = None
    target_refs: list[TargetDoc] = Field(default_factory=list, max_length=16)
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    provider: ProviderDoc | None = None
    rules: list[PolicyRuleDoc] | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        rules = data.get("rules")
        if isinstance(rules, YamlList):
            for index, rule in enumerate(rules):
                if rule is None:  # "- " alone
                    report.say(rules, index, say.NOTHING_ASKED())
                    rules[index] = YamlMap((*rules.path, index), rules.lines[index])


class AuthorizationPolicyDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: AuthorizationPolicySpec | None = None


def read(doc: AuthorizationPolicyDoc, place: Place, report: Report) -> AuthorizationPolicy:
    spec, namespace = doc.spec, place.key.namespace
    trial = _on_trial(doc.metadata, report)
    if spec is None:  # it allows nobody
        return AuthorizationPolicy(namespace, place.key.name, dry_run=trial, age=place.age, origin=place.origin)
    action = PolicyAction(spec.action)
    _check(spec, action, report)
    rules = tuple(rule.to_model(namespace, report) for rule in spec.rules or ())
    for index, rule in enumerate(rules):
        _tell_http(spec, index, rule, action, report)
    targeted = _targets(spec, report)
    if not targeted and action is not PolicyAction.CUSTOM:
        if any(rule.http for rule in rules):
            report.say(doc, "spec", say.NOT_ENFORCED())
        if any(_asks_who(one.match) for rule in rules for part in _parts(rule) for one in part):
            report.say(doc, "spec", say.NEAR_IDENTITIES())
    return AuthorizationPolicy(
        namespace=namespace,
        name=place.key.name,
        action=action,
        rules=rules,
        selector=spec.selector.to_model(report) if spec.selector else None,
        targeted=targeted,
        dry_run=trial,
        age=place.age,
        origin=place.origin,
    )


def _asks_who(match: PolicyMatch) -> bool:
    """Whether it depends on the client's identity."""
    positive = (match.principals, match.namespaces, match.service_accounts)
    return any((*positive, match.not_principals, match.not_namespaces, match.not_service_accounts))


def _on_trial(metadata: Metadata, report: Report) -> bool:
    said = metadata.annotations.get(DRY_RUN, "")
    if said not in _TRUE + _FALSE:
        report.say(metadata, ("annotations", DRY_RUN), say.NO_TRIAL(given=said))
    return said in _TRUE


def _targets(spec: AuthorizationPolicySpec, report: Report) -> bool:
    names = [name for name in ("selector", "targetRef", "targetRefs") if spec.at.get(name) is not None]
    for name in names[1:]:
        report.say(spec, name, say.EXCLUSIVE(first=names[0], second=name))
    if names and names[0] != "selector" and (spec.target_ref or spec.target_refs):
        report.say(spec, names[0], say.LATER_TARGETS())
        return True
    return False


def _check(spec: AuthorizationPolicySpec, action: PolicyAction, report: Report) -> None:
    if spec.rules is None and action in (PolicyAction.DENY, PolicyAction.CUSTOM):
        report.say(spec, "action", say.NEVER_TRIGGERED(action=action.value))
    if action is not PolicyAction.CUSTOM:
        if spec.provider is not None:
            report.say(spec, "provider", say.PROVIDER_OF_OTHERS(action=action.value))
        return
    report.say(spec, "action", say.LATER_ACTION(action=action.value))
    if spec.rules is not None and (spec.provider is None or not spec.provider.name):
        report.say(spec, "provider" if spec.provider else None, say.NO_PROVIDER())
    for rule in spec.rules or ():
        for one in rule.from_ or ():
            for key in _NOT_OF_CUSTOM:
                if one.source.at.get(key):
                    report.say(one.source, key, say.NOT_WITH_CUSTOM())
        for condition in rule.when:
            if condition.key.startswith(_KEYS_NOT_OF_CUSTOM):
                report.say(condition, "key", say.NOT_WITH_CUSTOM())


def _tell_http(
    spec: AuthorizationPolicySpec, index: int, rule: PolicyRule, action: PolicyAction, report: Report
) -> None:
    """What a rule means for connections that are not HTTP, if it asks for what those do not have."""
    if not rule.http or action is PolicyAction.CUSTOM:
        return
    at, what = ("rules", index), ", ".join(rule.http)
    if action is not PolicyAction.DENY:
        report.say(spec, at, say.HTTP_NOT_ALLOWED(what=what))
    elif all(any(map(_always, part)) or not part for part in _parts(rule)):
        report.say(spec, at, say.HTTP_DENIES_ALL())
    else:
        report.say(spec, at, say.HTTP_LEFT_OUT(what=what))


def _parts(rule: PolicyRule) -> Iterator[tuple[Alternative, ...]]:
    yield rule.sources
    yield rule.operations
    yield from ((one,) for one in rule.conditions)


def _always(one: Alternative) -> bool:
    return one.match == NOTHING_SAID and not one.remote_ips and not one.not_remote_ips


AUTHORIZATION_POLICY = Kind(
    group="security.istio.io",
    name="AuthorizationPolicy",
    versions=("v1beta1", "v1"),
    shape=AuthorizationPolicyDoc,
    read=read,
    shelf="authorization_policies",
)
