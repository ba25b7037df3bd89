"""Configurations out of YAML text, and sandboxes to compile them for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from textwrap import dedent, indent

from tidegate.config.documents import ParsedFile, parse_text
from tidegate.config.messages import UNREADABLE
from tidegate.config.sources.base import Change
from tidegate.config.sources.holdings import Holdings
from tidegate.config.store import load_once
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId
from tidegate.model.workload import Capture, Sandbox

ENROLLED = """
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {istio-injection: enabled}}
"""


class Texts:
    """A source of files that a test holds in its hands."""

    def __init__(self) -> None:
        self._holdings = Holdings()

    def say(self, files: Mapping[str, str], revision: int = 0, unread: Sequence[str] = ()) -> Sequence[Change]:
        """What a source tells when its files are these. A file comes before another when its name is less."""
        for name in self._holdings.names - files.keys():
            self._holdings.drop(name)
        for name, text in files.items():
            self._holdings.put(name, parse_text(text, name, self._holdings.content(name)))
        for name in unread:
            self._holdings.put(name, ParsedFile(name), UNREADABLE(reason="by order of a test"))
        return self._holdings.tell(revision)


def mesh_of(files: Mapping[str, str]) -> Mesh:
    """The configuration of these files, right or wrong."""
    return load_once([Texts().say(files)])


def config_of(*texts: str, errors: bool = False) -> Mesh:
    """The configuration of these files. Fails on errors in them unless those are wanted."""
    config = mesh_of({f"{number}.yaml": dedent(text) for number, text in enumerate(texts)})
    if not errors:
        assert not [p for p in config.problems if p.is_error], "\n".join(map(str, config.problems))
    return config


def service(
    name: str, *ports: str, ips: str = "", namespace: str = "default", selector: str = "", spec: str = ""
) -> str:
    """A Service. ports: ``name:number`` or ``name:number:target``; ips: cluster IPs, comma-separated, or None."""
    lines = []
    for port in ports:
        parts = port.split(":")
        target = f", targetPort: {parts[2]}" if len(parts) > 2 else ""
        lines.append(f"{{name: {parts[0]}, port: {parts[1]}{target}}}")
    addresses = f"clusterIPs: [{', '.join(repr(i) for i in ips.split(','))}]" if ips else ""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{{selector or f"app: {name}"}}}
  ports: [{", ".join(lines)}]
  {addresses}
  {spec}
"""


def pod(name: str, labels: str, *ips: str, namespace: str = "default", ready: bool = True, ports: str = "") -> str:
    """A Pod. labels and ports in flow style without the outer brackets."""
    addresses = ", ".join(f"{{ip: '{ip}'}}" for ip in ips)
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}
spec: {{containers: [{{name: c, ports: [{ports}]}}]}}
status: {{podIPs: [{addresses}], conditions: [{{type: Ready, status: "{ready}"}}]}}
"""


def virtual_service(name: str, hosts: str, http: str, *, namespace: str = "default", more: str = "") -> str:
    """A VirtualService; http: its list in YAML, starting in column 0."""
    routes = "\n".join("  " + line for line in dedent(http).strip().splitlines())
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{hosts}]
  {more}
  http:
{routes}
"""


def destination_rule(name: str, host: str, spec: str, *, namespace: str = "default", more: str = "") -> str:
    """A DestinationRule; spec: what follows host in YAML, starting in column 0."""
    rest = "\n".join("  " + line for line in dedent(spec).strip().splitlines())
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: "{host}"
  {more}
{rest}
"""


def entry(name: str, hosts: str, spec: str, *, namespace: str = "default", more: str = "") -> str:
    """A ServiceEntry; spec in flow style without the outer brackets."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}, {more}}}
spec: {{hosts: [{hosts}], {spec}}}
"""


def mesh_config(text: str) -> str:
    """The ConfigMap with what operators write into MeshConfig."""
    return (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n"
        + indent(dedent(text).strip(), "    ")
    )


def sandbox(name: str, *ips: str, namespace: str = "default", cookie: int = 1, v6: bool = False) -> Sandbox:
    """An attached pod whose Envoy listener has ports 15002 (v4) and 15004 (v6)."""
    return Sandbox(
        WorkloadId(namespace, name),
        f"container-{name}",
        f"/run/netns/{name}",
        cookie,
        tuple(ip_address(ip) for ip in ips),
        Capture(15001, 15003 if v6 else 0, 15002, 15004 if v6 else 0),
        v6_capture=v6,
    )
