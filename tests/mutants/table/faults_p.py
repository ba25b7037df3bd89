"""What a request costs in Envoy, and what one pod may take of it."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

NAGLE = "tests/bpf/test_nagle.py"
BOUNDS = "tests/envoy/test_envoy_bounds.py"

GROUPS: tuple[Group, ...] = (
    Group(
        "HTTP costs what it needs, and one pod cannot take the Envoy of all",
        (
            Mutant(
                "every-filter-for-every-request",
                "each request passes three filters that do nothing for it",
                "agent/tidegate/compile/outbound/routes.py",
                '            "typed_per_filter_config": spared(),\n',
                "",
                ("tests/unit/compile/outbound/test_routes.py",),
            ),
            Mutant(
                "http2-windows-of-envoy",
                "one pod's HTTP/2 to a server that never reads fills Envoy's heap",
                "agent/tidegate/compile/envoy/http_options.py",
                "    return {**bounds.http2(), ",
                "    return {",
                (BOUNDS,),
            ),
            Mutant(
                "connections-of-a-pod-unbounded",
                "one pod takes all the connections that Envoy may have",
                "agent/tidegate/compile/outbound/listeners.py",
                "    filters = [bounds.connection_limit()]\n",
                "    filters: list[Json] = []\n",
                (BOUNDS,),
                raises=("TimeoutError",),
            ),
            Mutant(
                "heap-full-nobody-reset",
                "nobody's stream is reset when Envoy's heap is nearly full",
                "agent/tidegate/envoy/bootstrap.py",
                "_ACCOUNTED_POWER = 15\n",
                "_ACCOUNTED_POWER = 40\n",
                (BOUNDS,),
                raises=("TimeoutError",),
            ),
            Mutant(
                "second-send-waits",
                "a server that answers in two sends takes 40 ms longer behind Envoy",
                "bpf/nagle.bpf.c",
                "\tint on = 1;\n",
                "\tint on = 0;\n",
                (NAGLE,),
            ),
        ),
    ),
)
