"""What the command line says, and with which exit code, when it is asked for something wrong."""

from __future__ import annotations

import subprocess

import pytest
from tests.support.lab import TIDEGATE, Lab

# The checkout may be where only root may read, as in root's home: reading is all that this nobody may do everywhere.
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
AS_NOBODY += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("metrics",),
        ("pods",),
        ("services",),
        ("explain", "default/client", "talk"),
        ("doctor",),
        ("agent", "--config", "file:/etc"),
        ("lab", "up"),
        ("lab", "down"),
        ("lab", "pods"),
        ("lab", "logs", "client"),
        ("lab", "exec", "client", "--", "true"),
        ("lab", "node-exec", "node1", "--", "true"),
        ("lab", "dashboard"),
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_who_is_not_root_is_told_so(probe_lab: Lab, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*AS_NOBODY, TIDEGATE, *command], env=probe_lab.env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "as root" in done.stderr) == (4, True), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("explain", "default/nobody", "talk"), 1, "pod default/nobody"),
        (("explain", "default/client", "talk:80:1"), 2, "is not HOST, IP or HOST:PORT"),
        (("lab", "exec", "nobody", "--", "true"), 1, "no such pod"),
        (("lab", "exec", "client", "--", "/absent"), 127, "/absent"),
        (("lab", "node-exec", "node9", "--", "true"), 1, "there are node1"),
        (("lab", "logs", "nobody"), 1, "no such pod"),
        (("lab", "expose", "svc/none", "80"), 1, "no such service"),
        (("lab", "expose", "svc/talk", "7000", "--port", "65536"), 2, "65535"),
        (("lab", "expose", "svc/talk", "0"), 2, "greater than or equal to 1"),
        (("lab", "apply", "-f", "/absent.yaml"), 1, "no such file"),
        (("lab", "pods", "--name", "none"), 3, "is not running"),
        (("status", "--run-dir", "/absent"), 3, "none runs in /absent"),
        (("doctor", "--cgroup", "/absent"), 2, "is no cgroup v2 directory"),
        (("agent", "--config", "file:/etc", "--log-level", "loud"), 2, "is none of its values"),
        (("agent", "--config", "file:/etc", "--admin-port", "65536"), 2, "is out of range"),
        (("agent",), 2, "is missing"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_wrong_input(probe_lab: Lab, command: tuple[str, ...], code: int, words: str) -> None:
    done = probe_lab.tidegate(*command, check=False)
    said = " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert (done.returncode, words in said, "Traceback" in said) == (code, True, False), said
