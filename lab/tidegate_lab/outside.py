"""Names outside of the cluster: those of this machine's /etc/hosts. The cluster DNS of a real cluster asks the node's
resolver; a lab stays on its machine, and what it leads to is what its user wrote down."""

from __future__ import annotations

from pathlib import Path

from tidegate.model.net import IPAddress, parse_ip
from tidegate_lab.dns_zone import NOTHING, Code, DnsAnswer, Record

HOSTS = Path("/etc/hosts")


def answer_outside(text: str, name: str, kind: str) -> DnsAnswer:
    """What the text of a hosts file says of a name; loopback addresses would lead back into the pod that asks."""
    name = name.lower().rstrip(".")
    found: list[IPAddress] = []
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name in (n.lower() for n in names):
            try:
                ip = parse_ip(address)
            except ValueError:
                continue
            if not ip.is_loopback:
                found.append(ip)
    if not found:
        return NOTHING
    wanted = {"A": 4, "AAAA": 6}.get(kind)
    return DnsAnswer(Code.NOERROR, tuple(Record(name, kind, str(ip)) for ip in found if ip.version == wanted))


def hosts_file() -> str:
    """The machine's hosts file as it is now, empty if it cannot be read."""
    try:
        return HOSTS.read_text(errors="replace")
    except OSError:
        return ""
