"""Delegates: the routes of VirtualServices without hosts, put where a route of another one delegates to them. Pure.

As upstream's MergeHTTPRoutes: each match block of the root with each of the delegate, those that contradict each other
left out; of what is written on both sides the delegate's holds. One step only: a delegate delegates to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tidegate.model.routing import (
    MESH,
    Delegate,
    Headers,
    HttpMatch,
    HttpRoute,
    Match,
    StringMatch,
    VirtualService,
)

Find = Callable[[Delegate], VirtualService | None]
ByName = tuple[tuple[str, StringMatch], ...]


def delegates_of(vs: VirtualService) -> Iterator[Delegate]:
    """Whom its routes delegate to."""
    return (route.delegate for route in vs.http if route.delegate is not None)


def merged(root: VirtualService, find: Find, default: tuple[str, ...]) -> VirtualService:
    """The root with its delegates' routes. find: None for a delegate that is not there, whose route is left out then;
    default: exportTo of a delegate that has none."""
    if not any(True for _ in delegates_of(root)):
        return root
    routes: list[HttpRoute] = []
    for route in root.http:
        if route.delegate is None:
            routes.append(route)
        elif (other := find(route.delegate)) is not None and usable(root, other, default):
            routes += _routes(route, other)
    return replace(root, http=tuple(routes))


def usable(root: VirtualService, other: VirtualService, default: tuple[str, ...]) -> bool:
    """Whether a VirtualService may stand in for a route of the root."""
    return not other.hosts and other.gateways == (MESH,) and other.visible_from(root.namespace, default)


def _routes(route: HttpRoute, other: VirtualService) -> Iterator[HttpRoute]:
    for index, inner in enumerate(other.http):
        matches = _matches(route.matches, inner.matches)
        if inner.delegate is None and matches is not None:
            yield replace(
                inner,
                name="-".join(name for name in (route.name, inner.name) if name),
                matches=matches,
                rewrite=inner.rewrite or route.rewrite,
                timeout_ms=inner.timeout_ms or route.timeout_ms,
                retries=inner.retries or route.retries,
                fault=inner.fault or route.fault,
                mirrors=inner.mirrors or route.mirrors,
                cors=inner.cors or route.cors,
                headers=inner.headers if inner.headers != Headers() else route.headers,
                origin=replace(other.origin, line=inner.line or other.origin.line),
                index=index,
            )


def _matches(root: tuple[HttpMatch, ...], leaf: tuple[HttpMatch, ...]) -> tuple[HttpMatch, ...] | None:
    """Every block that requests of both fit; None if there is none."""
    if not root or not leaf:
        return root or leaf
    return tuple(_both(one, other) for one in root for other in leaf if not _contradict(one, other)) or None


def _both(root: HttpMatch, leaf: HttpMatch) -> HttpMatch:
    return replace(
        leaf,
        name="-".join(name for name in (root.name, leaf.name) if name),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers=_joined(root.headers, leaf.headers),
        without_headers=_joined(root.without_headers, leaf.without_headers),
        query_params=_joined(root.query_params, leaf.query_params),
        port=leaf.port or root.port,
        source_labels={**root.source_labels, **leaf.source_labels},
        source_namespace=leaf.source_namespace or root.source_namespace,
        gateways=leaf.gateways or root.gateways,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
    )


def _joined(root: ByName, leaf: ByName) -> ByName:
    return tuple(sorted({**dict(root), **dict(leaf)}.items(), key=lambda item: item[0]))


def _contradict(root: HttpMatch, leaf: HttpMatch) -> bool:
    if root.ignore_uri_case != leaf.ignore_uri_case:
        return True
    for one, other in (
        (root.uri, leaf.uri),
        (root.scheme, leaf.scheme),
        (root.method, leaf.method),
        (root.authority, leaf.authority),
    ):
        if one is not None and other is not None and not _narrows(one, other):
            return True
    for ones, others in (
        (root.headers, leaf.headers),
        (root.without_headers, leaf.without_headers),
        (root.query_params, leaf.query_params),
    ):
        known: Mapping[str, StringMatch] = dict(ones)
        if any(name in known and not _narrows(known[name], condition) for name, condition in others):
            return True
    labels = root.source_labels
    return (
        (bool(root.port and leaf.port) and root.port != leaf.port)
        or (bool(root.source_namespace and leaf.source_namespace) and root.source_namespace != leaf.source_namespace)
        or any(labels.get(key, value) != value for key, value in leaf.source_labels.items())
        or (bool(root.gateways and leaf.gateways) and not set(root.gateways) & set(leaf.gateways))
    )


def _narrows(root: StringMatch, leaf: StringMatch) -> bool:
    """Whether a delegate's condition may stand beside the root's. Of an expression nobody can say what it narrows."""
    if Match.REGEX in (root.how, leaf.how):
        return False
    if root.how is Match.PRESENT or leaf.how is Match.PRESENT:
        return True
    if root.how is Match.EXACT:
        return leaf == root
    return leaf.value.startswith(root.value)
