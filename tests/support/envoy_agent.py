"""The L7 half of an agent as a process of its own, to be killed by tests.

Usage: envoy_agent.py RUN_DIR CGROUP NETNS JSON, where JSON is {"ports": {version: port}, "weights": {version: weight}}.
Prints "applied" once Envoy has the configuration, then goes on until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.support.envoy_node import EnvoyNode
from tests.support.envoy_resources import website


async def main() -> None:
    run_dir, cgroup, netns, text = sys.argv[1:]
    site = json.loads(text)
    node = EnvoyNode(Path(run_dir), cgroup=Path(cgroup))
    await node.start()
    await node.publish(website(netns, site["ports"], site["weights"]))
    print("applied", flush=True)
    assert node.task is not None
    await node.task


if __name__ == "__main__":
    asyncio.run(main())
