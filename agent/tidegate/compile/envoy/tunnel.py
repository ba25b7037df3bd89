"""Connections that are handed to a proxy in a request. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.compile.envoy import private
from tidegate.compile.envoy.protojson import Json
from tidegate.model.net import host_port
from tidegate.model.traffic import Tunnel


def tunnelled(targets: Sequence[tuple[str, int]], tunnels: Sequence[Tunnel | None]) -> Json:
    """Where connections go, and through what: fields of envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.

    targets: clusters with weights; tunnels: of each of them. A filter has one tunnel for all of its clusters. Where
    they should have several, or some none, nothing would be right for all, so they lead nowhere; validation says so
    (TG0584).
    """
    wanted = set(tunnels)
    names = [name if len(wanted) == 1 else private.NOWHERE for name, _ in targets]
    if len(names) == 1:
        where: Json = {"cluster": names[0]}
    else:
        weights = [weight for _, weight in targets]
        where = {
            "weighted_clusters": {"clusters": [{"name": n, "weight": w} for n, w in zip(names, weights, strict=True)]}
        }
    tunnel = wanted.pop() if len(wanted) == 1 else None
    if tunnel is not None:
        where["tunneling_config"] = {"hostname": host_port(tunnel.host, tunnel.port)}
        if tunnel.post:
            where["tunneling_config"]["use_post"] = True
    return where
