"""Environment of a container and `$(NAME)` in its command, arguments and variables, by Kubernetes' rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.errors import Rejected
from tidegate.model.net import IPAddress
from tidegate_lab import spec
from tidegate_lab.workloads import PodObject

MANIFEST_DIR = "LAB_MANIFEST_DIR"
NODE = "LAB_NODE"
CLUSTER, POD_RUN, TIDEGATE, AUTHORITY = "LAB_CLUSTER", "LAB_POD_RUN", "LAB_TIDEGATE", "LAB_CA_DIR"

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value; an unknown name stays as it is, and $$ is a dollar that starts no reference."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else env.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def environment(
    pod: PodObject,
    container: spec.Container,
    node: str,
    node_ip: IPAddress,
    ips: Sequence[IPAddress],
    given: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Variables of a container, without what every process inherits. given: what the lab has to say besides.

    Raises Rejected on an unknown valueFrom.
    """
    env = {MANIFEST_DIR: str(pod.manifest_dir), **(given or {})}
    for variable in container.env:
        if variable.value_from is None:
            env[variable.name] = expand(variable.value, env)
        else:
            env[variable.name] = _downward(pod, variable, node, node_ip, ips)
    return env


def _downward(pod: PodObject, variable: spec.EnvVar, node: str, node_ip: IPAddress, ips: Sequence[IPAddress]) -> str:
    reference: Any = (variable.value_from or {}).get("fieldRef")
    path = str(reference.get("fieldPath")) if isinstance(reference, dict) else ""
    fields = {
        "metadata.name": pod.id.name,
        "metadata.namespace": pod.id.namespace,
        "spec.nodeName": node,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": str(node_ip),
        "status.podIP": str(ips[0]) if ips else "",
        "status.podIPs": ",".join(map(str, ips)),
    }
    if path in fields:
        return fields[path]
    if subscript := _SUBSCRIPT.fullmatch(path):
        values = pod.labels if subscript[1] == "labels" else pod.annotations
        return values.get(subscript[2], "")
    raise pod.document.rejected(
        f"env {variable.name}: valueFrom {path or variable.value_from} is not supported in the lab"
    )


def command_line(container: spec.Container, env: Mapping[str, str]) -> list[str]:
    """command and args with their references replaced."""
    return [expand(word, env) for word in (*container.command, *container.args)]


def port_number(container: spec.Container, port: int | str) -> int:
    """The number of a container's TCP port given by number or name. Raises Rejected on an unknown name."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for candidate in container.ports:
        if candidate.name == port and candidate.protocol == "TCP":
            return candidate.container_port
    raise Rejected(f"container {container.name}", f"has no TCP port named {port!r}")
