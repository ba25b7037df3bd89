"""What a traffic policy does to requests, in the words of explain."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.compile.localities import Group
from tidegate.model.mesh_config import Compat
from tidegate.model.net import host_port
from tidegate.model.traffic import USUAL_EJECTION_PERCENT, Outlier, TrafficPolicy


def tls_mode(settings: TrafficPolicy) -> str:
    """none, simple or mutual."""
    return settings.tls.mode.value.lower() if settings.tls and settings.tls.originates else "none"


def in_force(settings: TrafficPolicy, endpoints: int, compat: Compat) -> str:
    """What holds beside the choice among so many endpoints; empty if nothing does."""
    return ", ".join(_parts(settings, endpoints, compat))


def left_out(outlier: Outlier, endpoints: int, compat: Compat) -> str:
    """How many of so many endpoints outlier detection may leave out at once."""
    most = endpoints * (outlier.max_ejection_percent or USUAL_EJECTION_PERCENT) // 100
    return f"outlier detection leaves out {max(most, min(endpoints, compat is Compat.V1ALPHA3))} of {endpoints} at most"


def order(groups: tuple[Group, ...]) -> str:
    """Who is used first, or how much each place gets; empty if it does not matter."""
    if len(groups) < 2:
        return ""
    lowest = max(group.priority for group in groups)
    total = {p: sum(g.weight for g in groups if g.priority == p) for p in range(lowest + 1)}
    said = []
    for group in groups:
        place = "/".join(group.place or ()).rstrip("/") or "somewhere"
        share = (
            f" {100 * group.weight / total[group.priority]:g} %" if not lowest else f" as number {group.priority + 1}"
        )
        said.append(f"{place}{share} ({len(group.members)} endpoints)")
    return ", ".join(said)


def _parts(settings: TrafficPolicy, endpoints: int, compat: Compat) -> Iterator[str]:
    tls, balancer = settings.tls, settings.load_balancer
    if tls is not None and tls.originates:
        whom = ", ".join(tls.names) or tls.sni or "the host that is asked for"
        of = f" by Secret {tls.credential}" if tls.credential else ""
        yield f"TLS {tls.mode.value}{of}, {f'the server has to be {whom}' if tls.verify else 'whoever the server is'}"
    if settings.proxy_protocol is not None:
        yield f"PROXY protocol {settings.proxy_protocol.value}"
    if settings.tunnel is not None:
        to = host_port(settings.tunnel.host, settings.tunnel.port)
        yield f"a tunnel to {to} ({'POST' if settings.tunnel.post else 'CONNECT'})"
    if balancer is not None and balancer.warmup is not None:
        yield f"warm-up of {balancer.warmup.window_ms / 1000:g} s"
    if settings.connection_pool is not None:
        yield "limits of a connection pool"
    if settings.outlier is not None:
        yield left_out(settings.outlier, endpoints, compat)
    if settings.retry_budget is not None:
        yield f"at most {settings.retry_budget.percent:g} % of requests are retries"
