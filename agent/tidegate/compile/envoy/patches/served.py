"""What patches may ask of a port of the pod itself, at which its own listener stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.model.envoy_filter import ClusterMatch, ListenerMatch, PatchOperation, RouteMatch
from tidegate.model.net import IPNetwork, within

CALLED = "virtualInbound"  # Istio's name of the listener
_CHANGES = frozenset({PatchOperation.MERGE, PatchOperation.MERGE_AND_REPLACE_LIST})


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchedPort:
    """Where the pod listens, the service ports that lead there (number, name), by whose names, and the pod's addresses.

    A match by port means a service port or the pod's own: Istio's text says the one, Istio does the other.
    """

    port: int
    services: Sequence[tuple[int, str]] = ()
    hosts: Sequence[str] = ()
    addresses: Sequence[IPNetwork] = ()

    @property
    def numbers(self) -> frozenset[int]:
        """By which it may be named."""
        return frozenset((self.port, *(number for number, _ in self.services)))

    def fits(self, match: ListenerMatch) -> bool:
        """Whether a patch of filter chains and filters is for this port."""
        if match.name not in ("", CALLED):
            number = match.name.rpartition("_")[2]  # Istio's name of a port's listener: ADDRESS_PORT
            if not number.isdecimal() or int(number) not in self.numbers:
                return False
        return (
            match.port in (0, *self.numbers)
            and match.destination_port in (0, self.port)
            and self._is_called(match.port_name)
            and (not match.addresses or any(within(own, n) for own in self.addresses for n in match.addresses))
        )

    def fits_routes(self, match: RouteMatch, name: str) -> bool:
        """Whether a patch is for this port's routes, whose name this is."""
        return (
            match.port in (0, *self.numbers)
            and match.name in ("", name)
            and self._is_called(match.port_name)
            and not match.gateway
        )

    def fits_cluster(self, match: ClusterMatch, operation: PatchOperation, name: str) -> bool:
        """Whether a patch changes this port's cluster, whose name this is."""
        if operation not in _CHANGES:
            return False
        if match.name:
            return match.name == name
        return match.port in (0, *self.numbers) and match.service in ("", *self.hosts) and not match.subset

    def _is_called(self, prefix: str) -> bool:
        return not prefix or any(name.lower().startswith(prefix.lower()) for _, name in self.services)
