"""Whether an agent that ends comes again: asked of the API server, which knows its DaemonSet."""

from __future__ import annotations

import json
import logging
import random
from typing import Final

from tidegate.config.sources.kube.access import AccessSource
from tidegate.config.sources.kube.gate import AwayError
from tidegate.config.sources.kube.server import ApiServer
from tidegate.config.sources.kube.stream import RefusedError
from tidegate.runtime.clock import SystemClock

log = logging.getLogger(__name__)

_GONE: Final = {
    401: "this account is not known any more",
    403: "this account may not look at it any more",
    404: "it is not there any more",
}


async def why_removed(access: AccessSource, namespace: str, name: str) -> str:
    """Why the agents of a DaemonSet end for good; empty if one comes again, or if nobody can say.

    Who removes all of it at once takes account, rights and DaemonSet away in any order while agents end, so an agent
    that is not known or not allowed any more was removed too.
    """
    server = ApiServer(access, SystemClock(), random.random, "removal")
    try:
        for path in (f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}", f"/api/v1/namespaces/{namespace}"):
            told = json.loads(await server.whole(path, {}))
            if told["metadata"].get("deletionTimestamp"):
                return f"{told['kind']} {told['metadata']['name']} is being deleted"
    except RefusedError as error:
        return f"DaemonSet {namespace}/{name}: {_GONE[error.code]}" if error.code in _GONE else ""
    except (AwayError, ValueError, KeyError, TypeError) as error:
        log.warning(
            "whether DaemonSet %s/%s is there cannot be asked, so all is left in place: %s", namespace, name, error
        )
    finally:
        await server.close()
    return ""
