"""The cluster of the scale benchmark as a directory of YAML files. Pure, but for write() and put().

`services/N.yaml` is one HTTP Service and the one Pod behind it, with its status; every tenth has a VirtualService in
`rules/N.yaml`. `pods.yaml` are the pods of this node, `first.yaml` the namespace and a Service that is plain TCP.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

NAMESPACE = "scale"
PORT, TARGET, TCP_PORT = 80, 8080, 700
RULE_EVERY = 10
CHANGED = "x-change"  # the response header that a VirtualService sets
ENDPOINTS = "10.200.0.0/16"
TCP_VIP = "10.109.0.1"


@dataclass(frozen=True, slots=True)
class Size:
    """name: as it stands in the figures; pods: enrolled on this node all the time; spare: those that come and go, so
    many that none comes so soon again that the agent lets it wait for others (enroll/crash_loops.py)."""

    name: str
    services: int
    pods: int = 50
    spare: int = 100


SIZES = {size.name: size for size in (Size("1k", 1_000), Size("10k", 10_000), Size("smoke", 30, pods=3, spare=6))}
FEW = Size("few", 20, pods=5, spare=5)
MANY_COME = replace(FEW, spare=102)


def address(second: int, number: int) -> str:
    return f"10.{second}.{number // 250}.{number % 250 + 1}"


def vip(number: int) -> str:
    return address(110, number)


def host(number: int) -> str:
    return f"s{number:05}.{NAMESPACE}.svc.cluster.local"


def with_rule(size: Size) -> list[int]:
    """Numbers of the services that have a VirtualService."""
    return list(range(0, size.services, RULE_EVERY))


def service(number: int) -> str:
    name = f"s{number:05}"
    return f"""apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  clusterIP: {vip(number)}
  clusterIPs: [{vip(number)}]
  selector: {{app: {name}}}
  ports: [{{name: http, port: {PORT}, targetPort: {TARGET}}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}-0, namespace: {NAMESPACE}, labels: {{app: {name}, version: v1}}}}
spec:
  nodeName: far
  containers: [{{name: c, ports: [{{containerPort: {TARGET}}}]}}]
status:
  phase: Running
  podIP: {address(200, number)}
  podIPs: [{{ip: {address(200, number)}}}]
  conditions: [{{type: Ready, status: "True"}}]
"""


def rule(number: int, change: int) -> str:
    """The VirtualService of a service; `change` is what its answers carry from then on."""
    name = f"s{number:05}"
    return f"""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  hosts: [{name}]
  http:
    - match: [{{uri: {{prefix: /old}}}}]
      rewrite: {{uri: /new}}
      route: [{{destination: {{host: {name}}}}}]
    - timeout: 10s
      headers: {{response: {{set: {{{CHANGED}: "{change}"}}}}}}
      route: [{{destination: {{host: {name}}}}}]
"""


def local_pod(number: int) -> str:
    """As a cluster has it before its sandbox is attached; running_pod() is the same afterwards."""
    return f"""apiVersion: v1
kind: Pod
metadata: {{name: local-{number}, namespace: {NAMESPACE}, labels: {{app: local}}}}
spec:
  nodeName: scale
  containers: [{{name: c}}]
status:
  phase: Pending
"""


def running_pod(number: int, ip: str = "") -> str:
    """With the address that it has, or another one."""
    own = ip or pod_ip(number)
    return local_pod(number).replace("phase: Pending", f"phase: Running\n  podIP: {own}\n  podIPs: [{{ip: {own}}}]")


def pod_ip(number: int) -> str:
    """In the node's own network 10.97.0.0/16."""
    return f"10.97.1.{number + 1}"


FIRST = f"""apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}, labels: {{istio.io/dataplane-mode: ambient}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: plain, namespace: {NAMESPACE}}}
spec:
  clusterIP: {TCP_VIP}
  clusterIPs: [{TCP_VIP}]
  selector: {{app: s00000}}
  ports: [{{name: tcp, port: {TCP_PORT}, targetPort: {TARGET}}}]
"""


def write(directory: Path, size: Size) -> None:
    """The whole directory."""
    for part in ("services", "rules"):
        (directory / part).mkdir(parents=True)
    (directory / "first.yaml").write_text(FIRST)
    (directory / "pods.yaml").write_text("---\n".join(local_pod(n) for n in range(size.pods + size.spare)))
    for number in range(size.services):
        (directory / "services" / f"{number:05}.yaml").write_text(service(number))
    for number in with_rule(size):
        (directory / "rules" / f"{number:05}.yaml").write_text(rule(number, 0))


def put(directory: Path, number: int, change: int) -> None:
    """Change one VirtualService as an editor does: the new file takes the old one's name."""
    path = directory / "rules" / f"{number:05}.yaml"
    aside = path.with_name(f".{path.name}")
    aside.write_text(rule(number, change))
    os.replace(aside, path)
