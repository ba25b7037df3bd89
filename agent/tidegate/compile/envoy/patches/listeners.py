"""Patches of a listener, its filter chains and its filters.

A pod has one listener for whatever it dials, so a patch that is for one port, or for some addresses, is applied to a
filter chain of its own: chains are found by the dialled port, then by the dialled address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from tidegate.compile.envoy.patches import names
from tidegate.compile.envoy.patches.lists import Failures, change, merged, tried
from tidegate.compile.envoy.patches.served import CALLED, PatchedPort
from tidegate.compile.envoy.patches.values import MESSAGES, message_of, to_json
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.envoy.prototypes import message_class
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import ApplyTo, ChainProtocol, ListenerMatch, Patch, PatchOperation
from tidegate.model.net import IPNetwork, within

MOST_CHAINS = 64  # of one listener
_ANY_MATCH = ListenerMatch()
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TERMINAL = frozenset({"envoy.filters.http.router", names.HTTP_MANAGER, "envoy.filters.network.tcp_proxy"})
_ORDER = (ApplyTo.LISTENER, ApplyTo.LISTENER_FILTER, ApplyTo.FILTER_CHAIN, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a listener is like before it is patched.

    port: the only one that it is for, as at a gateway; 0: whatever a pod dials, which is told apart by filter chains.
    network: the addresses that it is for, if it is for some only; served: what each of its chains is for, if it is the
    one in front of a pod's own ports.
    own_network, own_http: how many filters at the front of a chain are ours and stay there; spared: HTTP filters that
    route configurations switch off by name, so that no other may have it; ports_of: numbers of the service ports whose
    names begin so.
    """

    port: int = 0
    network: IPNetwork | None = None
    served: Sequence[PatchedPort] = ()
    own_network: int = 0
    own_http: int = 0
    spared: frozenset[str] = frozenset()
    ports_of: Callable[[str], Iterable[int]] = lambda _: ()


@dataclass(frozen=True, slots=True)
class _Cell:
    """What a filter chain is for: a port (0: any) and addresses (None: any)."""

    port: int
    network: IPNetwork | None

    def within(self, ports: frozenset[int] | None, networks: Sequence[IPNetwork]) -> bool:
        if ports is not None and self.port not in ports:
            return False
        return not networks or (self.network is not None and any(within(self.network, n) for n in networks))


def ports_of(match: ListenerMatch, named: Callable[[str], Iterable[int]], listener: str = "") -> set[int] | None:
    """The ports that a patch is for; None: all. named: as Base.ports_of; listener: name of the one that it meets."""
    wanted: list[set[int]] = []
    if match.port:
        wanted.append({match.port})
    if match.destination_port:
        wanted.append({match.destination_port})
    if match.port_name:
        wanted.append(set(named(match.port_name)))
    if match.name and match.name != listener:
        # Istio's name of a listener: ADDRESS_PORT.
        port = match.name.rpartition("_")[2]
        wanted.append({int(port)} if port.isdecimal() else set())
    return set.intersection(*wanted) if wanted else None


def patched(body: Mapping[str, Any], patches: Sequence[Patch], base: Base, failures: Failures) -> Json:
    """A listener with all patches that can be applied; the others get into failures, with the reason."""
    return _Patching(body, patches, base, failures).result()


def forced(body: Mapping[str, Any], patch: Patch, extensions: Sequence[Patch], base: Base) -> Json:
    """A listener with one patch, whatever the patch is for. Raises Rejected if it cannot be applied."""
    failures: Failures = []
    everywhere = Patch(
        apply_to=patch.apply_to,
        operation=patch.operation,
        value=patch.value,
        listener=None if patch.listener is None else _filters_only(patch.listener),
        origin=patch.origin,
        index=patch.index,
    )
    made = patched(body, (*extensions, everywhere), base, failures)
    if failures:
        raise Rejected(patch.apply_to.value, failures[0][1])
    return made


def _filters_only(match: ListenerMatch) -> ListenerMatch:
    return ListenerMatch(listener_filter=match.listener_filter, filter=match.filter, sub_filter=match.sub_filter)


class _Patching:
    def __init__(self, body: Mapping[str, Any], patches: Sequence[Patch], base: Base, failures: Failures) -> None:
        self._listener: Any = message_of(MESSAGES[ApplyTo.LISTENER], body)
        self._patches = patches
        self._base = base
        self._failures = failures
        self._extensions = {p.value.get("name"): p for p in patches if p.apply_to is ApplyTo.EXTENSION_CONFIG}

    def result(self) -> Json:
        cells = self._split()
        for kind in _ORDER:
            for patch in self._patches:
                if patch.apply_to is kind:
                    self._try(patch, cells)
        return to_json(self._listener)

    def _try(self, patch: Patch, cells: Sequence[_Cell | PatchedPort]) -> None:
        with tried(self._listener, patch, self._failures):
            self._apply(patch, cells)

    def _split(self) -> Sequence[_Cell | PatchedPort]:
        """Make the chains that patches need for ports and addresses of their own."""
        if self._base.served:
            return self._base.served
        ports: set[int] = set()
        networks: set[IPNetwork] = set()
        for patch in self._patches:
            wanted = self._ports(patch.listener or _ANY_MATCH)
            if patch.apply_to in (ApplyTo.FILTER_CHAIN, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER):
                ports |= wanted or set()
                networks |= set(patch.listener.addresses) if patch.listener else set()
        if self._base.port:
            return [_Cell(self._base.port, self._base.network)] * len(self._listener.filter_chains)
        cells = [_Cell(p, n) for p, n in product((0, *sorted(ports)), (None, *sorted(networks, key=str)))]
        cells = cells[:MOST_CHAINS]
        (plain,) = self._listener.filter_chains
        for cell in cells[1:]:
            chain = self._listener.filter_chains.add()
            chain.CopyFrom(plain)
            chain.name = f"{plain.name}|{cell.port or 'any'}|{cell.network or 'any'}"
            if cell.port:
                chain.filter_chain_match.destination_port.value = cell.port
            if cell.network is not None:
                chain.filter_chain_match.prefix_ranges.add(
                    address_prefix=str(cell.network.network_address), prefix_len={"value": cell.network.prefixlen}
                )
        return cells

    def _ports(self, match: ListenerMatch) -> set[int] | None:
        return ports_of(match, self._base.ports_of, CALLED if self._base.served else self._listener.name)

    def _apply(self, patch: Patch, cells: Sequence[_Cell | PatchedPort]) -> None:
        match = patch.listener or _ANY_MATCH
        value: Any = message_class(MESSAGES[patch.apply_to])()
        if patch.value:
            value = message_of(MESSAGES[patch.apply_to], patch.value)
        if patch.apply_to in (ApplyTo.LISTENER, ApplyTo.LISTENER_FILTER):
            wanted_ports = self._ports(match)
            if wanted_ports is not None and not self._base.port:
                raise Rejected(patch.apply_to.value, "cannot be for one port: a pod has one listener for all of them")
            if wanted_ports is not None and self._base.port not in wanted_ports:
                return
        if patch.apply_to is ApplyTo.LISTENER:
            self._patch_listener(patch, value)
        elif patch.apply_to is ApplyTo.LISTENER_FILTER:
            wanted = names.of_listener(match.listener_filter)
            change(
                self._listener.listener_filters,
                patch.operation,
                value,
                lambda one: one.name == wanted,
                anywhere=not wanted,
                # Of a pod's listener what was dialled has to be known first.
                first=0 if self._base.port else len(self._listener.listener_filters[:1]),
            )
        else:
            for chain in list(self._chains(match, cells)):
                self._patch_chain(patch, match, chain, value)

    def _patch_listener(self, patch: Patch, value: Any) -> None:
        if patch.operation in (PatchOperation.ADD, PatchOperation.REMOVE):
            raise Rejected(patch.operation.value, "is not possible for a LISTENER: it is what captures the pod")
        kept = self._listener.name, list(self._listener.filter_chains)
        address = self._listener.address
        where = address.__class__()
        where.CopyFrom(address)
        merged(self._listener, patch.operation, value)
        if self._listener.name != kept[0] or self._listener.address != where:
            raise Rejected("name and address", "of a pod's listener cannot be changed: connections are sent there")

    def _chains(self, match: ListenerMatch, cells: Sequence[_Cell | PatchedPort]) -> Iterator[Any]:
        wanted = self._ports(match)
        ports = None if wanted is None else frozenset(wanted)
        for cell, chain in zip(cells, self._listener.filter_chains, strict=False):
            http = any(one.name == names.HTTP_MANAGER for one in chain.filters)
            speaks = match.protocol is ChainProtocol.ALL or (match.protocol is ChainProtocol.HTTP) == http
            told = chain.filter_chain_match
            meant = cell.fits(match) if isinstance(cell, PatchedPort) else cell.within(ports, match.addresses)
            if (
                meant
                and speaks
                and match.chain in ("", chain.name)
                and (not match.sni or match.sni in told.server_names)
                and match.transport_protocol in ("", told.transport_protocol or "raw_buffer")
                and set(match.application_protocols) <= set(told.application_protocols)
            ):
                yield chain

    def _patch_chain(self, patch: Patch, match: ListenerMatch, chain: Any, value: Any) -> None:
        if patch.apply_to is ApplyTo.FILTER_CHAIN:
            if patch.operation not in (PatchOperation.MERGE, PatchOperation.MERGE_AND_REPLACE_LIST):
                raise Rejected(patch.operation.value, "is not possible for a FILTER_CHAIN of a pod's listener")
            merged(chain, patch.operation, value)
        elif patch.apply_to is ApplyTo.NETWORK_FILTER:
            wanted = names.of_network(match.filter)
            self._change(chain.filters, patch, value, wanted, self._base.own_network)
        else:
            self._patch_http(patch, match, chain, value)

    def _patch_http(self, patch: Patch, match: ListenerMatch, chain: Any, value: Any) -> None:
        if match.filter and names.of_network(match.filter) != names.HTTP_MANAGER:
            return
        for one in chain.filters:
            if one.name != names.HTTP_MANAGER:
                continue
            manager: Any = message_class(_MANAGER)()
            one.typed_config.Unpack(manager)
            if value.name in self._base.spared and patch.operation is not PatchOperation.MERGE:
                value.name = f"{value.name}.patched"
            wanted = names.of_http(match.sub_filter)
            self._change(manager.http_filters, patch, value, wanted, self._base.own_http)
            one.typed_config.Pack(manager, deterministic=True)

    def _change(self, filters: Any, patch: Patch, value: Any, wanted: str, own: int) -> None:
        if patch.value:
            self._discover(value)
        last = len(filters) - 1 if filters and filters[-1].name in _TERMINAL else len(filters)
        change(
            filters,
            patch.operation,
            value,
            lambda one: one.name == wanted,
            anywhere=not wanted,
            first=min(own, last),
            last=last,
        )

    def _discover(self, value: Any) -> None:
        """A filter whose configuration is an EXTENSION_CONFIG of its name gets it here."""
        if value.WhichOneof("config_type") != "config_discovery":
            return
        found = self._extensions.get(value.name)
        if found is None:
            raise Rejected(f"filter {value.name!r}", "needs an EXTENSION_CONFIG of its name, and there is none")
        extension: Any = message_of(MESSAGES[ApplyTo.EXTENSION_CONFIG], found.value)
        value.typed_config.CopyFrom(extension.typed_config)
