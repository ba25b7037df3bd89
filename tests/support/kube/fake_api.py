"""A small API server: real HTTP, nothing behind it. tests/contract holds it against the real one.

It lists, streams lists, watches, selects, and keeps objects that are written to it as kubectl would. What goes wrong is
said by the test: refusals, broken and silent streams, history that is gone, a server that is older or not there.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

Object = dict[str, Any]
Where = tuple[str, str]  # group, plural

CORE = {
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
}
_CLUSTER_WIDE = {"namespaces", "nodes", "customresourcedefinitions"}


@dataclass
class Sort:
    """What the server knows of a resource."""

    group: str
    plural: str
    kind: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """An answer that is none."""

    code: int
    reason: str = ""
    message: str = "by order of a test"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Watch:
    """A stream that somebody reads."""

    where: Where
    lines: asyncio.Queue[bytes | None]
    wanted: Callable[[Object], bool]
    shape: Callable[[Object], Object]
    request: web.Request


@dataclass
class FakeApi:
    """Use as an async context manager. All of it may be changed while it runs."""

    token: str = "let-me-in"
    streams_lists: str = "yes"  # "refused": it knows the parameters only; "unheard": it does not know them
    port: int = 0
    denied: set[str] = field(default_factory=set)  # plurals that nobody may read
    refusals: dict[str, deque[Refusal]] = field(default_factory=lambda: defaultdict(deque))  # by plural; the next ones
    everything: Refusal | None = None  # what each request gets
    held: asyncio.Event | None = None  # requests wait until it is set
    requests: list[web.Request] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    revision: int = 100
    oldest: int = 0  # what came before it is forgotten
    ssl: Any = None

    def __post_init__(self) -> None:
        self.sorts: dict[Where, Sort] = {("", p): Sort("", p, kind, ("v1",)) for p, kind in CORE.items()}
        for group, plural, kind in (
            ("discovery.k8s.io", "endpointslices", "EndpointSlice"),
            ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition"),
        ):
            self.sorts[group, plural] = Sort(group, plural, kind, ("v1",))
        self.objects: dict[Where, dict[tuple[str, str], Object]] = defaultdict(dict)
        self.history: list[tuple[int, Where, str, Object, Object | None]] = []
        self.tokens: set[str] = set()  # of service accounts, which may nothing
        self.reviewed: dict[str, Object] = {}  # what a TokenReview says of a token: its status
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        return f"{'https' if self.ssl else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """On the port that it had before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.ssl, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Nobody answers at the port; streams are cut."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # Objects

    def apply(self, *documents: Object) -> None:
        """Create or replace, without the way over HTTP."""
        for document in documents:
            sort = self._sort(document)
            self._put(sort, json.loads(json.dumps(document)))

    def delete(self, document: Object) -> None:
        sort = self._sort(document)
        self._remove(sort, _name(sort, document))

    def forget_history(self) -> None:
        """As etcd's compaction does."""
        self.oldest = self.revision
        self.history.clear()

    # Streams

    def reading(self, plural: str) -> list[Watch]:
        return [watch for watch in self.watches if watch.where[1] == plural]

    def say(self, plural: str, line: Object | bytes) -> None:
        """Something to whoever watches a resource."""
        for watch in self.reading(plural):
            watch.lines.put_nowait(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")

    def expire(self, plural: str) -> None:
        """What whoever watches knows is too old."""
        self.say(plural, {"type": "ERROR", "object": _status(410, "Expired", "too old resource version")})
        self.end(plural)

    def bookmark(self, plural: str) -> None:
        for watch in self.reading(plural):
            mark = {"kind": "X", "metadata": {"resourceVersion": str(self.revision)}}
            watch.lines.put_nowait(json.dumps({"type": "BOOKMARK", "object": mark}).encode() + b"\n")

    def end(self, plural: str = "") -> None:
        """Watches end as after their time."""
        for watch in self.watches:
            if not plural or watch.where[1] == plural:
                watch.lines.put_nowait(None)

    def cut(self, plural: str = "") -> None:
        """Connections of watches are cut off."""
        for watch in list(self.watches):
            if (not plural or watch.where[1] == plural) and watch.request.transport is not None:
                watch.request.transport.abort()

    def asked(self, plural: str) -> list[dict[str, str]]:
        """Queries for a resource so far."""
        return [dict(r.query) for r in self.requests if r.path.rstrip("/").endswith("/" + plural)]

    # HTTP

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.held is not None:
            await self.held.wait()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token != self.token and token not in self.tokens:
            return _refused(Refusal(401, "Unauthorized", "Unauthorized"))
        if self.everything is not None:
            return _refused(self.everything)
        parts = [part for part in request.path.split("/") if part]
        if parts == ["apis"]:
            return web.json_response(self._groups())
        if parts == ["apis", "authentication.k8s.io", "v1", "tokenreviews"]:
            return await self._review(request)
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        if not rest:
            return self._resources(group, version)
        sort = self.sorts.get((group, rest[0]))
        if sort is None or version not in sort.versions:
            return web.Response(status=404, text="404 page not found\n")
        if self.refusals[sort.plural]:
            return _refused(self.refusals[sort.plural].popleft())
        if sort.plural in self.denied or token in self.tokens:
            message = f'{sort.plural} is forbidden: User "system:node" cannot list resource "{sort.plural}"'
            return _refused(Refusal(403, "Forbidden", message))
        if request.method != "GET":
            return await self._write(request, sort, namespace, rest[1:])
        if request.query.get("watch") in ("1", "true"):
            return await self._watch(request, sort, version, namespace)
        return self._list(request, sort, version, namespace)

    def _list(self, request: web.Request, sort: Sort, version: str, namespace: str) -> web.Response:
        asked = request.query.get("resourceVersion", "")
        if asked.isdecimal() and int(asked) > self.revision:
            return _refused(Refusal(504, "Timeout", f"Too large resource version: {asked}, current: {self.revision}"))
        wanted, shape = _selector(request, namespace), _shape(request, sort, version)
        items = [shape(one) for one in self.objects[sort.group, sort.plural].values() if wanted(one)]
        for one in items:
            one.pop("kind", None)
            one.pop("apiVersion", None)
        body = {
            "kind": f"{sort.kind}List",
            "apiVersion": _api_version(sort, version),
            "metadata": {"resourceVersion": str(self.revision)},
            "items": items,
        }
        return web.json_response(body)

    async def _watch(self, request: web.Request, sort: Sort, version: str, namespace: str) -> web.StreamResponse:
        streamed = request.query.get("sendInitialEvents") == "true"
        since = request.query.get("resourceVersion", "")
        if streamed and self.streams_lists == "refused":
            return _refused(Refusal(422, "Invalid", "sendInitialEvents: Forbidden: is forbidden for watch"))
        if since.isdecimal() and 0 < int(since) < self.oldest:
            return _refused(Refusal(410, "Expired", f"too old resource version: {since} ({self.oldest})"))
        where = (sort.group, sort.plural)
        watch = Watch(where, asyncio.Queue(), _selector(request, namespace), _shape(request, sort, version), request)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        first = not since or since == "0"
        if streamed or first:
            for one in self.objects[where].values():
                if watch.wanted(one):
                    watch.lines.put_nowait(_event("ADDED", watch.shape(one)))
        else:
            for revision, there, what, one, before in self.history:
                if there == where and revision > int(since):
                    self._tell(watch, what, one, before)
        if streamed and self.streams_lists == "yes":
            annotations = {"k8s.io/initial-events-end": "true"}
            meta = {"resourceVersion": str(self.revision), "annotations": annotations}
            watch.lines.put_nowait(_event("BOOKMARK", {"kind": sort.kind, "metadata": meta}))
        self.watches.append(watch)
        try:
            while (line := await watch.lines.get()) is not None:
                while not watch.lines.empty() and len(line) < 1 << 16 and watch.lines._queue[0] is not None:  # type: ignore[attr-defined]
                    line += watch.lines.get_nowait() or b""
                await response.write(line)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.watches.remove(watch)
        return response

    async def _write(self, request: web.Request, sort: Sort, namespace: str, rest: list[str]) -> web.Response:
        where = (sort.group, sort.plural)
        if rest[1:] == ["token"]:
            token = f"of-{namespace}-{rest[0]}"
            self.tokens.add(token)
            self._issue(token, namespace, rest[0], (await request.json())["spec"])
            return web.json_response({"status": {"token": token}}, status=201)
        if request.method == "DELETE":
            if (namespace, rest[0]) not in self.objects[where]:
                return _refused(Refusal(404, "NotFound", f'{sort.plural} "{rest[0]}" not found'))
            self._remove(sort, (namespace, rest[0]))
            return web.json_response(_status(200, "", ""))
        document = await request.json()
        if namespace:
            document["metadata"].setdefault("namespace", namespace)
        if request.method == "POST" and _name(sort, document) in self.objects[where]:
            return _refused(Refusal(409, "AlreadyExists", "it is there"))
        return web.json_response(self._put(sort, document), status=201 if request.method == "POST" else 200)

    def _issue(self, token: str, namespace: str, account: str, spec: Object) -> None:
        """As the API server since Kubernetes 1.30: a token says on which node its pod is."""
        name = spec.get("boundObjectRef", {}).get("name", "")
        pod = self.objects["", "pods"].get((namespace, name), {})
        known = {
            "pod-name": name,
            "pod-uid": pod.get("metadata", {}).get("uid"),
            "node-name": pod.get("spec", {}).get("nodeName"),
        }
        extra = {f"authentication.kubernetes.io/{key}": [value] for key, value in known.items() if value}
        user = {"username": f"system:serviceaccount:{namespace}:{account}", "extra": extra}
        self.reviewed[token] = {"authenticated": True, "user": user, "audiences": spec.get("audiences", ["api"])}

    async def _review(self, request: web.Request) -> web.Response:
        document = await request.json()
        spec = document["spec"]
        known = self.reviewed.get(spec["token"])
        both = [one for one in known["audiences"] if one in spec["audiences"]] if known else []
        status = {**known, "audiences": both} if known and both else {"user": {}, "error": "invalid bearer token"}
        return web.json_response({**document, "status": status}, status=201)

    def _groups(self) -> Object:
        found: dict[str, set[str]] = defaultdict(set)
        for sort in self.sorts.values():
            if sort.group:
                found[sort.group] |= set(sort.versions)
        groups = [{"name": g, "versions": [{"version": v} for v in sorted(vs)]} for g, vs in sorted(found.items())]
        return {"kind": "APIGroupList", "groups": groups}

    def _resources(self, group: str, version: str) -> web.Response:
        names = [s.plural for s in self.sorts.values() if s.group == group and version in s.versions]
        if not names:
            return web.Response(status=404, text="404 page not found\n")
        return web.json_response({"kind": "APIResourceList", "resources": [{"name": name} for name in names]})

    # State

    def _sort(self, document: Object) -> Sort:
        group = document["apiVersion"].rpartition("/")[0]
        return next(s for s in self.sorts.values() if (s.group, s.kind) == (group, document["kind"]))

    def _put(self, sort: Sort, document: Object) -> Object:
        self.revision += 1
        where, key = (sort.group, sort.plural), _name(sort, document)
        before = self.objects[where].get(key)
        meta = document["metadata"]
        meta["resourceVersion"] = str(self.revision)
        meta.setdefault("uid", f"uid-{self.revision}")
        meta.setdefault("creationTimestamp", "2026-11-27T00:00:00Z")
        meta.setdefault("managedFields", [{"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}])
        self.objects[where][key] = document
        self._note(where, "MODIFIED" if before else "ADDED", document, before)
        if sort.plural == "customresourcedefinitions":
            spec = document["spec"]
            made = Sort(spec["group"], spec["names"]["plural"], spec["names"]["kind"], ())
            made.versions = tuple(version["name"] for version in spec["versions"])
            self.sorts[made.group, made.plural] = made
        return document

    def _remove(self, sort: Sort, key: tuple[str, str]) -> None:
        self.revision += 1
        where = (sort.group, sort.plural)
        gone = self.objects[where].pop(key)
        gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.revision)}}
        self._note(where, "DELETED", gone, gone)
        if sort.plural == "customresourcedefinitions":
            there = (gone["spec"]["group"], gone["spec"]["names"]["plural"])
            self.sorts.pop(there)
            self.objects.pop(there, None)
            self.end(there[1])

    def _note(self, where: Where, what: str, one: Object, before: Object | None) -> None:
        self.history.append((self.revision, where, what, one, before))
        for watch in self.watches:
            if watch.where == where:
                self._tell(watch, what, one, before)

    def _tell(self, watch: Watch, what: str, one: Object, before: Object | None) -> None:
        """What a change is to one who sees a selection: what leaves it is deleted for him."""
        was, now = before is not None and watch.wanted(before), what != "DELETED" and watch.wanted(one)
        if now:
            watch.lines.put_nowait(_event("MODIFIED" if was else "ADDED", watch.shape(one)))
        elif was:
            watch.lines.put_nowait(_event("DELETED", watch.shape(one)))


def _name(sort: Sort, document: Object) -> tuple[str, str]:
    meta = document["metadata"]
    return ("" if sort.plural in _CLUSTER_WIDE else meta.get("namespace", "default"), meta["name"])


def _api_version(sort: Sort, version: str) -> str:
    return f"{sort.group}/{version}" if sort.group else version


def _selector(request: web.Request, namespace: str) -> Callable[[Object], bool]:
    terms = [term for term in request.query.get("fieldSelector", "").split(",") if term]

    def wanted(one: Object) -> bool:
        if namespace and one["metadata"].get("namespace", "default") != namespace:
            return False
        return all(_fits(one, term) for term in terms)

    return wanted


def _fits(one: Object, term: str) -> bool:
    unequal = "!=" in term
    path, _, value = term.partition("!=" if unequal else "=")
    found: Any = one
    for part in path.split("."):
        found = found.get(part, "") if isinstance(found, dict) else ""
    return bool(found == value) != unequal


def _shape(request: web.Request, sort: Sort, version: str) -> Callable[[Object], Object]:
    partial = "as=PartialObjectMetadata" in request.headers.get("Accept", "")

    def shape(one: Object) -> Object:
        if partial:
            return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": one["metadata"]}
        return {**one, "kind": sort.kind, "apiVersion": _api_version(sort, version)}

    return shape


def _event(what: str, one: Object) -> bytes:
    return json.dumps({"type": what, "object": one}).encode() + b"\n"


def _status(code: int, reason: str, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


def _refused(refusal: Refusal) -> web.Response:
    headers = dict(refusal.headers)
    return web.json_response(
        _status(refusal.code, refusal.reason, refusal.message), status=refusal.code, headers=headers
    )


def many(documents: Iterable[Object]) -> list[Object]:
    """A copy that the server may keep."""
    return [json.loads(json.dumps(document)) for document in documents]
