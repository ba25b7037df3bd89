"""Pods of stories about mutual TLS of the mesh: web servers inside of it, and an openssl outside that shows the
certificate in a file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.lab import ROOT
from tests.support.mesh_origin import certified, mesh_authority
from tidegate.model.identity import Certified

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: enabled}}\n"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}, sidecar.istio.io/inject: "{inject}"}}}}
spec:
  serviceAccountName: {account}
  containers:
  - name: c
    command: {command}
    ports: [{{containerPort: 8443, name: https}}]
{more}
"""
PROBE = "    readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 0.2, failureThreshold: 100, timeoutSeconds: 60}"
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: default}}
spec:
  host: {host}
  trafficPolicy:
    tls: {{mode: ISTIO_MUTUAL{more}}}
    connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}
"""
WEB = json.dumps(["/usr/bin/python3", str(ROOT / "tests/support/web.py"), "8443"])


def server(folder: Path, name: str, account: str, **how: str) -> tuple[str, Certified]:
    """A pod outside of the mesh, of one account, whose openssl shows the certificate of perhaps another; and that.
    folder: of the authority, and for files of the pod."""
    own = certified(mesh_authority(folder), account, lifetime=86_400)
    for suffix, content in (("pem", own.chain), ("key", own.key), ("ca", own.roots)):
        (folder / f"{name}.{suffix}").write_bytes(content)
    files = ["-cert", f"{folder}/{name}.pem", "-key", f"{folder}/{name}.key", "-CAfile", f"{folder}/{name}.ca"]
    verifying = ["-Verify", "2", "-verify_return_error"]
    command = ["/usr/bin/openssl", "s_server", "-accept", "8443", "-www", *files, *verifying]
    return POD.format(name=name, account=name, command=json.dumps(command), inject="false", more=PROBE), own
