"""How many descriptors this process may have: all that its hard limit allows.

A shell and most units start programs with a soft limit of 1 024, for the sake of select(2), which nothing here uses. A
node of 500 pods needs more, and so does whoever serves as many proxies.
"""

from __future__ import annotations

import resource

from tidegate.errors import Fatal

LEAST = 256  # kernel programs and their maps, sockets of our own, libraries; pods come on top


def use_all_descriptors(who: str, least: int = LEAST) -> int:
    """Raise the soft limit to the hard one, and return it. Raises Fatal if that is less than anything works with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < least:
        remedy = "raise it (LimitNOFILE= of a unit, `ulimit -Hn` of a shell)"
        raise Fatal(who, f"may open {hard} files (RLIMIT_NOFILE), and needs {least} at least", remedy)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
