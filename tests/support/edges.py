"""The lab of the user's documents about edges: a gateway for each of their selectors, and the world outside.

Outside is one nginx on the node, at addresses of its own: it has each site that the documents name, and tells what it
saw of a request, whether that came plain or by TLS.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import MANIFESTS, ROOT, Lab
from tests.support.own_etc import OwnEtc

SOCKETS = Path("/var/run/example")  # of document 40
# site -> where its name leads, port; TLS where there is a certificate
SITES = {
    "wikipedia.org": ("198.51.100.1", 80),
    "httpbin.com": ("198.51.100.2", 80),
    "api.dropboxapi.com": ("198.51.100.3", 443),
    "www.googleapis.com": ("198.51.100.4", 443),
    "api.facebook.com": ("198.51.100.5", 443),
    "one.bar.com": ("198.51.100.6", 80),
    "us.foo.bar.com": ("198.51.100.7", 8080),
    "uk.foo.bar.com": ("198.51.100.8", 9080),
    "in.foo.bar.com": ("198.51.100.9", 7080),
    "api.foo.com": ("198.51.100.10", 8443),
    "mymongodb.somedomain": ("2.2.2.2", 27018),
    "second.mymongodb.somedomain": ("3.3.3.3", 27018),
}
DATABASE = ("mymongodb.somedomain", "second.mymongodb.somedomain", "mydbserver.prod.svc.cluster.local")
SILENT = 8099  # on the node: the server that never answers
_LOCATION = """
    location / { return 200 $seen; }
    location /never { proxy_pass http://127.0.0.1:%d/?held=/nowhere; proxy_read_timeout 1h; }
    error_page 497 =200 @plain;
    location @plain { return 200 $seen; }
"""
_SEEN = {
    "server": "server_name", "at": "server_addr", "peer": "remote_addr", "host": "http_host", "path": "request_uri",
    "tls": "ssl_protocol", "sni": "ssl_server_name", "client": "ssl_client_s_dn", "verified": "ssl_client_verify",
    "timeout": "http_x_envoy_expected_rq_timeout_ms",
}  # fmt: skip
_NGINX = """
daemon off; master_process off; pid %(place)s/nginx.pid; error_log %(place)s/error.log;
events { }
http {
  access_log off;
  client_body_temp_path %(place)s/body; proxy_temp_path %(place)s/proxy;
  fastcgi_temp_path %(place)s/a; uwsgi_temp_path %(place)s/b; scgi_temp_path %(place)s/c;
  default_type application/json;
  map $remote_addr $seen { default '%(seen)s'; }
  %(servers)s
}
"""
GATEWAYS = {  # name, which is its label app -> its label istio, the ports that clients dial
    "my-gateway-controller": ("ingressgateway", (80, 443, 9080, 2379)),
    "my-ingress-gateway": ("egressgateway", (80,)),
    "my-tcp-ingress-gateway": ("tcp", (27018,)),
    "my-tls-ingress-gateway": ("tls", (443,)),
}


class Edges(Lab):
    """Up at once. authority: signed all that the sites show, and is what this /etc trusts."""

    def __init__(self, place: Path) -> None:
        super().__init__("edges")
        (place / "etc").mkdir()
        self.place = place
        self.etc = OwnEtc(place / "etc")
        self.authority = Authority()
        self.program = [*self.etc.program, *self.program]
        self.env["TIDEGATE_UNIX_ENDPOINTS"] = str(SOCKETS)
        self._outside: list[subprocess.Popen[str]] = []
        self._write()
        manifest = place / "gateways.yaml"
        manifest.write_text("\n---\n".join(_gateway(name, *more) for name, more in GATEWAYS.items()))
        self.up(MANIFESTS / "edges.yaml", manifest)
        self._open_the_world()

    def down(self, *, content: bool = False) -> None:
        for process in self._outside:
            process.terminate()
            process.wait(HANG_SECONDS)
        try:
            super().down(content=content)
        finally:
            self.etc.end()
            shutil.rmtree(SOCKETS, ignore_errors=True)

    def certificates(self, path: str, key: str, *names: str) -> None:
        """Put a certificate for these names and its key into the lab's /etc."""
        pair = self.authority.issue(*names)
        self.etc.write(path, pair.certificate)
        self.etc.write(key, pair.key)

    def curl(self, url: str, *options: str | Path) -> Any:
        """What the site tells that the client's curl gets; nothing if it gets no answer of 200."""
        done = self.exec("client", *_CURL, *options, url, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def handshake(self, target: str, sni: str) -> str:
        """The name of the certificate that openssl is shown in the client's pod, "" = no handshake."""
        command = ["/usr/bin/openssl", "s_client", "-connect", target, "-servername", sni]
        return subject(self.exec("client", *command, check=False).stdout)

    def told(self, name: str) -> set[str]:
        """Codes of what the status says of an object's document."""
        problems = self.status()["config"]["problems"]
        return {problem["code"] for problem in problems if problem["name"] == name}

    def nacks(self) -> list[str]:
        """What Envoy refused."""
        return [nack["name"] for nack in self.status()["envoy"]["xds"]["nacks"]]

    def _write(self) -> None:
        hosts = "".join(f"{address} {site}\n" for site, (address, _) in SITES.items())
        self.etc.write("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{hosts}")
        self.etc.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")  # nobody is there
        system = Path("/etc/ssl/certs/ca-certificates.crt")
        trusted = system.read_bytes() if system.exists() else b""
        self.etc.write(str(system), trusted + self.authority.certificate)
        for name in ("reviews", "login"):
            self.certificates(f"/etc/own/{name}.crt", f"/etc/own/{name}.key", f"{name}.bookinfo.com")
        for site, (_, port) in SITES.items():
            if port not in (80, 8080, 9080, 7080):
                names = DATABASE if site in DATABASE else (site,)
                self.certificates(f"/etc/own/{site}.crt", f"/etc/own/{site}.key", *names)
        self.etc.write("/etc/own/ca.crt", self.authority.certificate)

    def _open_the_world(self) -> None:
        SOCKETS.mkdir(parents=True, exist_ok=True)
        (self.place / "nginx.conf").write_text(_configuration(self.place))
        for address in sorted({address for address, _ in SITES.values()}):
            self.tidegate("lab", "node-exec", "node1", "--", "ip", "address", "add", f"{address}/32", "dev", "lo")
        web = ROOT / "tests" / "support" / "web.py"
        self._outside.append(self.start_on_node("node1", "/usr/bin/python3", web, str(SILENT)))
        self._outside.append(self.start_on_node("node1", "/usr/sbin/nginx", "-c", self.place / "nginx.conf"))
        url = "http://wikipedia.org/"
        eventually(
            lambda: self.tidegate("lab", "node-exec", "node1", "--", *_CURL, url, check=False).stdout, "the world"
        )


_CURL = ("/usr/bin/curl", "-sS", "--fail", "--max-time", str(HANG_SECONDS))


def subject(text: str) -> str:
    """The common name of the certificate that openssl s_client met."""
    lines = [line.replace(" ", "") for line in text.splitlines() if line.startswith("subject=")]
    return lines[0].partition("CN=")[2] if lines else ""


def _configuration(place: Path) -> str:
    servers = []
    for site, (address, port) in SITES.items():
        secure = port not in (80, 8080, 9080, 7080)
        lines = [f"listen {address}:{port}{' ssl' if secure else ''};", f"server_name {site};"]
        if secure:
            lines += [f"ssl_certificate /etc/own/{site}.crt;", f"ssl_certificate_key /etc/own/{site}.key;"]
            lines += ["ssl_client_certificate /etc/own/ca.crt;", "ssl_verify_client optional;"]
        servers.append("server { " + " ".join(lines) + _LOCATION % SILENT + "}")
    servers.append(f"server {{ listen unix:{SOCKETS}/socket; server_name socket; {_LOCATION % SILENT} }}")
    seen = json.dumps({key: f"${variable}" for key, variable in _SEEN.items()})
    return _NGINX % {"place": place, "seen": seen, "servers": "\n  ".join(servers)}


def _gateway(name: str, kind: str, ports: tuple[int, ...]) -> str:
    labels = f"app: {name}, istio: {kind}"
    listed = ", ".join(f"{{name: p{port}, port: {port}, targetPort: {10000 + port}}}" for port in ports)
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: istio-system}}
spec: {{type: LoadBalancer, selector: {{{labels}}}, ports: [{listed}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: istio-{kind}, namespace: istio-system}}
spec: {{selector: {{{labels}}}, ports: [{{name: http, port: {ports[0]}, targetPort: {10000 + ports[0]}}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: istio-system, labels: {{{labels}, sidecar.istio.io/inject: "false"}}}}
spec:
  containers:
  - name: gateway
    command: ["$(LAB_TIDEGATE)", "gateway"]
    args:
    - --selector=app={name},istio={kind}
    - --config=file:$(LAB_CLUSTER)
    - --ca-dir=$(LAB_CA_DIR)
    - --run-dir=$(LAB_POD_RUN)/g
    env:
    - {{name: POD_NAMESPACE, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}
    - {{name: NODE_NAME, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}
    ports: [{{containerPort: 15021}}]
    readinessProbe: {{httpGet: {{path: /healthz/ready, port: 15021}}, periodSeconds: 1, timeoutSeconds: 60}}
"""
