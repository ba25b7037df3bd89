"""What a Kubernetes cluster says of callers: whose a token is (TokenReview), and which pods are on a node.

Asked for each certificate and not watched: an answer is as new as the question, so a pod that was just bound to a node
has its identity there, and a token whose pod is gone is nobody's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from tidegate.ca.tokens import MOST_BYTES, Account, account_named
from tidegate.config.sources.kube.gate import AwayError
from tidegate.config.sources.kube.stream import RefusedError
from tidegate.errors import Rejected, Transient
from tidegate.model.identity import Identity

PATIENCE_SECONDS = 5.0  # with a server that is away: callers have a back-off of their own
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_EXTRA = "authentication.kubernetes.io/"  # before what a token is bound to
_OVER = "status.phase!=Failed,status.phase!=Succeeded"  # whoever has ended needs no certificate


class KubeApi(Protocol):
    """config.sources.kube.server.ApiServer."""

    async def whole(self, path: str, query: Mapping[str, str]) -> bytes: ...

    async def create(self, path: str, document: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ClusterCallers:
    """See issuing.Tokens and issuing.Nodes."""

    server: KubeApi
    audience: str
    patience: float = field(default=PATIENCE_SECONDS)

    async def account(self, token: str) -> Account:
        """See issuing.Tokens."""
        if len(token) > MOST_BYTES:
            raise Rejected("the token", f"has more than {MOST_BYTES} bytes")
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self.audience]},
        }
        status = _part(await self._told(lambda: self.server.create(REVIEWS, json.dumps(review).encode())), "status")
        if status.get("authenticated") is not True:
            raise Rejected("the token", "is nobody's, says the cluster")
        # A server that knows nothing of audiences leaves them out, and has then checked its own.
        if self.audience not in _texts(status, "audiences"):
            raise Rejected("the token", f"is not for audience {self.audience}")
        user = _part(status, "user")
        identity = account_named(str(user.get("username", "")))
        if identity is None:
            raise Rejected("the token", "is not of a service account")
        extra = _part(user, "extra")
        bound = {name: next(iter(_texts(extra, _EXTRA + name)), "") for name in ("pod-name", "pod-uid", "node-name")}
        return Account(identity, bound["pod-name"], bound["pod-uid"], bound["node-name"])

    async def node_of(self, account: Account) -> str:
        """See issuing.Nodes."""
        if not account.pod:
            return ""
        query = {"fieldSelector": f"metadata.name={account.pod}"}
        found = await self._told(lambda: self.server.whole(_pods(account.identity.namespace), query))
        for pod in _objects(found, "items"):
            if account.pod_uid in ("", _part(pod, "metadata").get("uid")):
                return str(_part(pod, "spec").get("nodeName", ""))
        return ""

    async def runs(self, node: str, identity: Identity) -> bool:
        """See issuing.Nodes."""
        query = {"fieldSelector": f"spec.nodeName={node},{_OVER}"}
        found = await self._told(lambda: self.server.whole(_pods(identity.namespace), query))
        accounts = {
            _part(pod, "spec").get("serviceAccountName", "default")
            for pod in _objects(found, "items")
            if _part(pod, "spec").get("nodeName") == node
        }
        return identity.account in accounts

    async def _told(self, ask: Callable[[], Awaitable[bytes]]) -> Mapping[str, Any]:
        """An answer's object. Raises Transient."""
        try:
            async with asyncio.timeout(self.patience):
                body = await ask()
            value = json.loads(body)
        except RefusedError as error:
            raise Transient("the cluster", f"does not answer this authority: {error}") from None
        except AwayError as error:
            raise Transient("the cluster", f"is away: {error}") from None
        except TimeoutError:
            raise Transient("the cluster", "is away: no answer in time") from None
        except ValueError:
            raise Transient("the cluster", "answers what is no JSON") from None
        if not isinstance(value, dict):
            raise Transient("the cluster", "answers what is no object")
        return value


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _texts(value: Mapping[str, Any], name: str) -> list[str]:
    found = value.get(name)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _objects(value: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = value.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
