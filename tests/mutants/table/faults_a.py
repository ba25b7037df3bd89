"""One mistake does not spread: ranges of fields, odd files, settings."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

CONFIG = "agent/tidegate/config"
FILE_TESTS = "tests/unit/config/test_content.py"
LIMIT_TESTS = "tests/unit/config/test_limits.py"
TEXT_TESTS = "tests/unit/config/test_envoy_text.py"

_RANGES = Group(
    "what validation accepts Envoy accepts",
    (
        Mutant(
            "weight-of-any-size",
            "a weight that no field of Envoy can hold keeps the whole rule from taking effect",
            f"{CONFIG}/limits.py",
            'ClusterWeight.weight", 0, INT32, _ISTIO)',
            'ClusterWeight.weight", 0, UINT32, _ISTIO)',
            (f"{LIMIT_TESTS}::test_a_number_has_the_range_of_the_field_that_it_becomes",),
        ),
        Mutant(
            "weights-not-added-up",
            "three large weights are refused by Envoy, which sums them",
            f"{CONFIG}/shapes/destination.py",
            "> limits.SUM_OF_WEIGHTS:",
            "> limits.SUM_OF_WEIGHTS * 2:",
            (f"{LIMIT_TESTS}::test_weights_that_are_too_large_together_are_refused",),
        ),
        Mutant(
            "durations-of-any-length",
            "a timeout of ten thousand years is refused by Envoy",
            f"{CONFIG}/limits.py",
            "LONGEST_MS = 9_223_372_035_000",
            "LONGEST_MS = 9_223_372_036_000",
            (f"{LIMIT_TESTS}::test_envoy_accepts_both_ends_of_what_validate_accepts_in_a_virtual_service",),
        ),
        Mutant(
            "any-table-size",
            "a table of Maglev that is no prime number leaves the service without a cluster",
            f"{CONFIG}/shapes/load_balancer.py",
            "if table and not limits.is_prime(table):",
            "if table < 0:",
            (f"{LIMIT_TESTS}::test_a_table_of_maglev_has_a_prime_size",),
        ),
        Mutant(
            "percent-only-counted",
            "a certificate in a header is taken for fields that Envoy does not know",
            f"{CONFIG}/shapes/envoy_text.py",
            "    allowed = FIELDS.get(name)\n",
            '    allowed = FIELDS.get(name, ".*")\n',
            (f"{TEXT_TESTS}::test_a_certificate_in_a_header_is_refused_with_its_line",),
        ),
        Mutant(
            "line-breaks-in-headers",
            "a header over two lines is refused by Envoy, with everything beside it",
            f"{CONFIG}/shapes/envoy_text.py",
            r"[\x00-\x08\x0a-\x1f\x7f]",
            r"[\x00-\x08\x0b-\x1f\x7f]",
            (f"{TEXT_TESTS}::test_what_becomes_a_header_is_one_line",),
        ),
        Mutant(
            "host-of-a-response",
            "a response's host cannot be set, and Envoy says so to all routes at once",
            f"{CONFIG}/shapes/http_action.py",
            "protected=HOST",
            "protected=frozenset()",
            (f"{TEXT_TESTS}::test_whatever_text_validation_accepts_envoy_accepts",),
        ),
    ),
)
_FILES = Group(
    "no file of the configuration stops, fills or misleads the agent, and whatever text it is, it is read or named",
    (
        Mutant(
            "fifos-are-opened",
            "a FIFO in the configuration directory stops every reload",
            f"{CONFIG}/sources/content.py",
            "    if not stat.S_ISREG(mode):\n",
            "    if stat.S_ISDIR(mode):\n",
            (f"{FILE_TESTS}::test_an_odd_file_is_named_and_the_others_go_on",),
        ),
        Mutant(
            "times-are-believed",
            "a file of the same size and time is never read again",
            f"{CONFIG}/sources/content.py",
            ", found.st_mtime_ns, found.st_ctime_ns)",
            ", found.st_mtime_ns, found.st_mtime_ns)",
            (f"{FILE_TESTS}::test_a_change_that_keeps_size_and_time_is_seen",),
        ),
        Mutant(
            "unseen-means-deleted",
            "a directory with too many names deletes what it did not come to",
            f"{CONFIG}/sources/files.py",
            "            if not self._listing.missing(os.path.join(root, relative)):\n",
            "            if relative:\n",
            (f"{FILE_TESTS}::test_a_link_to_everything_is_named_and_what_was_read_stays",),
        ),
        Mutant(
            "only-utf-8",
            "what PowerShell writes is refused",
            f"{CONFIG}/sources/content.py",
            "        if content.startswith(bom):\n",
            '        if content.startswith(bom) and not codec.startswith("utf-16"):\n',
            (f"{FILE_TESTS}::test_a_file_of_another_system_is_read",),
        ),
        Mutant(
            "directives-are-documents",
            "%YAML 1.1 before --- is refused",
            f"{CONFIG}/tree.py",
            '            if blank and directives and line[0] == "-":\n',
            "            if False:\n",
            ("tests/unit/config/test_tree.py::test_directives_and_marks_belong_to_the_document_that_follows",),
        ),
    ),
)
_SETTINGS = Group(
    "a setting that cannot be used is a usage error",
    (
        Mutant(
            "more-workers-than-the-relay-has",
            "--workers 65 ends in a traceback",
            "agent/tidegate/settings.py",
            "least=0, most=64)",
            "least=0, most=1024)",
            ("tests/unit/test_settings.py::test_as_many_workers_as_the_relay_can_have",),
        ),
        Mutant(
            "numbers-of-any-size",
            "a port of 70000 ends in a traceback",
            "agent/tidegate/settings.py",
            "if least is not None and not least <= value <= most:",
            "if least is not None and not least <= value:",
            ("tests/unit/test_settings.py::test_every_number_is_taken_from_least_to_most_and_refused_beyond",),
        ),
    ),
)
_REFUSED = Group(
    "what Envoy refuses is missing alone, and what it did not confirm is not taken for granted",
    (
        Mutant(
            "delegates-in-tables-unjudged",
            "a delegate that Envoy refuses keeps everybody's rules out of force after a restart",
            "agent/tidegate/model/routing.py",
            "        return (self.origin, *delegates.values())\n",
            "        return (self.origin,)\n",
            ("tests/unit/compile/test_delegates.py::test_a_table_says_of_each_rule_in_it_that_it_is_in_it",),
        ),
        Mutant(
            "lines-are-other-rules",
            "a delegate's route gets into a table before Envoy has said what it thinks of it",
            "agent/tidegate/model/origin.py",
            "        return self.kind, self.namespace, self.name\n",
            '        return self.kind, self.namespace, f"{self.name}{self.line}"\n',
            ("tests/unit/xds/test_on_demand.py",),
        ),
        Mutant(
            "roots-judged-in-part",
            "what a rule says where it delegates is seen by Envoy among the rules of others first",
            "agent/tidegate/compile/outbound/checks.py",
            "        shown = _alone(route)\n",
            "        if route.delegate is not None:\n            continue\n        shown = route\n",
            ("tests/unit/compile/test_delegates.py::test_root_and_delegate_are_judged_apart",),
            raises=("ValueError",),
        ),
        Mutant(
            "refused-rules-in-tables",
            "one rule that Envoy refuses keeps everybody's out of force",
            "agent/tidegate/xds/checks.py",
            "        return self._origins((*self._due, *self._shown))\n",
            "        return self._origins(())\n",
            (
                "tests/unit/xds/test_on_demand.py::test_a_table_waits_for_the_verdict_on_each_rule_in_it",
                "tests/unit/xds/test_on_demand.py::test_after_a_restart_of_both_only_the_refused_rule_is_missing",
            ),
        ),
        Mutant(
            "verdicts-are-not-told",
            "a rule that Envoy refuses stays among those of others, and holds them up",
            "agent/tidegate/app.py",
            'LastGood(settings.run_dir / "last-good"), devices.ads.verdicts)',
            'LastGood(settings.run_dir / "last-good"))',
            (
                "tests/stories/hostile/test_refused_rules.py::test_what_only_envoy_refuses_is_missing_alone_also_after_restarts",
            ),
        ),
        Mutant(
            "the-version-before-is-forgotten",
            "a change that Envoy refuses takes away the rule that it should have replaced",
            f"{CONFIG}/store.py",
            "held.last_good, held.before, None, False\n",
            "held.last_good, None, None, False\n",
            ("tests/unit/config/test_store.py::test_a_rule_that_envoy_refuses_gives_way_to_the_version_before_it",),
        ),
        Mutant(
            "refused-clusters-serve-nobody",
            "a value of a DestinationRule that Envoy refuses answers the whole service with 503 after a restart",
            "agent/tidegate/xds/watch.py",
            "        if (plain := self._instead(name)) is not None:\n",
            "        if (plain := self._instead(name)) is not None and not self.subscribed:\n",
            (
                "tests/unit/xds/test_refusals.py"
                "::test_a_refused_cluster_that_never_was_good_serves_as_if_nobody_had_said_anything_of_it",
            ),
        ),
        Mutant(
            "silence-is-consent",
            "a row of the kernel leads to an Envoy that has not said that it serves the service",
            "agent/tidegate/xds/stream.py",
            "clusters = self.session.watches[CLUSTERS]\n        if (push",
            "clusters = next(iter(self._unanswered()), self.session.watches[CLUSTERS])\n        if (push",
            ("tests/unit/xds/test_stream.py::test_a_client_that_says_nothing_is_never_taken_to_have_what_it_was_told",),
        ),
        Mutant(
            "failed-pods-are-well",
            "status says healthy while a pod cannot be captured",
            "agent/tidegate/observe/views.py",
            "            if applier.failures:\n",
            '            if applier.failures and name != "enrolment":\n',
            (
                "tests/stories/hostile/test_bad_neighbours.py"
                "::test_a_pod_that_cannot_be_captured_is_refused_and_named_and_nobody_else_notices",
            ),
        ),
    ),
)
GROUPS = (_RANGES, _FILES, _REFUSED, _SETTINGS)
