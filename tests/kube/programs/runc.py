#!/usr/bin/python3 -IS
"""runc for machines that give a container no limits: what containerd calls, with what cannot be had taken out.

On a machine with cgroup v1 beside a cgroup2 tree that has few controllers, runc stops at the first limit, and kubelet
always asks for one; without CAP_SYS_RESOURCE it may not lower an OOM score either. So no limit is enforced, on no
machine: that is the same everywhere. Devices stay as they are asked for.
"""

import json
import os
import sys
from typing import Any

RUNC = "/usr/sbin/runc"


def without_limits(spec: dict[str, Any]) -> dict[str, Any]:
    """A runtime specification without the limits of its cgroup and its OOM score."""
    spec["process"].pop("oomScoreAdj", None)
    spec["linux"]["resources"] = {"devices": spec["linux"].get("resources", {}).get("devices", [])}
    return spec


def main(words: list[str]) -> None:
    """Become runc, or do nothing where limits are to be changed."""
    if "update" in words:
        return
    if "create" in words or "run" in words:
        path = os.path.join(words[words.index("--bundle") + 1], "config.json")
        with open(path, encoding="utf-8") as file:
            spec = json.load(file)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(without_limits(spec), file)
    os.execv(RUNC, [RUNC, *words])


if __name__ == "__main__":
    main(sys.argv[1:])
