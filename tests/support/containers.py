"""Real containers (podman, runc, the reference CNI plugins) and an agent started as on a node, in a mount namespace of
their own: nothing of them is in the machine's /etc/cni, /var/lib/containers or /run.

The machine's tests may run without CAP_SYS_RESOURCE and on a hybrid cgroup tree: limits are set low, and cgroup v2 is
mounted where runc looks for it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.eventually import HANG_SECONDS, eventually
from tidegate.bpf.pins import Pins
from tidegate.linux.cgroup import cgroup2_mount

IMAGE = "localhost/host:1"
REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = Path("/usr/lib/cni")
_HOLD = "mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && \
mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && mkdir /run/netns && echo ready && exec sleep infinity"


def confined() -> list[str]:
    """The part of a command line that leaves a program no more capabilities than our systemd unit does."""
    unit = (REPOSITORY / "deploy" / "systemd" / "tidegate.service").read_text()
    line = next(line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet="))
    kept = [f"+{name.removeprefix('CAP_').lower()}" for name in line.partition("=")[2].split()]
    return ["setpriv", "--no-new-privs", f"--bounding-set={','.join(['-all', *kept])}", "--"]


class ContainerNode:
    """One node without Kubernetes. name: short, it is part of the names of links, cgroup and pins."""

    def __init__(self, name: str, directory: Path, subnet: str) -> None:
        self.name, self.directory = name, directory
        self.conf_dir, self.bin_dir, self.config = (directory / d for d in ("net.d", "bin", "config"))
        self.run_dir = directory / "run"
        self.cgroup = cgroup2_mount() / f"tgc-{name}"
        self.pins = Pins(Path("/sys/fs/bpf/tidegate") / f"containers-{name}")
        self.bridge = f"tgc{name}"
        self.agent: subprocess.Popen[bytes] | None = None
        for path in (self.conf_dir, self.bin_dir, self.config, self.run_dir, directory / "rootfs"):
            path.mkdir(parents=True)
        for path in (self.cgroup, self.cgroup / "agent"):
            path.mkdir()
        self._write_configuration(subnet)
        hold = ["unshare", "--mount", "--", "sh", "-ec", _HOLD]
        self._holder = subprocess.Popen(hold, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self._holder.stdout.close()
        self._import_image()

    def _write_configuration(self, subnet: str) -> None:
        for plugin in ("bridge", "host-local", "loopback"):
            shutil.copy(PLUGINS / plugin, self.bin_dir)
        ranges, routes = [[{"subnet": subnet}]], [{"dst": "0.0.0.0/0"}]
        ipam = {"type": "host-local", "dataDir": str(self.directory / "ipam"), "ranges": ranges, "routes": routes}
        bridge = {"type": "bridge", "bridge": self.bridge, "isGateway": True, "ipam": ipam}
        for file, network, plugins in (("10-mesh", "mesh", [bridge]), ("20-plain", "plain", [bridge])):
            body = {"cniVersion": "0.4.0", "name": network, "plugins": plugins}
            (self.conf_dir / f"{file}.conflist").write_text(json.dumps(body, indent=2))
        (self.directory / "containers.conf").write_text(
            f"""[containers]
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024", "memlock=65536:65536"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["{self.bin_dir}"]
network_config_dir = "{self.conf_dir}"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
"""
        )
        (self.directory / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def _import_image(self) -> None:
        """An image of empty directories; the machine's /usr is bound into each container, so no registry is needed."""
        for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "run"):
            (self.directory / "rootfs" / name).mkdir()
        for name in ("bin", "lib", "lib64"):
            (self.directory / "rootfs" / name).symlink_to(f"usr/{name}")
        subprocess.run(["tar", "-C", self.directory / "rootfs", "-cf", self.directory / "image.tar", "."], check=True)
        self.podman("import", str(self.directory / "image.tar"), IMAGE)

    def inside(self, *argv: str) -> list[str]:
        """argv, run where the runtime runs: in our mount namespace."""
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--wdns={REPOSITORY}", "--", *argv]

    def podman(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        flags = [f"--{option}={self.directory / option}" for option in ("root", "runroot", "tmpdir")]
        environment = {"CONTAINERS_CONF": str(self.directory / "containers.conf"), "HOME": str(self.directory)}
        done = subprocess.run(
            self.inside("podman", *flags, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", *argv),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_SECONDS,
        )
        assert not check or done.returncode == 0, f"podman {' '.join(argv)}: {done.stderr}"
        return done

    def start(
        self, name: str, *command: str, network: str = "mesh", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a container in the background. check=False: the caller looks at the exit code."""
        flags = [
            "--name",
            name,
            "--hostname",
            name,
            "--network",
            network,
            "--cgroup-parent",
            f"/{self.cgroup.name}/pods",
        ]
        flags += ["--volume", "/usr:/usr:ro", "--volume", f"{REPOSITORY / 'tests'}:/tests:ro"]
        return self.podman("run", "--detach", *flags, IMAGE, *command, check=check)

    def in_container(self, name: str, *command: str) -> Any:
        """The JSON that a command in a running container prints."""
        return json.loads(self.podman("exec", name, *command).stdout)

    def address(self, name: str, network: str = "mesh") -> str:
        path = '{{(index .NetworkSettings.Networks "' + network + '").IPAddress}}'
        return self.podman("inspect", "--format", path, name).stdout.strip()

    def tidegate(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.inside(sys.executable, "-m", "tidegate", *argv), capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"tidegate {' '.join(argv)}: {done.stderr}"
        return done

    def start_agent(self, *flags: str) -> None:
        """As the unit would, in a cgroup of its own and with the unit's capabilities; returns when it is well."""
        command = [sys.executable, "-m", "tidegate", *self._agent(), "--workers", "1"]
        for port in ("--admin-port", "--metrics-port", "--ready-port"):
            command += [port, "0"]
        enter = f"echo 0 > /sys/fs/cgroup/{self.cgroup.name}/agent/cgroup.procs"
        with (self.directory / "agent.log").open("ab") as out:
            self.agent = subprocess.Popen(
                self.inside("sh", "-c", enter + ' && exec "$@"', "sh", *confined(), *command, *flags),
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        eventually(lambda: self.status()["healthy"], f"the agent is well, see {self.directory}/agent.log")

    def _agent(self) -> list[str]:
        command = ["agent", "--node", self.name, "--config", f"file:{self.config}", "--run-dir", str(self.run_dir)]
        command += ["--bpffs", str(self.pins.root), "--cgroup", f"/sys/fs/cgroup/{self.cgroup.name}"]
        return [*command, "--drain-seconds", "0.5"]

    def end_mesh(self) -> None:
        """What is done before the packages go: the agent is stopped, then nothing of it is left to run."""
        self.end_agent()
        self.tidegate(*self._agent(), "--end")

    def end_agent(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.agent is not None:
            self.agent.send_signal(number)
            self.agent.wait(HANG_SECONDS)
            self.agent = None

    def status(self) -> dict[str, Any]:
        done = self.tidegate("status", "--run-dir", str(self.run_dir), "-o", "json", check=False)
        assert done.returncode in (0, 1), done.stderr
        value: dict[str, Any] = json.loads(done.stdout)["nodes"][0]
        return value

    def pods(self) -> dict[str, tuple[str, str]]:
        """State and reason of each container that the agent knows, by namespace/name."""
        return {f"{p['namespace']}/{p['name']}": (p["state"], p["reason"]) for p in self.status()["pods"]}

    def cni(self, verb: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        where = ["--conf-dir", str(self.conf_dir), "--bin-dir", str(self.bin_dir), "--run-dir", str(self.run_dir)]
        return self.tidegate("cni", verb, *where, *argv, check=check)

    def close(self) -> None:
        """Remove everything, whatever state it is in."""
        self.podman("rm", "--all", "--force", "--time", "0", check=False)
        self.end_mesh()
        self._holder.kill()
        self._holder.wait()
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)
        shutil.rmtree(self.pins.root, ignore_errors=True)
        eventually(self._remove_cgroups, "the cgroups are empty")
        shutil.rmtree(self.directory)

    def _remove_cgroups(self) -> bool:
        for path in sorted(self.cgroup.rglob("*/"), reverse=True):
            if path.is_dir():
                try:
                    path.rmdir()
                except OSError:
                    return False
        self.cgroup.rmdir()
        return True
