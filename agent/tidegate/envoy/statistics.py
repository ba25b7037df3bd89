"""The statistics of Envoy that somebody reads. It keeps no others: half of what a cluster costs is what it counts."""

from __future__ import annotations

from tidegate.compile.envoy.private import STATS

# Regular expressions for whole names (RE2).
REQUESTS = rf"{STATS}\..*"
CARRIED = rf"{STATS}\.carried_.*"
CLUSTERS = (
    r"cluster\..*\.(upstream_rq_([1-5]xx|total|active|time|timeout|retry)|upstream_cx_[rt]x_bytes_total"
    r"|membership_(healthy|total))"
)
SERVER = r"server\.(memory_allocated|uptime)"
CONNECTIONS = r"listener\..*\.downstream_cx_active"
# Not of any service, so not many: what the two managers did, for people who look for the reason of something.
MANAGERS = r"(cluster|listener)_manager\..*"
# What was refused to whom, and why: a pod's connections above its number, and what Envoy does when its heap is full.
BOUNDS = r"connection_limit\..*|overload\..*"

READ = (REQUESTS, CLUSTERS, SERVER, CONNECTIONS, MANAGERS, BOUNDS)
DASHBOARD = (REQUESTS, CLUSTERS, SERVER)
