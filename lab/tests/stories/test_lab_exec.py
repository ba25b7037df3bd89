"""Processes in a pod: what they see, and what passes through `lab exec`, `node-exec`, `logs` and `expose`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.support.cgroup import sole_member
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.lab import MANIFESTS, TIDEGATE, Lab


def test_streams_and_exit_code_pass_through(plain_lab: Lab) -> None:
    done = plain_lab.exec("one", "sh", "-c", "cat; echo oops >&2; exit 7", stdin="through\n", check=False)
    assert (done.returncode, done.stdout) == (7, "through\n")
    assert "oops" in done.stderr


def test_options_of_the_program_stay_its_own(plain_lab: Lab) -> None:
    assert plain_lab.exec("one", "printf", "%s|", "-n", "--help", "a b", "").stdout == "-n|--help|a b||"


def test_binary_data_passes_through_unchanged(plain_lab: Lab) -> None:
    data = bytes(range(256)) * 4096
    command = [TIDEGATE, "lab", "exec", "one", "--", "cat"]
    assert subprocess.run(command, input=data, capture_output=True, env=plain_lab.env, check=True).stdout == data


def test_a_signal_to_exec_reaches_the_program(plain_lab: Lab) -> None:
    running = plain_lab.start("one", "sh", "-c", "trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=HANG_SECONDS)
    assert (out, running.returncode) == ("told\n", 3)


def test_what_a_process_of_a_pod_sees(plain_lab: Lab) -> None:
    env = dict(line.split("=", 1) for line in plain_lab.exec("one", "env").stdout.splitlines() if "=" in line)
    assert (env["PORT"], env["MY_IP"], env["HOSTNAME"]) == ("7001", "10.77.1.2", "first")
    assert env["LAB_MANIFEST_DIR"] == str(MANIFESTS)
    assert plain_lab.exec("one", "pwd").stdout.strip() == str(MANIFESTS.parent)
    assert plain_lab.exec("one", "cat", "/proc/sys/kernel/hostname").stdout.strip() == "first"
    hosts = plain_lab.exec("one", "cat", "/etc/hosts").stdout
    assert "10.77.1.2\tfirst.talk-headless.default.svc.cluster.local first" in hosts
    assert "search shop.svc.cluster.local" in plain_lab.exec("two", "cat", "/etc/resolv.conf", namespace="shop").stdout


def test_the_machine_keeps_its_own_files_and_name(plain_lab: Lab) -> None:
    assert "svc.cluster.local" not in Path("/etc/resolv.conf").read_text()
    assert "first" not in Path("/etc/hosts").read_text()
    assert os.uname().nodename != "first"


def test_processes_are_in_the_cgroup_of_their_pod(plain_lab: Lab) -> None:
    groups = plain_lab.exec("one", "cat", "/proc/self/cgroup").stdout
    assert "0::/tidegate/plain/node1/pods/default_one\n" in groups
    row = plain_lab.pods()["default/one"]
    pid = sole_member(Path(row["cgroup"]) / "c-server")  # its probe comes and goes
    assert b"probe.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    on_node = plain_lab.tidegate("lab", "node-exec", "node2", "--", "cat", "/proc/self/cgroup").stdout
    assert "0::/tidegate/plain/node2/host\n" in on_node


def test_exec_finds_the_pod_or_says_so(plain_lab: Lab) -> None:
    done = plain_lab.exec("absent", "true", check=False)
    assert done.returncode == 1
    assert "absent in namespace default: no such pod" in done.stderr
    unknown = plain_lab.tidegate("lab", "node-exec", "node9", "--", "true", check=False)
    assert unknown.returncode == 1
    assert "there are node1, node2" in unknown.stderr


def test_pods_as_json(plain_lab: Lab) -> None:
    rows = json.loads(plain_lab.tidegate("lab", "pods", "-o", "json").stdout)
    row = next(row for row in rows if row["name"] == "one")
    expected = {"namespace": "default", "node": "node1", "ip": "10.77.1.2", "phase": "Running", "ready": True}
    assert {key: row[key] for key in expected} == expected
    assert (row["enrolled"], row["identity"]) == (False, "")
    assert row["ips"] == ["10.77.1.2", "fd77:0:0:1::2"]


def test_a_service_can_be_seen_from_this_machine(plain_lab: Lab) -> None:
    url = plain_lab.tidegate("lab", "expose", "svc/talk", "7001").stdout.strip()
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)", url)
    assert port, url
    assert plain_lab.tidegate("lab", "expose", "svc/talk", "7001").stdout.strip() == url
    talk = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port[1]}; echo who >&3; cat <&3"]
    answer = eventually(lambda: subprocess.run(talk, capture_output=True, text=True, check=False).stdout, "an answer")
    assert json.loads(answer)["client"] == "10.77.1.1"
    refused = plain_lab.tidegate("lab", "expose", "svc/talk", "9", check=False)
    assert "has no TCP port 9; it has 7001" in refused.stderr
    taken = plain_lab.tidegate("lab", "expose", "svc/talk", "7001", "--port", port[1])
    assert taken.stdout.strip() == url


def test_without_a_lab_the_commands_say_so() -> None:
    done = Lab("nowhere").tidegate("lab", "pods", check=False)
    assert done.returncode == 3
    assert "lab nowhere: is not running" in done.stderr
