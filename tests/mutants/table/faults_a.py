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
            f"{CONFIG}/kinds/virtual_service.py",
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
            f"{CONFIG}/shapes/traffic_policy.py",
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
            '_BREAK = re.compile(r"[\\0\\r\\n]")',
            '_BREAK = re.compile(r"[\\0\\r]")',
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
GROUPS = (_RANGES, _FILES, _SETTINGS)
