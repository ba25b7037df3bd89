"""Policies as the workload API tells them: istio.security.Authorization in proto-JSON."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from tidegate.model.authorization import Authorization, AuthorizationAction, How, PolicyMatch, Text
from tidegate.model.identity import Identity
from tidegate.model.net import IPNetwork

MessageJson = dict[str, Any]


def authorization(policy: Authorization) -> MessageJson | None:
    """The message; None for AUDIT, which the workload API cannot say. Scope and action stand there also where they are
    the default."""
    if policy.action is AuthorizationAction.AUDIT:
        return None
    out: MessageJson = {
        "name": policy.name,
        "namespace": policy.namespace,
        "scope": policy.scope.name,
        "action": policy.action.name,
        "rules": [
            {"clauses": [{"matches": [_match(match) for match in clause]} for clause in rule]} for rule in policy.rules
        ],
    }
    return {**out, "dryRun": True} if policy.dry_run else out


def _match(match: PolicyMatch) -> MessageJson:
    out = {
        "namespaces": [_text(one) for one in match.namespaces],
        "notNamespaces": [_text(one) for one in match.not_namespaces],
        "principals": [_text(one) for one in match.principals],
        "notPrincipals": [_text(one) for one in match.not_principals],
        "sourceIps": [_network(one) for one in match.source_ips],
        "notSourceIps": [_network(one) for one in match.not_source_ips],
        "destinationIps": [_network(one) for one in match.destination_ips],
        "notDestinationIps": [_network(one) for one in match.not_destination_ips],
        "destinationPorts": list(match.destination_ports),
        "notDestinationPorts": list(match.not_destination_ports),
        "serviceAccounts": [_account(one) for one in match.service_accounts],
        "notServiceAccounts": [_account(one) for one in match.not_service_accounts],
    }
    return {key: value for key, value in out.items() if value}


def _text(text: Text) -> MessageJson:
    return {"presence": {}} if text.how is How.PRESENT else {text.how.name.lower(): text.value}


def _network(network: IPNetwork) -> MessageJson:
    return {"address": b64encode(network.network_address.packed).decode(), "length": network.prefixlen}


def _account(account: Identity) -> MessageJson:
    return {"namespace": account.namespace, "serviceAccount": account.account}
