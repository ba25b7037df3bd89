"""PeerAuthentication -> the form that connections are decided by: where a client needs an identity. Pure.

Of each reach the oldest counts: mesh (root namespace), namespace, workload (a selector, in any other namespace). What
one leaves UNSET is as the wider one says, and PERMISSIVE where none says anything. STRICT becomes a DENY policy for
whoever shows no identity; all else needs none. Names are upstream's, which its logs and tools know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.model.authorization import (
    Authorization,
    AuthorizationAction,
    Clauses,
    How,
    PolicyMatch,
    PolicyScope,
    Text,
)
from tidegate.model.policy import MutualTls, PeerAuthentication
from tidegate.model.selectors import selects

STRICT_NAME: Final = "istio_converted_static_strict"
_CONVERTED: Final = "converted_peer_authentication_"
_ANYBODY: Final = (Text(How.PRESENT),)
_WITHOUT: Final = PolicyMatch(not_principals=_ANYBODY)  # whoever shows no identity


@dataclass(frozen=True, slots=True)
class MutualAsked:
    """What a workload asks of its clients. by: who said so, the nearest first; empty: nobody."""

    mode: MutualTls
    ports: Mapping[int, MutualTls]
    by: tuple[PeerAuthentication, ...]

    def at(self, port: int) -> MutualTls:
        """What it asks of those who connect to a port."""
        return self.ports.get(port, self.mode)


class Authentications:
    """All PeerAuthentications of the mesh."""

    def __init__(self, written: Iterable[PeerAuthentication], root: str) -> None:
        self._root = root
        self._wide: dict[str, PeerAuthentication] = {}  # by namespace: of those without selector the oldest
        self._chosen: dict[str, list[PeerAuthentication]] = {}  # with a selector, the oldest first
        for one in sorted(written, key=lambda one: (one.age, one.namespace, one.name)):
            if not one.selector:
                self._wide.setdefault(one.namespace, one)
            elif one.namespace != root:
                self._chosen.setdefault(one.namespace, []).append(one)
        self.strict = self._strict()
        self._converted = {
            id(one): made for group in self._chosen.values() for one in group if (made := self._convert(one))
        }

    def asked(self, namespace: str, labels: Mapping[str, str]) -> MutualAsked:
        """What a workload asks."""
        own = next((one for one in self._chosen.get(namespace, ()) if selects(one.selector, labels)), None)
        return self._asked(namespace, own)

    def policies(self) -> Sequence[Authorization]:
        """All that they become; nothing if nobody needs an identity anywhere."""
        return (*((self.strict,) if self.strict else ()), *self._converted.values())

    def of(self, namespace: str, labels: Mapping[str, str]) -> tuple[Authorization, ...]:
        """Those for one workload: at most one."""
        asked = self.asked(namespace, labels)
        own = asked.by[0] if asked.by and asked.by[0].selector else None
        made = self._converted.get(id(own)) if own else None
        if made is not None:
            return (made,)
        return (self.strict,) if self.strict and asked.mode is MutualTls.STRICT else ()

    def _asked(self, namespace: str, own: PeerAuthentication | None) -> MutualAsked:
        mesh = self._wide.get(self._root)
        of_namespace = self._wide.get(namespace) if namespace != self._root else None
        by = tuple(one for one in (own, of_namespace, mesh) if one is not None)
        mode = next((one.mode for one in by if one.mode is not MutualTls.UNSET), MutualTls.PERMISSIVE)
        ports = {port: said for port, said in own.ports.items() if said is not MutualTls.UNSET} if own else {}
        return MutualAsked(mode, ports, by)

    def _strict(self) -> Authorization | None:
        """The one policy for all workloads that are STRICT at every port, if there may be any."""
        written = [one for one in self._wide.values() if one.mode is MutualTls.STRICT]
        written += [one for group in self._chosen.values() for one in group if one.mode is MutualTls.STRICT]
        if not written:
            return None
        return Authorization(
            namespace=self._root,
            name=STRICT_NAME,
            scope=PolicyScope.WORKLOAD_SELECTOR,
            action=AuthorizationAction.DENY,
            rules=(((_WITHOUT,),),),
            origin=written[0].origin,
        )

    def _convert(self, one: PeerAuthentication) -> Authorization | None:
        """A policy of its own for who says something else of some ports; None where all ports are alike."""
        asked = self._asked(one.namespace, one)
        strict = asked.mode is MutualTls.STRICT
        others = sorted(port for port, said in asked.ports.items() if (said is MutualTls.STRICT) is not strict)
        if not others:
            return None
        rules: tuple[Clauses, ...]
        if strict:
            spared = tuple((PolicyMatch(not_destination_ports=(port,)),) for port in others)
            rules = (((_WITHOUT,), *spared) if one.mode is MutualTls.STRICT else (*spared, (_WITHOUT,)),)
        else:
            rules = tuple(((PolicyMatch(not_principals=_ANYBODY, destination_ports=(port,)),),) for port in others)
        return Authorization(
            namespace=one.namespace,
            name=f"{_CONVERTED}{one.name}",
            scope=PolicyScope.WORKLOAD_SELECTOR,
            action=AuthorizationAction.DENY,
            rules=rules,
            selector=one.selector,
            origin=one.origin,
        )
