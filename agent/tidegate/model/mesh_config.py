"""MeshConfig: what is said for the whole mesh, and what an operator may choose between today's Istio and the first one.

Source: istio.mesh.v1alpha1.MeshConfig. Defaults are Istio's of today unless Compat says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from tidegate.model.identity import trust_domain_or_default
from tidegate.model.locality import LocalityPreference
from tidegate.model.names import ROOT_NAMESPACE
from tidegate.model.origin import Origin
from tidegate.model.routing import HttpRetry
from tidegate.model.traffic import ConnectionPool, TrafficPolicy

EVERYBODY = ("*",)
_DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_RETRIES = HttpRetry(attempts=2, retry_on=_DEFAULT_RETRY_ON)
_OLD_RETRY_ON = "5xx,connect-failure,refused-stream"


class Compat(StrEnum):
    """Whose defaults hold where the Istio API of 1.0 and today's mean different things by the same document."""

    CURRENT = "current"
    V1ALPHA3 = "v1alpha3-1.0"


@dataclass(frozen=True, slots=True)
class UsualTraffic:
    """What holds for traffic where no DestinationRule says it.

    blocks: defaultTrafficPolicy, in place of the blocks that a rule leaves out. pool: tcpKeepalive and h2UpgradePolicy,
    in place of the fields that whatever pool holds leaves out. near: localityLbSetting, in place of one that a rule
    leaves out; None = as is usual.
    """

    blocks: TrafficPolicy = TrafficPolicy()
    pool: ConnectionPool = field(default_factory=ConnectionPool)
    near: LocalityPreference | None = None

    def under(self, said: TrafficPolicy) -> TrafficPolicy:
        """A policy with this below it."""
        pool = said.connection_pool or self.blocks.connection_pool
        if self.pool != ConnectionPool():
            own = pool or ConnectionPool()
            pool = replace(
                own,
                keepalive_probes=own.keepalive_probes or self.pool.keepalive_probes,
                keepalive_time_ms=own.keepalive_time_ms or self.pool.keepalive_time_ms,
                keepalive_interval_ms=own.keepalive_interval_ms or self.pool.keepalive_interval_ms,
                h2_upgrade=self.pool.h2_upgrade if own.h2_upgrade is None else own.h2_upgrade,
            )
        outlier = said.outlier or self.blocks.outlier
        return replace(said, connection_pool=pool, outlier=outlier, mesh_near=self.near)

    @property
    def plain(self) -> UsualTraffic:
        """Of it, what decides how traffic is spoken."""
        return UsualTraffic(self.blocks.plain, ConnectionPool(h2_upgrade=self.pool.h2_upgrade))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfig:
    """exportTo lists: as a rule of the root namespace would write them. Durations in milliseconds, 0 = Istio's own."""

    registry_only: bool = False  # outboundTrafficPolicy: what nobody in the registry has is refused
    root_namespace: str = ROOT_NAMESPACE
    trust_domain: str = ""  # of identities; "" = the cluster's domain
    trust_domain_aliases: tuple[str, ...] = ()  # what else may stand there in those of others
    services_to: tuple[str, ...] = EVERYBODY  # defaultServiceExportTo
    virtual_services_to: tuple[str, ...] = EVERYBODY
    destination_rules_to: tuple[str, ...] = EVERYBODY
    retries: HttpRetry | None = None  # of requests whose route says nothing; None = as compat says
    connect_timeout_ms: int = 0
    dns_refresh_ms: int = 60_000  # after how long a name is asked again whose answer says no time to live
    traffic: UsualTraffic | None = None
    compat: Compat = Compat.CURRENT
    namespace: str = ROOT_NAMESPACE
    name: str = "istio"
    origin: Origin = Origin("ConfigMap", "", "")

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """Of identities of the mesh: the one that is given out first, then what else may stand there."""
        return (trust_domain_or_default(self.trust_domain), *self.trust_domain_aliases)

    @property
    def default_retries(self) -> HttpRetry:
        """What holds for a route that says nothing of retries."""
        if self.retries is not None:
            return self.retries
        return HttpRetry(attempts=0) if self.compat is Compat.V1ALPHA3 else DEFAULT_RETRIES

    def what_failed(self, retries: HttpRetry) -> HttpRetry:
        """Retries that say after what; where a route does not, what the API that the mesh is compatible with meant."""
        if retries.retry_on or not retries.attempts or self.compat is not Compat.V1ALPHA3:
            return retries
        return replace(retries, retry_on=_OLD_RETRY_ON)


NO_MESH_CONFIG = MeshConfig()
