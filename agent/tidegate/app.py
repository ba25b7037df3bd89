"""Composition root: the only place that constructs and wires. Reads top to bottom like the picture in README.

 file source -> Store ──┐
                        ├─> Cycle (compile, then appliers) ─> kernel tables, fast path, Envoy
 CNI socket -> Registry ┘                                 └─> Status -> CNI reply, admin API, metrics
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry

from tidegate import __version__
from tidegate.bpf.cgroup import cgroup2_mount, own_cgroup
from tidegate.bpf.datapath import Datapath
from tidegate.bpf.netns import in_netns
from tidegate.config.files import FileSource
from tidegate.config.store import Store
from tidegate.dataplane.cycle import Cycle
from tidegate.enroll.cni_server import CniServer
from tidegate.enroll.handler import CniHandler
from tidegate.enroll.registry import Registry
from tidegate.envoy.supervisor import EnvoySupervisor
from tidegate.errors import Rejected
from tidegate.fastpath import FastPath
from tidegate.model.snapshot import EnvoyResource
from tidegate.model.status import Failure
from tidegate.model.workload import Sandbox
from tidegate.observe.admin import Admin
from tidegate.observe.flows import follow_flows
from tidegate.observe.life import begin, end
from tidegate.observe.metrics import AgentCollector, TcpMetrics, exposition
from tidegate.observe.views import Views
from tidegate.settings import Settings, build_root, envoy_binary
from tidegate.xds.server import AdsServer

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.5
