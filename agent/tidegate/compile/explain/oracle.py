"""What a connect() of a pod must become, said once more in Python, without a look at bpf/core/connect_core.h.

`explain` asks it, and so do the cases of tests/vectors/connect: tests/unit/bpf runs them here, tests/bpf in the
kernel's program, and tests/bpf also compares the two on random cases. Reasons are names of bpf/include/tg_reason.h in
lower case, which is how tidegate_verdicts_total counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tidegate.model.capture import (
    CAPTURE4_ENVOY,
    CAPTURE4_FASTPATH,
    CAPTURE4_PREFIX,
    CAPTURE6_ENVOY,
    CAPTURE6_FASTPATH,
    CAPTURE6_PREFIX,
    DNS_PORT,
    capture_address,
)
from tidegate.model.net import IPAddress
from tidegate.model.plan.kernel import ANYWHERE, L4Protocol
from tidegate.model.tier import Tier
from tidegate.model.workload import Capture


class Action(Enum):
    PASS = "pass"
    DENY = "deny"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True)
class Call:
    """A connect(), as the hook sees it."""

    address: IPAddress
    port: int
    protocol: int = L4Protocol.TCP
    exempt: bool = False  # made in the cgroup of the agent or of Envoy
    of_dns: bool = False  # made in the cgroup of the node's DNS
    bound_device: bool = False  # SO_BINDTODEVICE
    bound: IPAddress | None = None  # to which the socket is bound
    spread: bool = True  # sk_lookup knows the tier's listener


@dataclass(frozen=True, slots=True)
class Captured:
    """A row of tg_pods: the addresses of an enrolled pod and where its listeners are."""

    ip4: IPAddress | None
    ip6: IPAddress | None
    capture: Capture
    v6_capture: bool
    registry_only: bool = False  # destinations without a row are refused


@dataclass(frozen=True, slots=True)
class Decision:
    """to, to_port and client are only said of a redirect to a tier."""

    action: Action
    reason: str
    says: str  # the same for people
    to: IPAddress | None = None
    to_port: int = 0
    client: IPAddress | None = None  # as listeners and the application itself see it; None = the kernel's choice


def decide(
    call: Call, pod: Captured | None, tier: int | None, elsewhere: bool = False, *, dns: bool = False
) -> Decision:
    """What becomes of a call. pod: None = no enrolled pod's netns; tier: of the destination's row, None = no row;
    elsewhere: that row is the one of addresses that nobody in the registry has; dns: the node's DNS listens in the pod
    and is well."""
    if dns and is_question(call, pod):
        return Decision(Action.REDIRECT, "redirect_dns", "a question for a resolver: the node's DNS takes it")
    if pod is None:
        return _pass("pass_not_enrolled", "the pod is not captured")
    if call.exempt:
        return _pass("pass_exempt_cgroup", "the agent or Envoy made the call")
    if call.protocol != L4Protocol.TCP:
        return _pass("pass_not_tcp", "only TCP is captured")
    if is_capture(call.address):
        return Decision(Action.DENY, "deny_capture_address", "capture addresses cannot be dialled")
    if call.address.is_loopback or call.address.is_unspecified:
        return _pass("pass_loopback", "the pod's own localhost")
    if call.bound_device:
        return _pass("pass_bound_device", "the application chose its network device")
    if tier == Tier.DIRECT:
        return _pass("pass_workload", "a pod address that no route concerns")
    if tier == Tier.REFUSE:
        return Decision(Action.DENY, "deny_no_endpoint", "no endpoint is ready: connect() is refused")
    if tier not in (Tier.FASTPATH, Tier.ENVOY):
        return _NOT_IN_REGISTRY if pod.registry_only else _pass("pass_unknown", "unknown destination, passes untouched")
    return _redirect(call, pod, Tier(tier), elsewhere)


def _redirect(call: Call, pod: Captured, tier: Tier, elsewhere: bool) -> Decision:
    v4, fastpath = call.address.version == 4, tier is Tier.FASTPATH
    if not v4 and not pod.v6_capture:
        if elsewhere:
            return _NOT_IN_REGISTRY
        return _pass("pass_no_v6_capture", "IPv6 is off inside this pod, so it has no capture address")
    listeners = pod.capture
    if fastpath:
        to, port = (CAPTURE4_FASTPATH, listeners.fastpath4) if v4 else (CAPTURE6_FASTPATH, listeners.fastpath6)
    else:
        to, port = (CAPTURE4_ENVOY, listeners.envoy4) if v4 else (CAPTURE6_ENVOY, listeners.envoy6)
    if not port:
        if elsewhere:
            return _NOT_IN_REGISTRY
        return _pass("pass_no_listener", "this pod has no listener of that tier yet")
    if call.spread:
        to = capture_address(tier, call.address, call.port)
    own = pod.ip4 if v4 else pod.ip6
    client = call.bound if fastpath and _is_shown(call.bound) else own
    reason = "redirect_fastpath" if fastpath else "redirect_envoy"
    says = "no destination of the registry: Envoy answers for it" if elsewhere else "a port that the mesh serves"
    return Decision(Action.REDIRECT, reason, says, to, port, client)


def is_question(call: Call, pod: Captured | None) -> bool:
    """Whether what is sent there may be a question for a resolver, which is the node's DNS's business."""
    if pod is None or call.port != DNS_PORT or call.protocol not in (L4Protocol.TCP, L4Protocol.UDP):
        return False
    if call.exempt or call.of_dns or call.bound_device:
        return False
    address = call.address
    if address.is_loopback or address.is_unspecified or is_capture(address):
        return False
    return address.version == 4 or (pod.v6_capture and not address.is_link_local)


def rows(call: Call, scope: int = 0) -> tuple[tuple[IPAddress, int, int, int], ...]:
    """Which rows of tg_dests decide about a call, the more specific one first: address, port (0 = any), protocol,
    scope. The last one only for pods that may reach the registry only, and behind those of tg_ranges."""
    address, port, protocol = call.address, call.port, call.protocol
    return (address, port, protocol, scope), (address, 0, protocol, 0), (ANYWHERE, port, protocol, scope)


def is_capture(address: IPAddress) -> bool:
    """Whether an address is one that only the hooks lead to."""
    return address in (CAPTURE4_PREFIX if address.version == 4 else CAPTURE6_PREFIX)


def _is_shown(bound: IPAddress | None) -> bool:
    return bound is not None and not (bound.is_unspecified or bound.is_loopback or is_capture(bound))


def _pass(reason: str, says: str) -> Decision:
    return Decision(Action.PASS, reason, says)


_NOT_IN_REGISTRY = Decision(
    Action.DENY, "deny_not_in_registry", "nobody in the registry has the destination: connect() is refused"
)
