"""A lab for stories: the real `tidegate lab` driven through its command line, as a user would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.eventually import HANG_SECONDS, eventually

ROOT = Path(__file__).resolve().parents[2]
TIDEGATE = Path(sys.executable).parent / "tidegate"
MANIFESTS = ROOT / "tests" / "support" / "manifests"
PROBE = ROOT / "tests" / "support" / "probe.py"
ASK = ROOT / "tests" / "support" / "ask.py"
REFUSAL = re.compile(r" WARNING tidegate\.xds\.\w+ \S+ refused ")
PATIENTLY = ("--timeout", str(HANG_SECONDS))


class Lab:
    """One lab by name. up() returns when it is effective; down() leaves nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.env = {**os.environ, "TIDEGATE_LAB": name}
        self.run_dir = Path("/run/tidegate-lab") / name
        self.program: list[str | Path] = [TIDEGATE]  # with what goes before it

    def tidegate(self, *args: str | Path, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the CLI against this lab; check=True raises AssertionError with all output if it fails."""
        command, limit = [*self.program, *args], 2 * HANG_SECONDS
        try:
            done = subprocess.run(
                command, env=self.env, input=stdin, capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not within {limit:.0f} s: tidegate {' '.join(map(str, args))}") from None
        if check:
            assert done.returncode == 0, (
                f"tidegate {' '.join(map(str, args))}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def up(self, *manifests: Path, nodes: int = 1, mesh: bool = True, domain: str = "") -> None:
        files = [part for manifest in manifests for part in ("-f", manifest)]
        how = ["--nodes", str(nodes), "--mesh", "on" if mesh else "off", "--cluster-domain", domain]
        self.tidegate("lab", "up", *files, *how, *PATIENTLY)

    def down(self, *, content: bool = False) -> None:
        """content: fails if an Envoy of the lab ever refused anything, also what it took later."""
        refused = self.refusals() if content else []
        self.tidegate("lab", "down")
        assert refused == [], "Envoys take all that they are told"

    def refusals(self) -> list[str]:
        """What Envoys of nodes and gateways refused since the lab is up, as their logs have it."""
        logs = [*self.run_dir.glob("**/agent.log"), *self.run_dir.glob("pods/*/*.log")]
        assert logs, "somebody keeps a log"
        return [line for log in logs for line in log.read_text(errors="replace").splitlines() if REFUSAL.search(line)]

    def apply(self, manifest: Path | str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Apply a file, or YAML text. Fails if something of it is not in force then, unless check is off."""
        path = manifest
        if isinstance(manifest, str):
            path = self.run_dir / "applied-by-test.yaml"
            path.write_text(manifest)
        return self.tidegate("lab", "apply", "-f", path, *PATIENTLY, check=check)

    def delete(self, manifest: Path) -> None:
        self.tidegate("lab", "delete", "-f", manifest, *PATIENTLY)

    def exec(
        self, pod: str, *command: str | Path, namespace: str = "default", check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return self.tidegate("lab", "exec", "-n", namespace, pod, "--", *command, check=check, stdin=stdin)

    def probe(self, pod: str, *command: str, namespace: str = "default") -> dict[str, Any]:
        """Run tests/support/probe.py in a pod and read its JSON."""
        done = self.exec(pod, "/usr/bin/python3", PROBE, *command, namespace=namespace)
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    def dial(self, pod: str, host: str, port: int, family: str = "4", namespace: str = "default") -> dict[str, Any]:
        """Connect and ask the server what it sees (probe.py dial). Raises AssertionError if that does not work."""
        seen = self.probe(pod, "dial", host, str(port), "--family", family, namespace=namespace)
        assert "error" not in seen, f"{pod} to {host} port {port} ({family}): {seen}"
        return seen

    def ask(self, pod: str, url: str, *options: str, namespace: str = "default") -> dict[str, Any]:
        """Run tests/support/ask.py in a pod and read its JSON."""
        done = self.exec(pod, "/usr/bin/python3", ASK, url, *options, namespace=namespace)
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    def start(self, pod: str, *command: str | Path, namespace: str = "default") -> subprocess.Popen[str]:
        """Start a command in a pod and go on; the caller reads its output with communicate()."""
        return subprocess.Popen(
            [*self.program, "lab", "exec", "-n", namespace, pod, "--", *command],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def load(self, pod: str, url: str, *options: str, namespace: str = "default") -> Load:
        """Start requests from a pod (options of ask.py) that go on until they are stopped."""
        return Load(self, pod, url, *options, namespace=namespace)

    def start_command(self, *args: str | Path) -> subprocess.Popen[str]:
        """Start the CLI and go on."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen([*self.program, *args], env=self.env, stdout=quiet, stderr=quiet, text=True)

    def start_on_node(self, node: str, *command: str | Path) -> subprocess.Popen[str]:
        """Start a command on a node, outside of any pod, and go on."""
        return self.start_command("lab", "node-exec", node, "--", *command)

    def pods(self) -> dict[str, dict[str, Any]]:
        """lab pods by namespace/name."""
        rows: list[dict[str, Any]] = json.loads(self.tidegate("lab", "pods", "-o", "json").stdout)
        return {f"{row['namespace']}/{row['name']}": row for row in rows}

    def address(self, pod: str, family: str) -> str:
        """The address of pod NAMESPACE/NAME that a socket of this family (see probe.py) uses."""
        ips: list[str] = self.pods()[pod]["ips"]
        return next(ip for ip in ips if (":" in ip) == (family in ("6", "v6only")))

    def node_dirs(self) -> Sequence[Path]:
        """Run directories of this lab's agents."""
        return sorted(path.parent for path in self.run_dir.glob("**/agent.sock"))

    def status(self, node: int = 0) -> dict[str, Any]:
        done = self.tidegate("status", "-o", "json", "--run-dir", self.node_dirs()[node], check=False)
        assert done.stdout, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)["nodes"][0]
        return value

    def metric(self, name: str, node: int = 0, **labels: str) -> float:
        """Sum of the samples of one metric whose labels include those given."""
        text = self.tidegate("metrics", "--run-dir", self.node_dirs()[node]).stdout
        total = 0.0
        for line in text.splitlines():
            if line.startswith(name + "{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total


class Load:
    """Requests from a pod, one after the other, until stop(); what they see can be waited for meanwhile."""

    def __init__(self, lab: Lab, pod: str, url: str, *options: str, namespace: str) -> None:
        self._process = subprocess.Popen(
            [
                *lab.program,
                "lab",
                "exec",
                "-n",
                namespace,
                pod,
                "--",
                "/usr/bin/python3",
                ASK,
                url,
                "--until-told",
                *options,
            ],
            env=lab.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._told: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._told.append(line.strip())

    def starts(self) -> None:
        """Wait for the first answer."""
        eventually(lambda: self._told, "a request is answered")

    def sees(self, version: str) -> None:
        """Wait until the newest answer that differs from the one before it came from this version."""
        eventually(lambda: self._told[-1:] == [f"now {version}"], f"requests are answered by {version}")

    def stop(self) -> dict[str, Any]:
        """End the load; returns what it counted (ask.py), with "told" = the versions in their order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        with self._process.stdout, self._process.stderr:
            out = self._process.stdout.read()
            self._process.wait(HANG_SECONDS)
            self._reader.join(HANG_SECONDS)
        assert self._process.returncode == 0, self._told
        value: dict[str, Any] = json.loads(out)
        return {**value, "told": [line.removeprefix("now ") for line in self._told]}
