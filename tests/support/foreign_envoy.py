"""Envoys that are not ours, in a namespace with a mesh of web servers, and `tidegate xds` to tell them of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority
from tests.support.envoy_node import ENVOY, SUPPORT, Pod
from tests.support.eventually import eventually

XDS_PORT = 15010
PROXY_GROUP = 1337  # whose connections Istio's redirection leaves alone
SIDECAR = "sidecar~10.0.0.1~web-1.default~default.svc.cluster.local"

# As the API document's third page has it, field by field in the names of Envoy's third API: what was a cluster's name
# is a gRPC service, `hosts` are endpoints, HTTP/2 is an extension's option, and the admin interface is a socket.
BOOTSTRAP = """
admin:
  address: {{pipe: {{path: {admin}}}}}
dynamic_resources:
  lds_config:
    resource_api_version: V3
    api_config_source:
      api_type: {api_type}
      transport_api_version: V3
      grpc_services: [{{envoy_grpc: {{cluster_name: xds_cluster}}}}]
  cds_config:
    resource_api_version: V3
    api_config_source:
      api_type: {api_type}
      transport_api_version: V3
      grpc_services: [{{envoy_grpc: {{cluster_name: xds_cluster}}}}]
static_resources:
  clusters:
  - name: xds_cluster
    connect_timeout: 0.25s
    type: STATIC
    lb_policy: ROUND_ROBIN
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: xds_cluster
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 15010}}}}}}
"""
# As Istio's own agent writes it: everything over one stream.
AGGREGATED = (
    BOOTSTRAP.partition("  lds_config")[0]
    + """  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: xds_cluster}}}}]
  lds_config: {{ads: {{}}, resource_api_version: V3}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:"""
    + BOOTSTRAP.partition("static_resources:")[2]
)
# The same by a unix socket, which is for one namespace and where its Secrets are told.
BY_SOCKET = AGGREGATED.replace(
    "{{socket_address: {{address: 127.0.0.1, port_value: 15010}}}}", "{{pipe: {{path: {socket}}}}}"
)
# What Istio's init container sets up, for connections that leave from here, and for those to the pod's own address.
REDIRECTION = f"""*nat
-A OUTPUT -p tcp -d 10.0.0.1 -m owner ! --gid-owner {PROXY_GROUP} -j REDIRECT --to-ports 15006
-A OUTPUT -p tcp ! -d 127.0.0.0/8 -m owner ! --gid-owner {PROXY_GROUP} -j REDIRECT --to-ports 15001
COMMIT
"""


class Place:
    """The namespace, what runs in it, and the directory of documents."""

    def __init__(self, pod: Pod, folder: Path, stack: ExitStack) -> None:
        self.pod, self.folder, self._stack = pod, folder, stack
        self.documents = folder / "documents"
        self.documents.mkdir()

    def run(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """A process inside, ended with the place."""
        argv = ["ip", "netns", "exec", self.pod.name, *command]
        process = subprocess.Popen(argv, text=True, **options)
        self._stack.callback(self.end, process)
        return process

    @staticmethod
    def end(process: subprocess.Popen[str]) -> None:
        """SIGKILL, and until it is gone."""
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def sh(self, *command: str) -> str:
        argv = ["ip", "netns", "exec", self.pod.name, *command]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def redirect(self) -> None:
        """Two addresses of a pod and a network of services, with Istio's redirection."""
        for address in ("10.0.0.1/32", "10.0.0.7/32"):
            self.sh("ip", "address", "add", address, "dev", "lo")
        self.sh("ip", "route", "add", "10.96.0.0/16", "dev", "lo")
        restore = ["ip", "netns", "exec", self.pod.name, "iptables-restore"]
        subprocess.run(restore, input=REDIRECTION, text=True, check=True)

    def tls(self, name: str, port: int) -> None:
        """An HTTPS server whose certificate is for a name; who signed it is in NAME.ca."""
        authority = Authority()
        pair = authority.issue(name)
        paths = {end: self.folder / f"{name}.{end}" for end in ("ca", "crt", "key")}
        paths["ca"].write_bytes(authority.certificate)
        paths["crt"].write_bytes(pair.certificate)
        paths["key"].write_bytes(pair.key)
        files = ("-cert", paths["crt"], "-key", paths["key"])
        self.run("openssl", "s_server", "-quiet", "-www", "-accept", str(port), *files, stdin=subprocess.DEVNULL)

    def shown_certificate(self, address: str, port: int, name: str) -> str:
        """Common name of the certificate that a TLS client is shown who asks for a name; empty: it was cut off."""
        client = ["openssl", "s_client", "-connect", f"{address}:{port}", "-servername", name]
        inside = ["ip", "netns", "exec", self.pod.name, *client]
        done = subprocess.run(inside, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        subject = [line for line in done.stdout.splitlines() if line.startswith("subject=")]
        return subject[0].rpartition("=")[2].strip() if subject else ""

    def web(self, version: str, port: int) -> None:
        """A web server on all addresses of the namespace."""
        self.run(sys.executable, SUPPORT / "web.py", str(port), env={**os.environ, "VERSION": version})

    def serve(self, *more: str) -> subprocess.Popen[str]:
        """`tidegate xds` over the documents. more: options."""
        command = ("xds", "--config", f"file:{self.documents}", "--listen", f"127.0.0.1:{XDS_PORT}", *more)
        process = self.run(
            sys.executable, "-m", "tidegate", *command, "--state-dir", self.folder / "state", stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == f"serving on 127.0.0.1 port {XDS_PORT}\n"
        return process

    def envoy(
        self, bootstrap: str, node_id: str, api_type: str = "GRPC", *, metadata: dict[str, Any] | None = None
    ) -> None:
        """An Envoy as anybody would start it; node id and cluster come by its command line."""
        text = bootstrap.format(admin=self.admin, api_type=api_type, socket=self.socket)
        if metadata:
            text += f"node: {{metadata: {json.dumps(metadata)}}}\n"
        (self.folder / "envoy.yaml").write_text(text)
        proxy = ("setpriv", "--regid", str(PROXY_GROUP), "--clear-groups")
        config = ("-c", self.folder / "envoy.yaml", "--service-node", node_id, "--service-cluster", "demo")
        options = ("--disable-hot-restart", "--concurrency", "1", "-l", "warning")
        with open(self.folder / "envoy.log", "w") as log:
            self.run(*proxy, ENVOY, *config, *options, stderr=log)

    @property
    def socket(self) -> Path:
        """Where clients of one namespace get its Secrets, if serve() was asked for it."""
        return self.folder / "secrets.sock"

    @property
    def admin(self) -> Path:
        return self.folder / "admin.sock"

    def say(self, **documents: str) -> None:
        """Write documents, by file name."""
        for name, text in documents.items():
            new = self.folder / f"{name}.new"
            new.write_text(text)
            shutil.move(new, self.documents / f"{name}.yaml")

    def ask(self, url: str, *arguments: str) -> dict[str, Any]:
        """One request from inside; raises while nobody answers."""
        answer: dict[str, Any] = json.loads(self.sh(sys.executable, str(SUPPORT / "ask.py"), url, *arguments))
        return answer

    def answers(self, url: str, *arguments: str, version: str = "", status: int = 200) -> dict[str, Any]:
        """The first answer that has this status and version."""

        def look() -> dict[str, Any] | None:
            try:
                got = self.ask(url, *arguments)
            except subprocess.CalledProcessError:
                return None
            assert got["status"] == status, got
            assert not version or got["body"]["version"] == version, got
            return got

        found = eventually(look, f"{url} answers {status} {version}")
        assert found
        return found

    def stat(self, pattern: str) -> dict[str, int]:
        """Statistics of the Envoy whose name fits a regular expression."""
        url = f"http://envoy/stats?format=json&filter={pattern}"
        done = subprocess.run(
            ["curl", "-sSg", "--unix-socket", str(self.admin), url], capture_output=True, text=True, check=True
        )
        return {one["name"]: int(one["value"]) for one in json.loads(done.stdout)["stats"] if "value" in one}

    def refused(self) -> dict[str, int]:
        """Counters of what the Envoy refused, those that are not 0."""
        return {name: value for name, value in self.stat(r"update_rejected$").items() if value}


@contextmanager
def place(folder: Path, versions: Sequence[tuple[str, int]] = (("v1", 8081), ("v2", 8082))) -> Iterator[Place]:
    """A namespace with web servers of these versions and ports."""
    with ExitStack() as stack:
        pod = Pod()
        stack.callback(pod.delete)
        made = Place(pod, folder, stack)
        for version, port in versions:
            made.web(version, port)
        yield made
