"""The lab's address plan, IPv4 and IPv6.

Nothing of a lab is linked to the machine's own network or to another lab, so every lab uses the same plan and
an address in a document or a log means the same everywhere.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from tidegate.model.net import IPAddress

FABRIC4 = IPv4Network("172.30.0.0/24")
FABRIC6 = IPv6Network("fd77:ff::/64")
PODS4 = IPv4Network("10.77.0.0/16")
PODS6 = IPv6Network("fd77::/48")
SERVICES4 = IPv4Network("10.96.0.0/16")
SERVICES6 = IPv6Network("fd77:96::/112")
DNS4 = SERVICES4[10]
DNS6 = SERVICES6[10]
LOAD_BALANCERS = IPv4Network("127.88.0.0/16")  # of this machine's loopback
MOST_BALANCERS = 1000  # addresses that are tried for one Service
MAX_NODES = 64
FIRST_SERVICE = 0x100  # below: addresses of the lab itself (DNS)


def node_addresses(index: int) -> tuple[IPAddress, IPAddress]:
    """Addresses of node index (1-based) on the fabric."""
    return FABRIC4[index], FABRIC6[index]


def pod_ranges(index: int) -> tuple[IPv4Network, IPv6Network]:
    """Pod ranges of node index (1-based): a /24 and a /64. The first address of each is the node's bridge."""
    four = IPv4Network((int(PODS4.network_address) + (index << 8), 24))
    six = IPv6Network((int(PODS6.network_address) + (index << 64), 64))
    return four, six
