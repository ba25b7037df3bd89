"""What a large Kubernetes costs one agent, and what the agent asks of its API server: scale.kube.* of bench.json.

A real etcd and API server (tests/kube) have 10 000 Services, as many EndpointSlices and Pods, and a VirtualService for
every tenth Service; the node is that of scale.py. All that passes between agent and API server goes through a door
that counts bytes. See README.md of this directory.
"""

from __future__ import annotations

import json
import secrets
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml

from tests.bench import scale_config as config
from tests.bench.kube_door import CountingDoor
from tests.bench.processes import BenchError, Unmet
from tests.bench.scale import MB, MS, SECONDS, Effort, Figure, agents, pss, say, spread_over, whole
from tests.bench.scale_rig import NODE, Rig, Status, Watcher
from tests.kube.cluster import Cluster
from tests.kube.control_plane import CONTROLLERS, SCHEDULER
from tests.support.eventually import eventually
from tests.support.kube.objects import crds, endpoint, endpoint_slice

Object = dict[str, Any]
NAME = "scale.kube"
NOWHERE = "10.201.0.1"  # no route leads there
PLAIN = "plain"  # the Service that is TCP
CHANGES_PER_SECOND, CHANGE_SECONDS = 10, 10
# What the API server would fill in if it were asked to create a Service.
SERVICE_DEFAULTS: Object = {
    "type": "ClusterIP",
    "sessionAffinity": "None",
    "ipFamilies": ["IPv4"],
    "ipFamilyPolicy": "SingleStack",
    "internalTrafficPolicy": "Cluster",
}


def measured(size: config.Size, effort: Effort) -> list[dict[str, Any]]:
    """All figures. Raises BenchError."""
    with cluster_of(size) as cluster, running(size, cluster) as (rig, door):
        figures = [
            *starts(rig, door, effort.colds),
            *slices(rig, cluster, effort.changes),
            rules(rig, cluster, effort.changes),
            *asked(rig, cluster, door),
            *memory(rig),
        ]
    return [figure.result() for figure in figures]


# --- the cluster ----------------------------------------------------------------------------------------------------
@contextmanager
def cluster_of(size: config.Size) -> Iterator[Cluster]:
    """A control plane that has all of it; nothing is left."""
    cluster = Cluster(f"bench-{secrets.token_hex(3)}", nodes=0)
    try:
        cluster.up()
        cluster.namespace(config.NAMESPACE, {"istio.io/dataplane-mode": "ambient"})
        cluster.apply(crds())
        for name in (CONTROLLERS, SCHEDULER):  # they would remove pods of nodes that are not there
            cluster.control.stop(name)
        begun = time.monotonic()
        services = [as_created(one) for one in documents(size) if one["kind"] == "Service"]
        pods = [one for one in documents(size) if one["kind"] == "Pod"]
        written = [yaml.safe_load(config.rule(number, 0)) for number in config.with_rule(size)]
        cluster.write("services/specs", services)
        cluster.write("endpointslices", [slice_of(number) for number in range(size.services)] + [plain_slice()])
        cluster.write("pods", pods)
        cluster.write("networking.istio.io/virtualservices", [with_uid(one) for one in written])
        path = f"/apis/discovery.k8s.io/v1/namespaces/{config.NAMESPACE}/endpointslices"
        eventually(lambda: len(cluster.api.items(path)) == size.services + 1, "the API server serves them")
        say(f"{NAME}: {len(services)} Services, {len(pods)} Pods in etcd after {time.monotonic() - begun:.0f} s")
        yield cluster
    finally:
        cluster.down()


def documents(size: config.Size) -> Iterator[Object]:
    """Services and Pods, as scale_config has them."""
    texts = [config.FIRST, *(config.local_pod(number) for number in range(size.pods + size.spare))]
    texts += [config.service(number) for number in range(size.services)]
    for text in texts:
        for one in yaml.load_all(text, yaml.CSafeLoader):
            yield with_uid(one)


def with_uid(thing: Object) -> Object:
    """As etcd has it: an API server never gives out an object without these."""
    thing["metadata"] |= {"uid": f"{secrets.token_hex(4)}-0000-0000-0000-{secrets.token_hex(6)}"}
    thing["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z"}
    return thing


def as_created(service: Object) -> Object:
    """With what the API server fills in."""
    for port in service["spec"]["ports"]:
        port.setdefault("protocol", "TCP")
    return {**service, "spec": SERVICE_DEFAULTS | service["spec"], "status": {"loadBalancer": {}}}


def slice_of(number: int) -> Object:
    name = f"s{number:05}"
    found = endpoint(config.address(200, number), targetRef={"kind": "Pod", "name": f"{name}-0", "namespace": "scale"})
    return with_uid(endpoint_slice(f"{name}-a", name, [found], ns=config.NAMESPACE))


def plain_slice() -> Object:
    ports = [{"name": "tcp", "protocol": "TCP", "port": config.TARGET}]
    found = [endpoint(config.address(200, 0))]
    return with_uid(endpoint_slice(f"{PLAIN}-a", PLAIN, found, ns=config.NAMESPACE, ports=ports))


# --- the node -------------------------------------------------------------------------------------------------------
@contextmanager
def running(size: config.Size, cluster: Cluster) -> Iterator[tuple[Rig, CountingDoor]]:
    """A node of that cluster with its pods enrolled and everything in force; nothing is left."""
    rig = Rig(size)
    try:
        rig.up()
        with CountingDoor(NODE, cluster.control.port) as door:
            rig.source = f"kube:{cluster.kubeconfig()}"
            rig.start_agent()
            rig.wait("the agent comes up", lambda status: status)
            rig.enrol()
            whole(rig)
            yield rig, door
            rig.end()
    finally:
        rig.down()


def in_sync(status: Status) -> bool:
    """Whether all kinds are as the API server has them, and compiled."""
    kinds = status["clusters"][0]["kinds"]
    fresh = all(kind["state"] == "current" and not kind["from_disk"] for kind in kinds)
    return bool(kinds and fresh and status["applied"]["generation"] > 0)


def starts(rig: Rig, door: CountingDoor, times: int) -> list[Figure]:
    """From the agent's start, without an Envoy and with nothing of the cluster on disk."""
    sync = Figure(f"{NAME}.sync_s", SECONDS, statistics.median)
    cold = Figure(f"{NAME}.cold_s", SECONDS, statistics.median)
    lists = Figure(f"{NAME}.start_mb", MB, statistics.median)
    for _ in range(times):
        rig.end()
        for saved in rig.run_dir.glob("kube-*"):
            shutil.rmtree(saved)
        before = door.received
        begun = rig.start_agent()
        at, _ = rig.wait("the agent is in sync", in_sync)
        sync.add(at - begun)
        lists.add((door.received - before) / 1e6, connections=door.open)
        done, _ = whole(rig)
        cold.add(done - begun)
        say(f"{NAME}: in sync after {at - begun:.2f} s, all in force after {done - begun:.2f} s")
    return [sync, cold, lists]


# --- changes --------------------------------------------------------------------------------------------------------
def patch(cluster: Cluster, path: str, body: Object) -> float:
    """A merge patch; the moment when the API server had answered."""
    cluster.api.text(path, "PATCH", body, "application/merge-patch+json")
    return time.monotonic()


def slice_path(name: str) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{config.NAMESPACE}/endpointslices/{name}-a"


def lead_to(cluster: Cluster, name: str, address: str) -> float:
    return patch(cluster, slice_path(name), {"endpoints": [endpoint(address)]})


def refused(watcher: Watcher, url: Sequence[object]) -> bool:
    """Whether a new connection gets no answer."""
    watcher.tell(do="first", url=url)
    try:
        watcher.answer()
    except Unmet:
        return True
    return False


def slices(rig: Rig, cluster: Cluster, times: int) -> list[Figure]:
    """From the API server's answer to a slice's change to the first answer of the endpoint that came with it."""
    by_envoy = Figure(f"{NAME}.slice_http_ms", MS, statistics.median)
    by_relay = Figure(f"{NAME}.slice_tcp_ms", MS, statistics.median)
    watcher = rig.watcher()
    for number in spread_over(range(1, rig.size.services), times):
        url = [config.vip(number), config.PORT, config.host(number)]
        by_envoy.add(came(rig, cluster, watcher, f"s{number:05}", config.address(200, number), url))
    for _ in range(times):
        url = [config.TCP_VIP, config.TCP_PORT, PLAIN]
        by_relay.add(came(rig, cluster, watcher, PLAIN, config.address(200, 0), url))
    say(f"{NAME}: a slice on the wire after {by_envoy.result()['tidegate']} ms, {by_relay.result()['tidegate']} ms")
    return [by_envoy, by_relay]


def came(rig: Rig, cluster: Cluster, watcher: Watcher, name: str, address: str, url: Sequence[object]) -> float:
    """An endpoint that nobody reaches is replaced by one that answers. Milliseconds."""
    watcher.tell(do="first", url=url)
    watcher.answer()
    lead_to(cluster, name, NOWHERE)
    deadline = time.monotonic() + rig.give_up
    while not refused(watcher, url):
        if time.monotonic() > deadline:
            raise BenchError(f"{name} is served still, although its endpoint went away")
    watcher.tell(do="served", url=url)
    begun = lead_to(cluster, name, address)
    return max(0.0, float(watcher.answer()["at"]) - begun) * 1000


def rules(rig: Rig, cluster: Cluster, times: int) -> Figure:
    """From the API server's answer to a VirtualService's change to the first answer that carries it."""
    figure = Figure(f"{NAME}.change_ms", MS, statistics.median)
    watcher = rig.watcher()
    for change, number in enumerate(spread_over(config.with_rule(rig.size), times), 1):
        url = [config.vip(number), config.PORT, config.host(number)]
        watcher.tell(do="until", url=url, header=config.CHANGED, value=str(change))
        watcher.answer()
        path = f"/apis/networking.istio.io/v1/namespaces/{config.NAMESPACE}/virtualservices/s{number:05}"
        begun = patch(cluster, path, {"spec": yaml.safe_load(config.rule(number, change))["spec"]})
        figure.add(max(0.0, float(watcher.answer()["at"]) - begun) * 1000)
        whole(rig)
    say(f"{figure.name}: {figure.result()['tidegate']} ms")
    return figure


def asked(rig: Rig, cluster: Cluster, door: CountingDoor) -> list[Figure]:
    """What one agent has open at the API server, and what it is sent while slices change."""
    connections = Figure(f"{NAME}.connections", "connections", max)
    connections.add(door.open)
    quiet = Figure(f"{NAME}.quiet_kb_s", "kB/s", max)
    busy = Figure(f"{NAME}.busy_kb_s", "kB/s", max)
    quiet.add(rate(door, CHANGE_SECONDS, lambda _: None))
    numbers = iter(spread_over(range(rig.size.services), CHANGES_PER_SECOND * CHANGE_SECONDS))

    def change(_: int) -> None:
        number = next(numbers)
        label = {"metadata": {"labels": {"bench": secrets.token_hex(4)}}}
        patch(cluster, slice_path(f"s{number:05}"), label)

    busy.add(rate(door, CHANGE_SECONDS, change))
    say(f"{NAME}: {door.open} connections, {quiet.result()['tidegate']} and {busy.result()['tidegate']} kB/s")
    return [connections, quiet, busy]


def rate(door: CountingDoor, seconds: int, each: Any) -> float:
    """Thousands of bytes a second that the agent is sent while something happens so often."""
    before, begun = door.received, time.monotonic()
    for turn in range(CHANGES_PER_SECOND * seconds):
        each(turn)
        time.sleep(max(0.0, begun + (turn + 1) / CHANGES_PER_SECOND - time.monotonic()))
    return (door.received - before) / (time.monotonic() - begun) / 1000


def memory(rig: Rig) -> list[Figure]:
    """Proportional set size at the end."""
    whole(rig)
    figures = []
    for part, pids in {"envoy": rig.pids("envoy"), "agent": agents(rig)}.items():
        figure = Figure(f"{NAME}.{part}_mb", MB, max)
        figure.add(pss(pids), processes=len(pids))
        figures.append(figure)
    say(f"{NAME}: {json.dumps({figure.name: figure.result()['tidegate'] for figure in figures})}")
    return figures
