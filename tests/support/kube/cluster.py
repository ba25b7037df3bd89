"""A cluster that a test writes to as kubectl would: the fake one, or a real one by its kubeconfig."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from tests.support.kube.fake_api import FakeApi
from tidegate.config.sources.kube.access import Access, kubeconfig

REAL = "TIDEGATE_TEST_KUBECONFIG"  # names a kubeconfig of a cluster's administrator
Object = dict[str, Any]
_CLUSTER_WIDE = {"Namespace": "namespaces", "Node": "nodes", "CustomResourceDefinition": "customresourcedefinitions"}


def kinds_of_clusters() -> list[str]:
    """The real one where somebody named it: `make test-kube` does."""
    return ["fake", *(["real"] if os.environ.get(REAL) else [])]


@dataclass(frozen=True)
class Cluster:
    """Everything in it goes over HTTP."""

    access: Access
    session: aiohttp.ClientSession
    namespace: str  # of this test alone

    async def apply(self, document: Object, plural: str = "") -> Object:
        """Create it, or replace what there is. Returns it as it is then."""
        path, name = self._path(document, plural), document["metadata"]["name"]
        status, there = await self._ask("GET", f"{path}?fieldSelector=metadata.name%3D{name}")
        assert status == 200, there
        if not there["items"]:
            status, made = await self._ask("POST", path, document)
        else:
            meta = {**document["metadata"], "resourceVersion": there["items"][0]["metadata"]["resourceVersion"]}
            status, made = await self._ask("PUT", f"{path}/{name}", {**document, "metadata": meta})
        assert status in (200, 201), made
        return dict(made)

    async def delete(self, document: Object, plural: str = "") -> None:
        path = f"{self._path(document, plural)}/{document['metadata']['name']}"
        status, answer = await self._ask("DELETE", path)
        assert status in (200, 202), answer

    async def nobody(self) -> Access:
        """As an account that may do nothing."""
        return replace(self.access, token=await self.token_of("nobody"), certificate=b"", key=b"")

    async def token_of(self, name: str, *audiences: str) -> str:
        """A token of a service account, which is made; without audiences it is for the server itself."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        account["metadata"]["namespace"] = self.namespace  # type: ignore[index]
        await self.apply(account)
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        spec = {"audiences": list(audiences)} if audiences else {}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        status, answer = await self._ask("POST", path, request)
        assert status == 201, answer
        return str(answer["status"]["token"])

    def _path(self, document: Object, plural: str) -> str:
        version, kind = document["apiVersion"], document["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if kind in _CLUSTER_WIDE:
            return f"{root}/{_CLUSTER_WIDE[kind]}"
        namespace = document["metadata"].get("namespace", "default")
        return f"{root}/namespaces/{namespace}/{plural or kind.lower() + 's'}"

    async def _ask(self, method: str, path: str, body: Object | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.access.token}"} if self.access.token else {}
        url = self.access.server + path
        async with self.session.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)


@asynccontextmanager
async def cluster(kind: str) -> AsyncIterator[Cluster]:
    """With a namespace of its own, which goes with it."""
    async with FakeApi() as fake:
        real = os.environ.get(REAL, "")
        access = kubeconfig(Path(real))() if kind == "real" else Access(fake.address, token=fake.token)
        context = access.context() if access.tls else False
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            made = Cluster(access, session, f"tidegate-{uuid4().hex[:8]}")
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace}}
            await made.apply(space)
            try:
                yield made
            finally:
                await made.delete(space)
