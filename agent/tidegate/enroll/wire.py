"""What the CNI plugin and the agent say to each other: one line of JSON each way. The plugin's side is cni/wire.h.

Pure. A request is untrusted only as far as a node's root is; it is checked so that a broken runtime gets a clear answer
and a container id can be part of a file name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_interface
from typing import Any

from tidegate.errors import Rejected, TidegateError, Transient
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress, parse_ip

PROTOCOL = 1
MAX_BYTES = 1 << 20  # of a request
DEFAULT_NAMESPACE = "default"  # of a container whose runtime knows no namespaces

# Error codes of the CNI specification; from 100 on they are a plugin's own.
TRY_AGAIN = 11
NOT_AVAILABLE = 50  # of STATUS: no ADD can be served
LIMITED = 51  # of STATUS: the same, and containers that are there may have limited connectivity
BAD_ENVIRONMENT = 4
REFUSED = 100

_CONTAINER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,250}")


class Command(StrEnum):
    ADD = "ADD"
    CHECK = "CHECK"
    DEL = "DEL"
    STATUS = "STATUS"
    GC = "GC"


@dataclass(frozen=True, slots=True)
class CniRequest:
    """One CNI call. netns_fd is open for the duration of the call only, -1 when the runtime lost the namespace."""

    command: Command
    container_id: str
    netns_path: str
    netns_fd: int
    ifname: str
    pod: WorkloadId  # empty when a DEL does not say
    kubernetes: bool  # the runtime named a namespace, so an API server has an object for this pod
    ips: tuple[IPAddress, ...]  # from prevResult
    cni_version: str
    network: str = ""  # name of the network configuration
    valid: frozenset[tuple[str, str]] | None = None  # of a GC: (container, interface) that stay; None: it did not say


class NotServing(TidegateError):
    """The answer to STATUS while no ADD can be served. limited: what is attached already may be concerned, too."""

    def __init__(self, subject: str, reason: str, remedy: str = "", *, limited: bool) -> None:
        super().__init__(subject, reason, remedy)
        self.limited = limited


def parse(line: bytes, netns_fd: int) -> CniRequest:
    """Read a request. Raises Rejected."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise Rejected("CNI request", f"is not JSON: {error}") from None
    except RecursionError:
        raise Rejected("CNI request", "is nested too deeply") from None
    if not isinstance(message, dict) or message.get("protocol") != PROTOCOL:
        raise Rejected("CNI request", "speaks another protocol", "install the plugin that belongs to this agent")
    try:
        command = Command(message["command"])
    except (KeyError, ValueError):
        raise Rejected("CNI request", f"unknown command {message.get('command')!r}") from None
    config = message.get("config")
    config = config if isinstance(config, dict) else {}
    version, network = _text(config, "cniVersion"), _text(config, "name")
    if command in (Command.STATUS, Command.GC):
        valid = _valid(config) if command is Command.GC else None
        return CniRequest(command, "", "", -1, "", WorkloadId("", ""), False, (), version, network, valid)
    container_id = message.get("containerId")
    if not isinstance(container_id, str) or not _CONTAINER_ID.fullmatch(container_id):
        raise Rejected("CNI_CONTAINERID", f"{container_id!r} is not a container id")
    namespace, name = _names(_text(message, "args"))
    known = namespace or name or command is not Command.DEL
    return CniRequest(
        command=command,
        container_id=container_id,
        netns_path=_text(message, "netns"),
        netns_fd=netns_fd,
        ifname=_text(message, "ifname"),
        pod=WorkloadId(namespace or DEFAULT_NAMESPACE, name or container_id) if known else WorkloadId("", ""),
        kubernetes=bool(namespace),
        ips=_ips(config.get("prevResult")),
        cni_version=version,
        network=network,
    )


def _text(values: dict[str, Any], key: str) -> str:
    """A member as text, empty when it is not there. JSON can name half a character, which nothing else can hold."""
    text = str(values.get(key) or "")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Rejected("CNI request", f"{key} is no text: {error}") from None
    return text


def _names(args: str) -> tuple[str, str]:
    """Namespace and name of CNI_ARGS as Kubernetes' runtimes fill it: K8S_POD_NAMESPACE=...;K8S_POD_NAME=...

    Without Kubernetes there is no namespace: podman gives the container's name as K8S_POD_NAME, others give nothing.
    Raises Rejected for a namespace without a name.
    """
    values = dict(part.split("=", 1) for part in args.split(";") if "=" in part)
    namespace, name = values.get("K8S_POD_NAMESPACE", ""), values.get("K8S_POD_NAME", "")
    if namespace and not name:
        raise Rejected("CNI_ARGS", "has K8S_POD_NAMESPACE but no K8S_POD_NAME", "the runtime must give both or none")
    return namespace, name


def _ips(result: Any) -> tuple[IPAddress, ...]:
    """Addresses of a CNI result; in every version since 0.3.0 they are ips[].address with a prefix length."""
    entries = result.get("ips") if isinstance(result, dict) else None
    try:
        return tuple(parse_ip(str(ip_interface(entry["address"]).ip)) for entry in entries or ())
    except (KeyError, TypeError, ValueError) as error:
        raise Rejected("prevResult", f"has no usable ips: {error}") from None


def _valid(config: dict[str, Any]) -> frozenset[tuple[str, str]] | None:
    """What a GC says is still attached. libcni writes null for an empty list, and the name that the specification had
    at first beside the one that it has. Raises Rejected: a list that is half understood would release what stays."""
    names = [name for name in ("cni.dev/valid-attachments", "cni.dev/attachments") if name in config]
    if not names:
        return None
    listed = config[names[0]]
    try:
        return frozenset((str(entry["containerID"]), str(entry["ifname"])) for entry in listed or ())
    except (KeyError, TypeError):
        reason = "is no list of objects with containerID and ifname"
        raise Rejected(names[0], reason, "see GC in the CNI specification 1.1.0, section 2") from None


def success() -> bytes:
    """The answer to a call that did what it should."""
    return json.dumps({"protocol": PROTOCOL}).encode() + b"\n"


def failure(error: TidegateError) -> bytes:
    """The answer to a call that failed; Transient becomes CNI's "try again later"."""
    code = TRY_AGAIN if isinstance(error, Transient) else REFUSED
    if isinstance(error, NotServing):
        code = LIMITED if error.limited else NOT_AVAILABLE
    details = f"{error.reason}; {error.remedy}" if error.remedy else error.reason
    return (
        json.dumps({"protocol": PROTOCOL, "error": {"code": code, "msg": error.subject, "details": details}}).encode()
        + b"\n"
    )
