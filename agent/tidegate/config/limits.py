"""Ranges of the numbers and texts that become fields of Envoy's resources: one row for each such field.

A range is what the protobuf type, Envoy's validation rules and the API's own type all allow. No row is to be believed:
`tests/unit/config/test_limits.py` derives each from the generated messages, and asks the real Envoy at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

INT32, UINT32 = 2**31 - 1, 2**32 - 1
# Envoy computes in nanoseconds of 64 bits, and refuses what comes within a second of their end.
LONGEST_MS = 9_223_372_035_000


@dataclass(frozen=True, slots=True)
class Limit:
    """What one field of the API may be, and which field of Envoy's it becomes (MESSAGE.FIELD)."""

    becomes: str
    least: int
    most: int
    why: str = ""  # why it is narrower than Envoy's field; empty: it is not

    def field(self, **more: Any) -> Any:
        """As pydantic checks it."""
        return Field(ge=self.least, le=self.most, **more)


_ISTIO = "the API's field is an int32"
_KERNEL = "Linux refuses more, and Envoy then gives up the connection"
_THRESHOLDS = "envoy.config.cluster.v3.CircuitBreakers.Thresholds"
_KEEPALIVE = "envoy.config.core.v3.TcpKeepalive"
_OUTLIER = "envoy.config.cluster.v3.OutlierDetection"

WEIGHT = Limit("envoy.config.route.v3.WeightedCluster.ClusterWeight.weight", 0, INT32, _ISTIO)
ATTEMPTS = Limit("envoy.config.route.v3.RetryPolicy.num_retries", 0, INT32, _ISTIO)
RETRIABLE_CODE = Limit("envoy.config.route.v3.RetryPolicy.retriable_status_codes", 100, 599, "no other is a status")
DIRECT_STATUS = Limit("envoy.config.route.v3.DirectResponseAction.status", 200, 599)
ABORT_STATUS = Limit("envoy.extensions.filters.http.fault.v3.FaultAbort.http_status", 200, 599)
PORT = Limit("envoy.config.core.v3.SocketAddress.port_value", 1, 65535, "nothing listens on port 0")
REDIRECT_PORT = Limit("envoy.config.route.v3.RedirectAction.port_redirect", 1, 65535, "a port is 16 bits")
MAX_CONNECTIONS = Limit(f"{_THRESHOLDS}.max_connections", 0, INT32, _ISTIO)
MAX_PENDING = Limit(f"{_THRESHOLDS}.max_pending_requests", 0, INT32, _ISTIO)
MAX_REQUESTS = Limit(f"{_THRESHOLDS}.max_requests", 0, INT32, _ISTIO)
MAX_RETRIES = Limit(f"{_THRESHOLDS}.max_retries", 0, INT32, _ISTIO)
REQUESTS_PER_CONNECTION = Limit(
    "envoy.config.core.v3.HttpProtocolOptions.max_requests_per_connection", 0, INT32, _ISTIO
)
KEEPALIVE_PROBES = Limit(f"{_KEEPALIVE}.keepalive_probes", 0, 127, _KERNEL)
KEEPALIVE_SECONDS = Limit(f"{_KEEPALIVE}.keepalive_time", 1, 32767, _KERNEL)
KEEPALIVE_INTERVAL_SECONDS = Limit(f"{_KEEPALIVE}.keepalive_interval", 1, 32767, _KERNEL)
RING_SIZE = Limit("envoy.config.cluster.v3.Cluster.RingHashLbConfig.minimum_ring_size", 0, 8_388_608)
MAGLEV_TABLE = Limit("envoy.config.cluster.v3.Cluster.MaglevLbConfig.table_size", 0, 5_000_011)
CONSECUTIVE_5XX = Limit(f"{_OUTLIER}.consecutive_5xx", 0, UINT32)
CONSECUTIVE_GATEWAY = Limit(f"{_OUTLIER}.consecutive_gateway_failure", 0, UINT32)
MAX_EJECTION = Limit(f"{_OUTLIER}.max_ejection_percent", 0, 100)
CONSECUTIVE_LOCAL = Limit(f"{_OUTLIER}.consecutive_local_origin_failure", 0, UINT32)
MIN_HEALTH = Limit("envoy.type.v3.Percent.value", 0, 100)
WARMUP_PERCENT = Limit("envoy.type.v3.Percent.value", 0, 100)
RETRY_PERCENT = Limit("envoy.type.v3.Percent.value", 0, 100)
MIN_RETRIES = Limit(f"{_THRESHOLDS}.RetryBudget.min_retry_concurrency", 0, UINT32)
MAX_STREAMS = Limit("envoy.config.core.v3.Http2ProtocolOptions.max_concurrent_streams", 1, INT32)

LIMITS = {name: row for name, row in list(globals().items()) if isinstance(row, Limit)}

SUM_OF_WEIGHTS = UINT32  # of envoy.config.route.v3.WeightedCluster: checked in code, no rule of a field says it
DNS_REFRESH_MS = 2  # envoy.config.cluster.v3.Cluster.dns_refresh_rate: more than a millisecond
BODILESS = frozenset({204, 304})  # statuses of answers that end with their headers (RFC 9110, 6.4.1)
HEADERS_CHANGED = 500  # of a route or of a destination: Envoy takes 1 000 of both together
HEADER_BYTES = 16_384  # envoy.config.core.v3.HeaderValue.key and .value
QUERY_NAME_BYTES = 1024  # envoy.config.route.v3.QueryParameterMatcher.name
REGEX_PROGRAM = 32_768  # size of a compiled expression; Envoy's own default of 100 is set to this in its bootstrap
HOST_BYTES = 253  # of a name in DNS, without a last dot

MOST_ROWS = 4096  # of the kernel's table that one object may take: there are 131 072 for all (bpf/include/tg_abi.h)


def too_many_rows(rows: int) -> str:
    """What is wrong with an object that would take so many."""
    return f"with its addresses these are {rows} rows of the kernel's table, at most {MOST_ROWS}"


def is_prime(number: int) -> bool:
    """By division; numbers here are at most MAGLEV_TABLE.most."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
