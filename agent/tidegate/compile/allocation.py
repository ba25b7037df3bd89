"""Addresses that the mesh gives to hosts of ServiceEntries that have none, so that a name can be dialled. Pure.

The range is Istio's (240.240.0.0/16, of RFC 1112's reserved class E), in which nobody routes: such an address means
something inside of the mesh only. Each node computes the same, from the configuration alone. Where Istio's control
plane has written addresses into an entry's status, those are used and kept free here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2s
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from tidegate.model.net import IPAddress

RANGE: Final = IPv4Network("240.240.0.0/16")
_FIRST, _COUNT = int(RANGE.network_address) + 1, RANGE.num_addresses - 2  # neither .0.0 nor .255.255


def allocate(hosts: Iterable[str], taken: Collection[IPAddress] = ()) -> Mapping[str, IPAddress]:
    """An address for each host, as long as there are any. hosts: the oldest first, because who is older keeps an
    address that a younger one would have, too; taken: addresses that somebody wrote down."""
    out: dict[str, IPAddress] = {}
    used = set(taken)
    for host in dict.fromkeys(hosts):
        if len(out) == _COUNT:
            break
        digest = blake2s(host.encode(), digest_size=8).digest()
        place = int.from_bytes(digest[:4], "big") % _COUNT
        step = int.from_bytes(digest[4:], "big") % (_COUNT - 1) + 1
        for _ in range(_COUNT):
            address = IPv4Address(_FIRST + place)
            if address not in used:
                out[host] = address
                used.add(address)
                break
            place = (place + step) % _COUNT  # a step of the host's own: neighbours part at once
    return out
