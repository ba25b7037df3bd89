"""Names that Envoy's resources share with each other, and with nobody outside."""

from __future__ import annotations

# Headers that a listener sets, whatever the client sent, and that no endpoint sees. DIALLED: address:port, by which
# the route configuration is found. VIRTUAL_HOST: CLIENT]HOST, by which the virtual host is found in it; Envoy cuts the
# port off a host only behind the last "]".
DIALLED = "x-tidegate-dialled"
VIRTUAL_HOST = "x-tidegate-virtual-host"
# INTERNAL: Envoy writes it where a client may tell it deadlines.
INTERNAL = "x-envoy-internal"
PRIVATE_HEADERS = (DIALLED, VIRTUAL_HOST, INTERNAL)

# What Envoy takes for the host of an HTTP/1.0 request that names none. No resolver knows names under .invalid.
NO_HOST = "no-host.invalid"

# filter_metadata of each virtual host: {SERVICE: FQDN:PORT}, by which requests are counted.
METADATA, SERVICE = "tidegate", "service"

# Where a target leads that cannot have a cluster: Istio's name, and nobody makes a cluster of that name.
NOWHERE = "BlackHoleCluster"
# Where a client dialled whom nobody in the registry has: Istio's name.
PASSTHROUGH = "PassthroughCluster"

# Counts of requests, see compile/envoy/filters.py and observe/dashboard/envoy_stats.py: prefix, names and their tags.
STATS = "tidegate"
REQUESTS, DURATION = "requests", "duration"
POD, CODE = "pod", "code"
# The same of connections that are carried, see compile/outbound/counted.py and telemetry/carried.py. ENDPOINT: the one
# that was tried last, FROM: address of the socket to it; empty if there was none.
CARRIED_OPENED, CARRIED_CLOSED = "carried_opened", "carried_closed"
CARRIED_SENT, CARRIED_RECEIVED = "carried_sent", "carried_received"
ENDPOINT, FROM = "endpoint", "from"
