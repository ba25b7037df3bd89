"""A node for the scale benchmark: real agent, Envoy and CNI plugin, pods that are network namespaces; no lab.

Everything is reached as a user reaches it: files in the agent's configuration directory, the CNI plugin, the agent's
status. Names begin with `tgscale`; down() leaves nothing, also of a run that was killed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench import scale_config as config
from tests.bench.processes import BenchError, Lines, Program, Unmet, run
from tests.bench.scale_host import cgroup2, empty, get_json, mounts_below

ROOT = Path(__file__).resolve().parents[2]
TOOLS, PLUGIN = ROOT / "build" / "bench", ROOT / "build" / "cni" / "tidegate"
TAG = "tgscale"
NODE, FAR = f"{TAG}-node", f"{TAG}-far"
PINS = Path("/sys/fs/bpf/tidegate-scale")
GIVE_UP_SECONDS = 600.0  # a benchmark's step that takes longer has failed
TRY_AGAIN = 11  # CNI's error code
READY_PORT = 15021  # Istio's, of the node's own network namespace

Status = dict[str, Any]


class Rig:
    """One node with `size.pods` + `size.spare` pods, none of them attached yet."""

    def __init__(self, size: config.Size, give_up: float = GIVE_UP_SECONDS) -> None:
        """give_up: seconds after which what was awaited is Unmet."""
        self.size = size
        self.give_up = give_up
        self.source = ""  # of configuration; none: the directory
        self.cgroup = cgroup2() / TAG
        self.work = Path()
        self.agent: subprocess.Popen[bytes] | None = None
        self.far: Program | None = None
        self.watchers: list[Watcher] = []
        self.containers = Counter[int]()  # how often each pod got a network namespace

    # --- the machine ------------------------------------------------------------------------------------------------
    def up(self) -> None:
        """Networks, server and configuration; the agent does not run yet."""
        self.down()
        if not os.path.ismount("/sys/fs/bpf"):
            run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
        self.work = Path(tempfile.mkdtemp(prefix=f"{TAG}-"))
        config.write(self.work / "config", self.size)
        (self.work / "run").mkdir(mode=0o700)
        for part in ("agent", "pods"):
            (self.cgroup / part).mkdir(parents=True)
        run("ip", "netns", "add", NODE)
        run("ip", "-n", NODE, "link", "set", "lo", "up")
        run("ip", "-n", NODE, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", NODE, "address", "add", "10.97.0.1/16", "dev", "br0")
        run("ip", "-n", NODE, "link", "set", "br0", "up")
        self._join(FAR, "10.97.0.2")
        run("ip", "-n", FAR, "route", "add", "local", config.ENDPOINTS, "dev", "lo")
        run("ip", "-n", NODE, "route", "add", config.ENDPOINTS, "via", "10.97.0.2")
        for number in range(self.size.pods + self.size.spare):
            self.join(number)
            (self.cgroup / "pods" / str(number)).mkdir()
        server = [str(TOOLS / "httpserver"), str(config.TARGET), "64"]
        self.far = Program("server", ["nsenter", f"--net=/run/netns/{FAR}", "--", *server])

    def join(self, number: int) -> None:
        """The network namespace of a pod."""
        self.containers[number] += 1
        self._join(netns(number), config.pod_ip(number))
        run("ip", "-n", netns(number), "route", "add", "default", "via", "10.97.0.1")
        run("ip", "-n", netns(number), "route", "add", config.ENDPOINTS, "via", "10.97.0.2")

    def renew(self, number: int) -> None:
        """A pod that left comes back as a new sandbox: nothing may be known of its network namespace."""
        run("ip", "-n", NODE, "link", "delete", netns(number).removeprefix(f"{TAG}-"))
        run("ip", "netns", "delete", netns(number))
        self.join(number)

    def _join(self, name: str, address: str) -> None:
        """A network namespace with an address on the node's bridge."""
        run("ip", "netns", "add", name)
        port = name.removeprefix(f"{TAG}-")
        run("ip", "-n", NODE, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "-n", NODE, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "address", "add", f"{address}/16", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")

    def down(self) -> None:
        for watcher in self.watchers:
            watcher.close()
        self.watchers.clear()
        if self.agent is not None:
            self.stop_agent()
        if self.far is not None:
            self.far.stop()
            self.far = None
        empty(self.cgroup)
        for path in Path("/run/netns").glob(f"{TAG}-*"):
            run("ip", "netns", "delete", path.name)
        shutil.rmtree(PINS, ignore_errors=True)
        if self.work != Path():
            for mount in mounts_below(self.work):  # names that Envoy opens namespaces by, of pods that never left
                run("umount", mount)
            shutil.rmtree(self.work)
            self.work = Path()

    # --- the agent --------------------------------------------------------------------------------------------------
    @property
    def run_dir(self) -> Path:
        return self.work / "run"

    def start_agent(self, **environ: str) -> float:
        """Start it and return at once; the moment, in monotonic seconds."""
        command = [sys.executable, "-m", "tidegate", "agent", "--node", "scale", "--drain-seconds", "0"]
        source = self.source or f"file:{self.work / 'config'}"
        command += ["--config", source, "--run-dir", str(self.run_dir)]
        command += ["--bpffs", str(PINS), "--cgroup", str(self.cgroup), "--workers", "1"]
        for port in ("--admin-port", "--metrics-port"):
            command += [port, "0"]
        enter = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
        inside = ["nsenter", f"--net=/run/netns/{NODE}", "--", *command]
        begun = time.monotonic()
        with (self.work / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                ["sh", "-c", enter, str(self.cgroup / "agent"), *inside],
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return begun

    def stop_agent(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the agent alone, if that is what an agent does by itself."""
        if self.agent is not None:
            self.agent.send_signal(number)
            try:
                self.agent.wait(120)
            except subprocess.TimeoutExpired:
                self.agent.kill()
                self.agent.wait(60)
            self.agent = None

    def end(self) -> None:
        """The agent and all that it started and that outlives it."""
        self.stop_agent()
        deadline = time.monotonic() + self.give_up
        while any(self.members()) and time.monotonic() < deadline:
            for pid in self.members():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def members(self) -> list[int]:
        """Processes of the agent's cgroup and below it."""
        found = []
        for procs in (self.cgroup / "agent").rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in procs.read_text().split()]
        return found

    def status(self) -> Status:
        """What `tidegate status` asks the agent for. Raises BenchError while it does not answer."""
        try:
            return dict(get_json(self.run_dir / "agent.sock", "/status"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BenchError(f"the agent does not answer: {error}") from error

    def wait(self, what: str, reached: Callable[[Status], Any], pace: float = 0.05) -> tuple[float, Status]:
        """Until the status says so: the moment (monotonic seconds), and what it said."""
        deadline = time.monotonic() + self.give_up
        last = ""
        while time.monotonic() < deadline:
            self.alive()
            try:
                status = self.status()
                if reached(status):
                    return time.monotonic(), status
                last = json.dumps({name: status.get(name) for name in ("unhealthy", "applied")})
            except BenchError as error:
                last = str(error)
            time.sleep(pace)
        raise Unmet(f"{what}: not within {self.give_up:.0f} s; {last}; {self.log_end()}")

    def alive(self) -> None:
        if self.agent is not None and self.agent.poll() is not None:
            raise Unmet(f"the agent ended with {self.agent.returncode}: {self.log_end()}")

    def log_end(self) -> str:
        return (self.work / "agent.log").read_text(errors="replace")[-1500:]

    def pids(self, name: str) -> list[int]:
        """Processes below the agent's cgroup with this name (comm)."""
        found = []
        for pid in self.members():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith(name[:15]):
                    found.append(pid)
        return found

    def ready(self) -> int:
        """The status that the node's readiness probe gets."""
        probe = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{READY_PORT}/healthz/ready"]
        return int(run("nsenter", f"--net=/run/netns/{NODE}", "--", *probe))

    # --- pods -------------------------------------------------------------------------------------------------------
    def cni(self, verb: str, number: int) -> float:
        """One call of the plugin as a runtime makes it, tried again when that is the answer. Milliseconds."""
        begun = time.monotonic()
        while True:
            done = self.call(verb, number)
            if done.returncode == 0:
                return (time.monotonic() - begun) * 1000
            code = json.loads(done.stdout or "{}").get("code")
            if code != TRY_AGAIN or time.monotonic() - begun > self.give_up:
                raise Unmet(f"CNI {verb} of pod {number}: {done.stdout}{done.stderr}; {self.log_end()}")

    def call(
        self, verb: str, number: int, ifname: str = "eth0", ip: str = "", **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """One call of the plugin, whatever comes of it. more: keys of the network configuration."""
        result = {"cniVersion": "1.0.0", "ips": [{"address": f"{ip or config.pod_ip(number)}/16"}]}
        socket = str(self.run_dir / "cni.sock")
        body = {"cniVersion": "1.0.0", "name": TAG, "type": "tidegate", "agentSocket": socket, **more}
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.container(number),
            "CNI_NETNS": f"/run/netns/{netns(number)}",
            "CNI_IFNAME": ifname,
            "CNI_ARGS": f"K8S_POD_NAMESPACE={config.NAMESPACE};K8S_POD_NAME=local-{number}",
            "CNI_PATH": str(PLUGIN.parent),
        }
        stdin = json.dumps({**body, "prevResult": result})
        return subprocess.run([PLUGIN], input=stdin, env=environ, capture_output=True, text=True, check=False)

    def container(self, number: int) -> str:
        """The id of the container that a pod is now."""
        return f"{TAG}-{number}-{self.containers[number]}"

    def enrol(self) -> None:
        """Attach the pods that stay, several at a time as after a node's start."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: self.cni("ADD", number), range(self.size.pods)))

    def watcher(self, number: int = 0) -> Watcher:
        """A client in a pod."""
        made = Watcher(self, number)
        self.watchers.append(made)
        return made


class Watcher:
    """scale_watch.py as a process of a pod: in its network namespace and in its cgroup."""

    def __init__(self, rig: Rig, number: int) -> None:
        enter = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
        command = ["sh", "-c", enter, str(rig.cgroup / "pods" / str(number))]
        command += ["nsenter", f"--net=/run/netns/{netns(number)}", "--"]
        command += ["/usr/bin/python3", "-u", str(ROOT / "tests" / "bench" / "scale_watch.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdout is not None
        self._patience = rig.give_up
        self._answers = Lines(self._process.stdout.fileno())

    def tell(self, **request: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def answer(self) -> Mapping[str, Any]:
        """The next answer. Raises Unmet if it is an error or none comes."""
        line = self._answers.line(self._patience)
        if not line:
            raise Unmet("the client in the pod does not answer: the change is not in force")
        value: dict[str, Any] = json.loads(line)
        if "error" in value:
            raise Unmet(f"a request of the pod failed: {value['error']}")
        return value

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def netns(number: int) -> str:
    return f"{TAG}-p{number}"
