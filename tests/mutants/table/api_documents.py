"""What the user's documents made right."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

COMPAT = "tests/unit/compile/test_compat.py"
CLUSTERS = "tests/unit/compile/envoy/test_clusters.py"

GROUPS: tuple[Group, ...] = (
    Group(
        "a mesh of the old API means what Istio 1.0 meant",
        (
            Mutant(
                "old-tries-are-todays",
                "retries of a document of the old API follow only what today's API calls a failure",
                "agent/tidegate/model/mesh_config.py",
                "        return replace(retries, retry_on=_OLD_RETRY_ON)\n",
                "        return retries\n",
                (COMPAT,),
            ),
            Mutant(
                "old-outliers-of-few-stay",
                "of fewer than ten endpoints none is ever left out",
                "agent/tidegate/compile/envoy/pools.py",
                '        out["always_eject_one_host"] = True',
                '        out["always_eject_one_host"] = False',
                (COMPAT,),
            ),
        ),
    ),
    Group(
        "an endpoint is a pod and a port of it",
        (
            Mutant(
                "a-pod-is-one-endpoint",
                "of several written ports of a pod one is asked",
                "agent/tidegate/compile/envoy/clusters.py",
                "        key = (endpoint.pod.id if endpoint.pod else endpoint.address, endpoint.port)\n",
                "        key = endpoint.pod.id if endpoint.pod else endpoint.address\n",
                (CLUSTERS,),
            ),
            Mutant(
                "each-family-is-an-endpoint",
                "a pod with addresses of both families is asked twice as often",
                "agent/tidegate/compile/envoy/clusters.py",
                "        key = (endpoint.pod.id if endpoint.pod else endpoint.address, endpoint.port)\n",
                "        key = (endpoint.address, endpoint.port)\n",
                (CLUSTERS,),
            ),
        ),
    ),
    Group(
        "what is no YAML is told with a line that the file has",
        (
            Mutant(
                "line-behind-the-last",
                "a document that breaks off is told with the line behind its last",
                "agent/tidegate/config/tree.py",
                "    return 1 + (min(mark.line, max(last, 0)) if mark else 0)\n",
                "    return 1 + (mark.line if mark else 0)\n",
                ("lab/tests/unit/test_manifest.py",),
            ),
            Mutant(
                "line-where-it-was-noticed",
                "a key without its colon is told with the line behind it",
                "agent/tidegate/config/tree.py",
                "        mark = error.context_mark or mark  # the parser notices only in the next line\n",
                "        pass\n",
                ("lab/tests/unit/test_manifest.py",),
            ),
        ),
    ),
)
