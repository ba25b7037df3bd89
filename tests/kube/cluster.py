"""A real Kubernetes on this machine: etcd, API server, controllers, scheduler; nodes with kubelet, containerd and runc.

    with Cluster("mine", nodes=2) as cluster:
        cluster.apply(pod("web", "python3", "/tests/support/web.py", "8080"))
        cluster.kubectl("get", "pods")

Everything is in namespaces and cgroups that carry its name; only the API server is reached from the machine, on its
loopback.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.kube import images, pki, rooms
from tests.kube.api import Api, condition
from tests.kube.building import Programs
from tests.kube.building import programs as built
from tests.kube.bulk import key
from tests.kube.control_plane import ControlPlane
from tests.kube.fabric import ADDRESS, API_ADDRESS, Fabric
from tests.kube.node import KUBELET, PROXY, Node, node_name
from tests.support.eventually import HANG_SECONDS, eventually
from tidegate.linux.cgroup import cgroup2_mount

ROOT = Path(
    "/var/tmp"
)  # on a disk, and what a runtime's layers may lie on; folders that are locked are left alone there
PREFIX = "tidegate-kube-"
LOGS = Path(__file__).resolve().parents[2] / "build" / "kube-logs"
MAX_NODES = 5  # tokens for all of them are made beforehand
Objects = dict[str, Any] | list[dict[str, Any]] | str


class Cluster:
    """One cluster by name. up() returns when every node is ready; down() leaves nothing."""

    def __init__(self, name: str, nodes: int = 2, programs: Programs | None = None) -> None:
        """nodes: how many are there after up(), 0 to MAX_NODES; programs: built if they are not given."""
        assert nodes <= MAX_NODES, f"{nodes} nodes: {MAX_NODES} at most"
        self.name, self.folder = name, ROOT / f"{PREFIX}{name}"
        self.logs = self.folder / "logs"
        self.group = cgroup2_mount() / self.folder.name
        self.programs = programs or built(lambda line: print(f"kube: {line}", file=sys.stderr, flush=True))
        self.wire = Fabric(self.group / "control", self.logs)
        self.keys = pki.Pki(self.folder / "pki")
        self.control = ControlPlane(self.folder / "control", self.programs.kubernetes, self.keys, self.wire)
        self.nodes = [self._node(number) for number in range(1, nodes + 1)]

    @classmethod
    def attach(cls, name: str) -> Self:
        """A cluster that somebody else has started. Raises LookupError if there is none of this name."""
        try:
            state = json.loads((ROOT / f"{PREFIX}{name}" / "cluster.json").read_text())
        except FileNotFoundError:
            raise LookupError(f"no cluster {name} is up") from None
        found = cls(name, state["nodes"], Programs(*(Path(path) for path in state["programs"])))
        found.control.port = state["port"]
        found.wire.find()
        for node in found.nodes:
            node.find()
        return found

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # --- whole ------------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start everything; returns when all nodes are ready.

        If that fails, what was started is ended, and what the programs said is below LOGS.
        """
        assert os.geteuid() == 0, "a cluster is made of namespaces and cgroups: run this as root"
        sweep()
        lock = _claim(self.folder)
        try:
            self._up(lock)
        except BaseException as error:
            error.add_note(f"what its programs said is in {LOGS / self.name}")
            self.down(LOGS / self.name)
            raise
        finally:
            os.close(lock)

    def _up(self, lock: int) -> None:
        addresses = [ADDRESS, API_ADDRESS, "127.0.0.1"]
        pki.make(self.keys.folder, addresses, [node_name(number) for number in range(1, MAX_NODES + 1)])
        self.wire.make(lock)
        self.control.begin()
        self.control.open_door()
        (self.folder / "images").mkdir()
        images.write_pause(self.folder / "images" / "pause.tar")
        images.write_host(self.folder / "images" / "host.tar")
        for node in self.nodes:
            node.boot(self.wire)
        self.control.finish()
        for node in self.nodes:
            node.start(KUBELET)
            node.start(PROXY)
        self.connect()
        self._remember()

    def down(self, logs: Path | None = None) -> None:
        """End and remove everything, whatever state it is in. logs: folder that gets what the programs have said."""
        rooms.empty(self.group)
        self.forget()
        if logs is not None and self.logs.exists():
            shutil.copytree(self.logs, logs, dirs_exist_ok=True)
        remove(self.name)

    def forget(self) -> None:
        """Collect what this process has started and somebody has ended."""
        for node in self.nodes:
            node.forget()
        self.wire.forget()

    def connect(self) -> None:
        """Give each node its network, when the controllers have said which; returns when all are ready."""
        subnets = {node.name: self.subnet(node) for node in self.nodes}
        for node in self.nodes:
            others = [(subnets[other.name], other.address) for other in self.nodes if other is not node]
            node.connect(subnets[node.name], others)
            self.wire.route(subnets[node.name], node.address)
        for node in self.nodes:
            what = f"{node.name} is ready, see {node.room.log(KUBELET)}"
            eventually(partial(self.is_ready, node), what)

    # --- nodes ------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """By name: node1, node2, ..."""
        return next(node for node in self.nodes if node.name == name)

    def subnet(self, node: Node) -> str:
        """Where a node's pods have their addresses; in order of registration, not of names."""
        what = f"{node.name} is registered and has a subnet, see {node.room.log(KUBELET)}"
        return eventually(lambda: str(self._api_node(node)["spec"].get("podCIDR", "")), what)

    def is_ready(self, node: Node) -> bool:
        """Whether the API server says so."""
        return condition(self._api_node(node), "Ready") == "True"

    def add_node(self, *, network: bool = True) -> Node:
        """One more. network: off leaves it without a CNI configuration, so it does not get ready before connect()."""
        node = self._node(len(self.nodes) + 1)
        assert node.number <= MAX_NODES, f"{node.name}: {MAX_NODES} at most"
        node.boot(self.wire)
        self.nodes.append(node)
        node.start(KUBELET)
        node.start(PROXY)
        if network:
            self.connect()
        self._remember()
        return node

    def remove_node(self, node: Node) -> None:
        """Power it off for good and delete it from the API."""
        node.power_off()
        rooms.empty(node.group)
        shutil.rmtree(node.folder)
        self.kubectl("delete", "node", node.name, "--ignore-not-found")
        self.nodes.remove(node)
        self._remember()

    def reboot(self, node: Node) -> None:
        """Pull a node's plug and power it on again; returns when kubelet has said that it is ready since."""
        node.power_off()
        before = self._heartbeat(node)
        node.boot(self.wire)
        node.start(KUBELET)
        node.start(PROXY)
        eventually(lambda: self._heartbeat(node) != before, f"kubelet of {node.name} reports again")
        self.connect()

    def load_image(self, archive: Path) -> None:
        """Take up an image archive on every node, and on those that come later."""
        shutil.copy(archive, self.folder / "images" / archive.name)
        for node in self.nodes:
            node.load(archive)

    def _node(self, number: int) -> Node:
        name = node_name(number)
        place = self.group / name, self.folder / name, self.logs / name
        return Node(number, *place, self.programs, self.keys)

    def _api_node(self, node: Node) -> dict[str, Any]:
        return self.api.get(f"/api/v1/nodes/{node.name}")

    def _heartbeat(self, node: Node) -> str:
        lease = self.api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node.name}")
        return str(lease["spec"]["renewTime"])

    # --- the API ----------------------------------------------------------------------------------------------------

    @property
    def api(self) -> Api:
        """The administrator's way to the API server, from this machine."""
        return self.control.api

    def api_of(self, user: str) -> Api:
        """Another user's: pki.COMPONENTS."""
        return self.control.api_of(user)

    def kubeconfig(self, user: str = "admin") -> Path:
        """For clients on this machine."""
        return self.keys.kubeconfig(user, "outside")

    def environment(self, user: str = "admin") -> dict[str, str]:
        """Variables by which programs of this machine find the cluster, its kubectl and our plugins of kubectl."""
        path = [str(self.programs.kubernetes), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig(user)), "PATH": ":".join(path)}

    def kubectl(
        self, *argv: str | Path, user: str = "admin", check: bool = True, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as a user of pki.COMPONENTS; check: AssertionError with all output if it fails."""
        command = [str(self.programs.kubernetes / "kubectl"), *map(str, argv)]
        environment = {**self.environment(user), "HOME": str(self.folder)}
        try:
            done = subprocess.run(
                command,
                env=environment,
                input=text,
                capture_output=True,
                text=True,
                timeout=2 * HANG_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not within {2 * HANG_SECONDS:.0f} s: {' '.join(command)}") from None
        assert not check or done.returncode == 0, (
            f"kubectl {' '.join(command[1:])}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def apply(self, objects: Objects, user: str = "admin") -> None:
        """kubectl apply: objects as a mapping, several of them, or YAML text."""
        self.kubectl("apply", "-f", "-", user=user, text=_document(objects))

    def delete(self, objects: Objects) -> None:
        """kubectl delete; returns when they are gone."""
        self.kubectl("delete", "--wait", "--ignore-not-found", "-f", "-", text=_document(objects))

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """An object as kubectl gets it. Raises AssertionError if it is not there."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json").stdout)
        return found

    def exec(
        self, pod: str, *argv: str | Path, namespace: str = "default", check: bool = True, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a pod."""
        return self.kubectl("exec", "-i", "-n", namespace, pod, "--", *argv, check=check, text=text)

    def pod(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """A pod by name, asked without kubectl: cheap enough to wait with. Raises ApiError (an AssertionError)."""
        return self.api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def ready(self, *names: str, namespace: str = "default") -> None:
        """Wait until these pods are ready."""
        for name in names:
            eventually(partial(self._ready, name, namespace), f"pod {namespace}/{name} is ready")

    def _ready(self, name: str, namespace: str) -> bool:
        found = self.pod(name, namespace)
        assert condition(found, "Ready") == "True", found["status"]
        return True

    def namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        """Make a namespace; returns when pods can be made in it."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        eventually(lambda: self.api.get(path), f"namespace {name} has its service account")

    def write(self, plural: str, objects: list[dict[str, Any]]) -> None:
        """Write objects into etcd, beside the API server; plural: see bulk.key()."""
        rows = [
            f"{key(plural, one['metadata'].get('namespace', ''), one['metadata']['name'])}\t{json.dumps(one)}\n"
            for one in objects
        ]
        self.control.write("".join(rows))

    def _remember(self) -> None:
        paths = [str(self.programs.kubernetes), str(self.programs.containerd)]
        state = {"nodes": len(self.nodes), "port": self.control.port, "programs": paths}
        (self.folder / "cluster.json").write_text(json.dumps(state))


def remove(name: str) -> None:
    """End and remove a cluster by its name alone, also one that was killed; nothing if there is none."""
    folder = ROOT / f"{PREFIX}{name}"
    rooms.empty(cgroup2_mount() / folder.name)
    if folder.exists():
        shutil.rmtree(folder)


def sweep() -> None:
    """Remove what is left of clusters whose processes somebody has killed: a folder that nobody has locked."""
    for folder in _folders():
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(folder)
            try:
                rooms.empty(cgroup2_mount() / folder.name)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def running() -> list[str]:
    """Names of the clusters that are there, in other mount and PID namespaces too."""
    return [folder.name.removeprefix(PREFIX) for folder in _folders() if _held(folder)]


def _folders() -> list[Path]:
    return sorted(folder for folder in ROOT.glob(f"{PREFIX}*") if folder.is_dir())


def _claim(folder: Path) -> int:
    """Make a folder; returns a descriptor that says that it is in use as long as anybody has it.

    Raises AssertionError if it is taken.
    """
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    fresh.mkdir(mode=0o700)
    lock = _lock(fresh)
    try:
        fresh.rename(folder)  # which fails if there is something in it, and it never appears unlocked
    except OSError:
        os.close(lock)
        fresh.rmdir()
        raise AssertionError(f"{folder} is there already: `python -m tests.kube down` removes a cluster") from None
    return lock


def _held(folder: Path) -> bool:
    try:
        os.close(_lock(folder))
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _lock(folder: Path) -> int:
    """Raises BlockingIOError if somebody has it, FileNotFoundError."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _document(objects: Objects) -> str:
    if isinstance(objects, str):
        return objects
    listed = objects if isinstance(objects, list) else [objects]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": listed})
