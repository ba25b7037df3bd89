"""`tidegate doctor`: exit codes and verdicts on this machine, and on one that lacks something."""

from __future__ import annotations

import json
import subprocess

from tests.support.lab import TIDEGATE

from tidegate.linux.cgroup import cgroup2_mount

# A mount namespace in which there is no place for pinned objects: /sys/fs is empty, cgroup v2 is mounted elsewhere.
WITHOUT_BPFFS = """
set -e
umount -R /sys/fs/cgroup
while mountpoint -q /sys/fs/bpf; do umount /sys/fs/bpf; done
mount -t tmpfs none /sys/fs
mkdir /sys/fs/groups
mount -t cgroup2 none /sys/fs/groups
exec "$@"
"""
# ... and one without any cgroup v2: doctor cannot look at all.
WITHOUT_CGROUPS = """
set -e
umount -R /sys/fs/cgroup
exec "$@"
"""
DOCTOR = [str(TIDEGATE), "doctor", "-o", "json"]


def elsewhere(script: str) -> subprocess.CompletedProcess[str]:
    """doctor after this script, in a mount namespace of its own."""
    words = ["unshare", "--mount", "bash", "-c", script, "doctor", *DOCTOR]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_a_machine_that_has_everything() -> None:
    done = subprocess.run(DOCTOR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    features = {feature["feature"]: feature for feature in json.loads(done.stdout)["features"]}
    assert all(feature["ok"] for feature in features.values() if feature["needed"])
    assert features["cgroup v2"]["detail"] == str(cgroup2_mount())
    assert {"sk_lookup", "sockops", "cgroup getsockopt", "socket storage in connect"} <= set(features)


def test_something_needed_is_missing() -> None:
    done = elsewhere(WITHOUT_BPFFS)
    missing = [feature for feature in json.loads(done.stdout)["features"] if not feature["ok"] and feature["needed"]]
    assert [feature["feature"] for feature in missing] == ["bpf file system"]
    assert done.returncode == 1


def test_it_cannot_look() -> None:
    done = elsewhere(WITHOUT_CGROUPS)
    assert (done.returncode, "cgroup v2: is not mounted" in done.stderr) == (4, True), done.stdout + done.stderr
