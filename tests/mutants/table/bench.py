"""What `make bench` says."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

REPORT = "tests/bench/report.py"
_BENCHED = "tests/stories/operate/test_bench.py"

_BENCH = Group(
    "bench.json has every name for all four contestants, README's table comes from it",
    (
        Mutant(
            "bench-without-haproxy",
            "bench.json lacks a contestant",
            REPORT,
            'PEERS = ("envoy2_iptables", "haproxy")',
            'PEERS = ("envoy2_iptables",)',
            ("tests/unit/bench",),
        ),
        Mutant(
            "bench-haproxy-ignores-names",
            "the benchmark's HAProxy carries a connection without looking at the name that it asks for",
            "tests/bench/sni.py",
            "{{ req.ssl_sni -i {name} }}",
            "TRUE",
            (f"{_BENCHED}::test_connections_by_name_go_through_haproxy_and_only_for_names_that_it_was_told",),
            raises=("BenchError",),
        ),
        Mutant(
            "bench-compares-with-no-mesh",
            "README compares a gateway with no proxy instead of with the other proxy",
            "tests/bench/readme.py",
            'value_of(result, peer), result["unit"]',
            'value_of(result, "direct"), result["unit"]',
            ("tests/unit/bench",),
        ),
        Mutant(
            "bench-without-a-placement",
            "bench.json lacks the figures of one placement",
            REPORT,
            'PLACEMENTS = ("1core", "free")',
            'PLACEMENTS = ("1core",)',
            ("tests/unit/bench",),
        ),
        Mutant(
            "bench-takes-the-best-run",
            "bench.json calls the best run the median",
            REPORT,
            "return statistics.median(values) if values else None",
            "return min(values) if values else None",
            ("tests/unit/bench",),
        ),
        Mutant(
            "scale-p99-is-the-median",
            "enrolment's p99 in bench.json is not the p99",
            "tests/bench/scale.py",
            "        return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]\n",
            "        return ordered[len(ordered) // 2]\n",
            ("tests/unit/bench/test_scale.py",),
        ),
        Mutant(
            "bench-only-forgets-the-others",
            "`make bench ONLY=...` drops what was measured before of everything else",
            REPORT,
            "    found = [*kept, *new.values()]\n",
            "    found = [*new.values()]\n",
            ("tests/unit/bench/test_scale.py",),
        ),
        Mutant(
            "readme-table-not-from-the-figures",
            "README's table shows other figures than were measured",
            "tests/bench/readme.py",
            '({value / direct:.2f}×)"',
            '({value / direct + 0.01:.2f}×)"',
            ("tests/unit/bench",),
        ),
        Mutant(
            "sidecars-not-in-the-path",
            "the sidecar model is measured without its second Envoy",
            "tests/bench/sidecars.py",
            '        run(*self.topology.server.command(["iptables-restore", "--noflush"]), stdin=RULES_IN)\n',
            "",
            ("tests/stories/operate/test_bench.py",),
        ),
    ),
)

GROUPS = (_BENCH,)
