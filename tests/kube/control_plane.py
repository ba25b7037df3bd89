"""etcd, the API server, the controllers and the scheduler, as on a machine of their own."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.kube import fabric, pki
from tests.kube.api import Api
from tests.kube.fabric import Fabric
from tests.support.eventually import eventually

_HERE = Path(__file__).resolve().parent
_SCRIPT = (sys.executable, "-P")  # what is beside a script of ours is not what others import
PORT = 6443
ETCD, ETCD_PEER = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
API_SERVER, CONTROLLERS, SCHEDULER = "kube-apiserver", "kube-controller-manager", "kube-scheduler"
# In the order in which they start: the controllers end at once where the first roles are not there yet.
PROGRAMS = ("etcd", API_SERVER, CONTROLLERS, SCHEDULER)
DOOR = "door"
NAMES = "names"  # the cluster's DNS


class ControlPlane:
    """folder: for its files. programs: folder of the programs. keys: who may talk to it."""

    def __init__(self, folder: Path, programs: Path, keys: pki.Pki, wire: Fabric) -> None:
        self.folder, self.keys = folder, keys
        self._programs, self._wire = programs, wire
        self.port = 0  # on the machine's loopback

    @property
    def api(self) -> Api:
        """The way of the administrator, from the machine."""
        return self.api_of("admin")

    def api_of(self, user: str) -> Api:
        """The way of a user of pki.COMPONENTS."""
        return Api("127.0.0.1", self.port, self.keys.authority, self.keys.token(user))

    def begin(self) -> None:
        """Start etcd and the API server; is_ready() says when they serve."""
        self.folder.mkdir(exist_ok=True)
        pki.write_kubeconfigs(self.keys, "inside", f"https://{fabric.ADDRESS}:{PORT}")
        for name in PROGRAMS[:2]:
            self.start(name)

    def finish(self) -> None:
        """Wait for the API server, then start the others."""
        eventually(self.is_ready, f"the API server is ready, see {self._wire.room.log(API_SERVER)}")
        for name in (*PROGRAMS[2:], NAMES):
            self.start(name)
        for path, one in dns_objects():
            # The first addresses are given out a moment after the server is ready.
            eventually(partial(self.api.text, path, "POST", one), f"{one['kind']} kube-dns is made")

    def is_ready(self) -> bool:
        """Whether the API server says so, with all its first roles made."""
        return self.api.text("/readyz") == "ok"

    def start(self, name: str) -> None:
        """Start one of PROGRAMS, DOOR or NAMES."""
        if name == DOOR:
            self.open_door()
        elif name == NAMES:
            url = f"https://{fabric.ADDRESS}:{PORT}"
            words = (url, self.keys.authority, self.keys.token("admin"), fabric.ADDRESS)
            self._wire.room.start(name, *_SCRIPT, _HERE / "names.py", *words)
        else:
            self._wire.room.start(name, self._programs / name, *self._arguments(name))

    def stop(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End one of PROGRAMS, DOOR or NAMES; an API server with an open watch ends by SIGKILL alone."""
        self._wire.room.stop(name, number)

    def open_door(self) -> None:
        """Make the API server reachable on the machine's loopback; at the same port as before, if there was one."""
        with socket.create_server(("127.0.0.1", self.port)) as listening:
            self.port = listening.getsockname()[1]
            number = listening.fileno()
            words = (str(number), fabric.ADDRESS, str(PORT))
            self._wire.room.start(DOOR, *_SCRIPT, _HERE / "door.py", *words, fds=[number])
        pki.write_kubeconfigs(self.keys, "outside", self.api.url)

    def write(self, lines: str) -> None:
        """Write objects into etcd without the API server; lines: see bulk.py."""
        self._wire.room.run(*_SCRIPT, _HERE / "bulk.py", ETCD, text=lines)

    def _arguments(self, name: str) -> Sequence[str]:
        keys, config = self.keys.folder, str(self.keys.kubeconfig(name))
        by_kubeconfig = [f"--{kind}kubeconfig={config}" for kind in ("", "authentication-", "authorization-")]
        match name:
            case "etcd":
                return [
                    f"--data-dir={self.folder}/etcd",
                    f"--listen-client-urls={ETCD}",
                    f"--advertise-client-urls={ETCD}",
                    f"--listen-peer-urls={ETCD_PEER}",
                    f"--initial-advertise-peer-urls={ETCD_PEER}",
                    f"--initial-cluster=default={ETCD_PEER}",
                    "--unsafe-no-fsync",
                    "--log-level=warn",
                ]
            case "kube-apiserver":
                return [
                    f"--etcd-servers={ETCD}",
                    "--bind-address=0.0.0.0",
                    f"--secure-port={PORT}",
                    f"--advertise-address={fabric.ADDRESS}",
                    f"--tls-cert-file={keys}/api.crt",
                    f"--tls-private-key-file={keys}/api.key",
                    f"--client-ca-file={keys}/ca.crt",
                    f"--token-auth-file={keys}/tokens.csv",
                    "--authorization-mode=Node,RBAC",
                    "--enable-admission-plugins=NodeRestriction",
                    f"--service-account-key-file={keys}/sa.pub",
                    f"--service-account-signing-key-file={keys}/sa.key",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-cluster-ip-range={fabric.SERVICES}",
                    "--allow-privileged=true",
                    f"--cert-dir={self.folder}/apiserver",
                    "--profiling=false",
                    # Nodes' names are in no DNS: `kubectl logs` and `exec` go to their addresses.
                    "--kubelet-preferred-address-types=InternalIP",
                    # There is no kube-proxy here: webhooks are called at their pods' addresses.
                    "--enable-aggregator-routing=true",
                ]
            case "kube-controller-manager":
                return [
                    *by_kubeconfig,
                    "--leader-elect=false",
                    # Otherwise it may not write kube-root-ca.crt, and every pod that mounts a token hangs.
                    "--use-service-account-credentials=true",
                    f"--service-account-private-key-file={keys}/sa.key",
                    f"--root-ca-file={keys}/ca.crt",
                    "--bind-address=127.0.0.1",
                    "--allocate-node-cidrs=true",
                    f"--cluster-cidr={fabric.PODS}",
                    f"--cert-dir={self.folder}/controllers",
                    f"--flex-volume-plugin-dir={self.folder}/volume-plugins",  # the default is made below /usr
                ]
            case "kube-scheduler":
                return [*by_kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1"]
        raise ValueError(f"{name}: no program of a control plane")


def dns_objects() -> list[tuple[str, dict[str, Any]]]:
    """Path and body of what leads from the address that pods ask for names to NAMES."""
    named = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [{"name": f"dns-{kind.lower()}", "port": 53, "protocol": kind} for kind in ("UDP", "TCP")]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**named, "labels": {"k8s-app": "kube-dns"}},
        "spec": {"clusterIP": fabric.DNS_ADDRESS, "ports": ports},
    }
    behind = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**named, "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [fabric.ADDRESS], "conditions": {"ready": True}}],
        "ports": ports,
    }
    place = f"namespaces/{named['namespace']}"
    return [
        (f"/api/v1/{place}/services", service),
        (f"/apis/discovery.k8s.io/v1/{place}/endpointslices", behind),
    ]
