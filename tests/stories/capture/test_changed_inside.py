"""What an application (or its init container) changes in its own network namespace after the pod was enrolled."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.bench import scale_config as config
from tests.bench.processes import BenchError
from tests.bench.scale_host import get_json
from tests.bench.scale_rig import FAR, NODE, Rig, netns
from tests.support.eventually import eventually
from tests.support.rig import node

from tidegate.model.capture import CAPTURE6_PREFIX

SPARE = config.FEW.pods
VIP6, ENDPOINT6, OWN6 = "fd99::10", "fd98::1", "fd97::77"
TCP, HTTP = 701, 80
SIX = f"""
apiVersion: v1
kind: Service
metadata: {{name: six, namespace: {config.NAMESPACE}}}
spec:
  clusterIP: "{VIP6}"
  clusterIPs: ["{VIP6}"]
  selector: {{app: six}}
  ports:
    - {{name: tcp, port: {TCP}, targetPort: {config.TARGET}}}
    - {{name: http, port: {HTTP}, targetPort: {config.TARGET}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: six-0, namespace: {config.NAMESPACE}, labels: {{app: six}}}}
spec: {{nodeName: far, containers: [{{name: c, ports: [{{containerPort: {config.TARGET}}}]}}]}}
status:
  phase: Running
  podIP: "{ENDPOINT6}"
  podIPs: [{{ip: "{ENDPOINT6}"}}]
  conditions: [{{type: Ready, status: "True"}}]
"""


def ip(name: str, *commands: str) -> None:
    subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(commands) + "\n", text=True, check=True)


def sysctl(number: int, value: int, *interfaces: str) -> None:
    names = [f"net.ipv6.conf.{interface}.disable_ipv6={value}" for interface in interfaces or ("all", "default")]
    subprocess.run(["ip", "netns", "exec", netns(number), "sysctl", "-qw", *names], check=True)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with node() as made:
        ip(FAR, "addr add fd97::2/64 dev eth0 nodad", "route add local fd98::/64 dev lo")
        ip(NODE, "addr add fd97::1/64 dev br0 nodad", "route add fd98::/64 via fd97::2")  # where Envoy connects from
        (made.work / "config" / "six.yaml").write_text(SIX)
        # There is no kube-proxy: who is served has been captured.
        eventually(lambda: any(row["address"] == VIP6 for row in get(made, "services")), "the service is in force")
        yield made


@pytest.fixture
def spare(rig: Rig) -> Iterator[int]:
    yield SPARE
    rig.call("DEL", SPARE)
    rig.renew(SPARE)


def get(rig: Rig, what: str) -> list[dict[str, Any]]:
    return list(get_json(rig.run_dir / "agent.sock", f"/{what}"))


def with_ipv6(number: int) -> None:
    """An address of the node's network, and the way to the endpoint."""
    ip(netns(number), f"addr add {OWN6}/64 dev eth0 nodad", "route replace fd98::/64 via fd97::2")


def asks(rig: Rig, number: int, port: int) -> str:
    """A request over IPv6 through the service's address; what went wrong, if it did."""
    watcher = rig.watcher(number)
    try:
        watcher.tell(do="first", url=[VIP6, port, f"six.{config.NAMESPACE}.svc.cluster.local"])
        watcher.answer()
    except BenchError as error:
        return str(error)
    finally:
        watcher.close()
        rig.watchers.remove(watcher)
    return ""


def captured(rig: Rig, number: int) -> None:
    def refused() -> str:
        return asks(rig, number, TCP) or asks(rig, number, HTTP)

    eventually(lambda: refused() == "", "TCP and HTTP over IPv6 are captured", interval=0.2)


def reason(rig: Rig, number: int) -> str:
    return next(str(pod["reason"]) for pod in rig.status()["pods"] if pod["name"] == f"local-{number}")


@pytest.mark.case("E8")
def test_ipv6_that_is_switched_on_after_the_pod_was_enrolled_is_captured(rig: Rig, spare: int) -> None:
    sysctl(spare, 1)
    rig.cni("ADD", spare)
    assert asks(rig, spare, TCP) != ""
    sysctl(spare, 0)
    with_ipv6(spare)
    captured(rig, spare)


@pytest.mark.case("E8")
def test_ipv6_that_is_switched_off_and_on_again_is_captured_again(rig: Rig, spare: int) -> None:
    """With it goes the way to the listeners, and nobody but us would bring that back."""
    with_ipv6(spare)
    rig.cni("ADD", spare)
    captured(rig, spare)
    sysctl(spare, 1)
    sysctl(spare, 0)
    with_ipv6(spare)
    captured(rig, spare)


@pytest.mark.case("E8")
@pytest.mark.parametrize("command", [f"-6 route del local {CAPTURE6_PREFIX} dev lo table local", "link set lo down"])
def test_what_takes_away_the_way_to_our_listeners_does_so_for_a_moment(rig: Rig, spare: int, command: str) -> None:
    with_ipv6(spare)
    rig.cni("ADD", spare)
    captured(rig, spare)
    subprocess.run(["ip", "-n", netns(spare), *command.split()], check=True)
    with_ipv6_again(spare)
    captured(rig, spare)


def with_ipv6_again(number: int) -> None:
    """What was the pod's own and went with our route."""
    ip(netns(number), f"addr del {OWN6}/64 dev eth0")
    with_ipv6(number)


@pytest.mark.case("E8")
def test_ipv6_that_works_but_on_lo_is_named_by_status(rig: Rig, spare: int) -> None:
    sysctl(spare, 1)
    rig.cni("ADD", spare)
    sysctl(spare, 0, "eth0")
    with_ipv6(spare)
    eventually(lambda: "IPv6 is switched off on its lo" in reason(rig, spare), "status says why not")
    sysctl(spare, 0, "lo")
    captured(rig, spare)
    eventually(lambda: "IPv6" not in reason(rig, spare), "and no longer")


@pytest.mark.case("E1")
def test_an_address_that_was_changed_inside_is_named_and_not_believed_until_cni_says_so(rig: Rig, spare: int) -> None:
    rig.cni("ADD", spare)
    other = "10.97.9.9"
    ip(
        netns(spare),
        f"addr del {config.pod_ip(spare)}/16 dev eth0",
        f"addr add {other}/16 dev eth0",
        "route replace default via 10.97.0.1",
        f"route replace {config.ENDPOINTS} via 10.97.0.2",
    )
    said = f"{config.pod_ip(spare)}, which CNI gave eth0, is on no interface any more"
    eventually(lambda: said in reason(rig, spare), "status names the address")
    serves(rig, spare)
    assert address(rig, spare) == config.pod_ip(spare), "or a pod could take a neighbour's and speak in its name"
    assert rig.call("ADD", spare, ip=other).returncode == 0
    eventually(lambda: address(rig, spare) == other, "the kernel has the new one")
    serves(rig, spare)


def address(rig: Rig, number: int) -> str:
    """By which the kernel knows a pod."""
    return next(str(row["ip4"]) for row in get(rig, "pods") if row["name"] == f"local-{number}")


def serves(rig: Rig, number: int) -> None:
    """TCP and HTTP over IPv4 go on."""
    watcher = rig.watcher(number)
    for url in ([config.vip(1), config.PORT, config.host(1)], [config.TCP_VIP, config.TCP_PORT, "plain"]):
        watcher.tell(do="first", url=url)
        watcher.answer()
    watcher.close()
    rig.watchers.remove(watcher)


@pytest.mark.case("E8")
def test_a_pod_that_changes_all_the_time_disturbs_nobody(rig: Rig, spare: int) -> None:
    """Thousands of changes: the agent looks a few times, others are enrolled and served meanwhile."""
    rig.cni("ADD", spare)
    commands = ["addr add 10.98.0.1/32 dev lo", "addr del 10.98.0.1/32 dev lo"] * 1000
    script = json.dumps("\n".join(commands) + "\n")
    flood = [
        "/usr/bin/python3",
        "-c",
        f"import subprocess as s\nwhile 1: s.run(['ip', '-batch', '-'], input={script}, text=True)",
    ]
    with subprocess.Popen(["ip", "netns", "exec", netns(spare), *flood]) as flooding:
        try:
            rig.cni("ADD", SPARE + 1)
            serves(rig, SPARE + 1)
            serves(rig, spare)
            rig.cni("DEL", SPARE + 1)
        finally:
            flooding.kill()
    rig.renew(SPARE + 1)
