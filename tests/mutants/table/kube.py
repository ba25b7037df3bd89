"""A cluster as a source of configuration."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

SOURCE_TESTS = "tests/unit/config/kube/test_source.py"
DECODED = "tests/unit/config/kube/test_decode.py"
SAVED = "tests/unit/config/kube/test_saved.py"
GATE_TESTS = "tests/unit/config/kube/test_gate.py"
STREAMS = "tests/unit/config/kube/test_stream.py"
SLICES = "tests/unit/compile/test_cluster_slices.py"
TYPED = "tests/unit/config/test_typed.py"
ROOM = "agent/tidegate/config/sources/kube"

_WHOLE = Group(
    "nothing is told before everything is known, and nothing is taken away before everything is known again",
    (
        Mutant(
            "told-kind-by-kind",
            "a Service is told before its endpoints are known: its ports are refused for a moment",
            f"{ROOM}/source.py",
            '        return part.known or (part.resource.kind == "Secret" and refused)\n',
            '        return True or (part.resource.kind == "Secret" and refused)\n',
            (f"{SOURCE_TESTS}::test_nothing_is_told_before_all_kinds_are_known",),
        ),
        Mutant(
            "a-denied-kind-is-an-empty-one",
            "an agent begins without the rules that it may not read",
            f"{ROOM}/source.py",
            '        return part.known or (part.resource.kind == "Secret" and refused)\n',
            "        return part.known or refused\n",
            (f"{SOURCE_TESTS}::test_without_a_right_from_the_start_nothing_is_told",),
        ),
        Mutant(
            "gone-while-others-are-of-the-disk",
            "endpoints go before the Services that had moved on are known",
            f"{ROOM}/object_set.py",
            "        return self.fresh or refused\n",
            "        return True or refused\n",
            (f"{SOURCE_TESTS}::test_what_is_gone_stays_until_all_kinds_are_back",),
        ),
        Mutant(
            "one-refused-kind-keeps-the-dead",
            "what is gone stays for ever while one kind is denied",
            f"{ROOM}/object_set.py",
            "        return self.fresh or refused\n",
            "        return self.fresh\n",
            (f"{SOURCE_TESTS}::test_a_kind_that_is_refused_for_good_holds_nothing_up",),
        ),
        Mutant(
            "a-404-is-believed-at-once",
            "an API server that starts makes an agent forget all rules",
            f"{ROOM}/follower.py",
            "        if not self.resource.optional or (self._there and now - self._gone_since < GONE_S):\n",
            "        if not self.resource.optional:\n",
            (f"{SOURCE_TESTS}::test_a_kind_that_is_gone_for_a_moment_is_there",),
        ),
    ),
)

_FOLLOWED = Group(
    "a watch goes on as the server's answer says",
    (
        Mutant(
            "too-old-is-asked-again",
            "after 410 the same revision is asked for again and again",
            f"{ROOM}/follower.py",
            '        if error.code == 410:\n            self._revision = ""\n',
            "        if error.code == 410:\n",
            (f"{SOURCE_TESTS}::test_who_was_away_for_too_long_begins_anew",),
        ),
        Mutant(
            "bookmarks-unheard",
            "a quiet watch begins where the server has forgotten what was",
            f"{ROOM}/follower.py",
            "                self._revision = mark.revision or self._revision\n",
            "                pass\n",
            (f"{SOURCE_TESTS}::test_a_bookmark_says_from_where",),
        ),
        Mutant(
            "lists-anew-after-every-cut",
            "a lost connection costs the server a list",
            f"{ROOM}/follower.py",
            "        if self._revision:\n            await self._watch",
            "        if False:\n            await self._watch",
            (f"{SOURCE_TESTS}::test_who_lost_a_connection_goes_on_where_it_was",),
        ),
        Mutant(
            "tokens-read-once",
            "a token that was replaced is never read",
            f"{ROOM}/follower.py",
            "            self._server.doubt()\n",
            "            pass\n",
            (f"{SOURCE_TESTS}::test_a_token_is_read_again",),
        ),
        Mutant(
            "frozen-servers-waited-for",
            "a server that was stopped with its connections open tells nothing, and nobody asks another",
            f"{ROOM}/follower.py",
            "        await self._clock.sleep(seconds)\n        body.abandon()\n",
            "        await self._clock.sleep(seconds)\n",
            (f"{SOURCE_TESTS}::test_a_watch_that_does_not_end_in_its_time_is_given_up",),
        ),
        Mutant(
            "silent-servers-waited-for",
            "an older server, which tells no end of a list, is waited for for ever",
            f"{ROOM}/follower.py",
            "        self.broken = True\n",
            "        return\n",
            (f"{SOURCE_TESTS}::test_a_server_that_does_not_stream_lists_is_asked_for_them",),
        ),
        Mutant(
            "impatient",
            "a server that asks for patience is asked at once",
            f"{ROOM}/stream.py",
            "    wait = min(max(asked, _retry_after(headers), 0.0), LONGEST_WAIT_S)\n",
            "    wait = 0.0\n",
            (f"{STREAMS}::test_how_long_a_server_asks_us_to_wait",),
        ),
        Mutant(
            "retry-after-by-our-clock",
            "a time of day is compared with our own clock",
            f"{ROOM}/stream.py",
            'parsedate_to_datetime(headers.get("date", ""))',
            'parsedate_to_datetime("Fri, 27 Nov 2026 10:00:00 GMT")',
            (f"{STREAMS}::test_how_long_a_server_asks_us_to_wait",),
        ),
        Mutant(
            "all-ask-at-once",
            "twenty connections are tried for one while the server is away",
            f"{ROOM}/gate.py",
            "                if self._asking:\n",
            "                if False:\n",
            (f"{GATE_TESTS}::test_one_asks_ever_more_rarely_until_all_may_go_on",),
        ),
    ),
)

_KEPT = Group(
    "what was told outlives the process, and nothing else does",
    (
        Mutant(
            "facts-of-any-cluster",
            "an agent begins with what another cluster told",
            f"{ROOM}/saved.py",
            '    return not server or found.get("server") == server\n',
            "    return True\n",
            (f"{SAVED}::test_all_of_it_and_later_changes",),
        ),
        Mutant(
            "half-a-line-is-a-fact",
            "a line that was not written to its end is read",
            f"{ROOM}/saved.py",
            '        head, *lines = content.split(b"\\n")[:-1] or [b""]\n',
            '        head, *lines = content.split(b"\\n") or [b""]\n',
            (f"{SAVED}::test_what_was_not_written_to_its_end_is_left_out",),
        ),
        Mutant(
            "facts-for-everybody",
            "whoever is on the node reads keys",
            f"{ROOM}/saved.py",
            "os.O_CLOEXEC, 0o600)",
            "os.O_CLOEXEC, 0o644)",
            (f"{SAVED}::test_nobody_else_may_read_it",),
        ),
        Mutant(
            "every-secret",
            "Secrets are asked for that nobody named",
            f"{ROOM}/resources.py",
            '    return replace(_SECRETS, namespace=namespace, fields=f"metadata.name={name}")\n',
            "    return replace(_SECRETS, namespace=namespace)\n",
            (f"{DECODED}::test_resources_know_where_they_are",),
        ),
        Mutant(
            "managed-fields-kept",
            "what nobody reads is kept, and is longer than the rest",
            f"{ROOM}/decode.py",
            "        meta.pop(_UNREAD, None)\n",
            "",
            (f"{DECODED}::test_what_nobody_reads_is_not_kept",),
        ),
        Mutant(
            "doubt-is-let-pass",
            "an object about which something has to be said is taken as it is",
            "agent/tidegate/config/typed.py",
            "    def say(self, *_: object) -> NoReturn:\n        raise DoubtError\n",
            "    def say(self, *_: object) -> None:  # type: ignore[override]\n        return\n",
            (f"{TYPED}::test_of_what_has_to_be_said_something_nothing_is_made",),
        ),
    ),
)

_BEHIND = Group(
    "a cluster's slices say who is behind its Services",
    (
        Mutant(
            "selectors-followed-beside-slices",
            "a pod that is not in a slice gets connections",
            "agent/tidegate/compile/service_tables.py",
            "    if not service.selector or service.by_slices:\n",
            "    if not service.selector:\n",
            (f"{SLICES}::test_the_selector_is_not_followed",),
        ),
        Mutant(
            "an-endpoint-for-every-slice",
            "who moves from slice to slice gets twice as many connections",
            "agent/tidegate/compile/registry.py",
            "        if (endpoint.address, number) not in told:\n",
            "        if True:\n",
            (f"{SLICES}::test_several_slices_with_ports_of_their_own_and_no_endpoint_twice",),
        ),
        Mutant(
            "hints-of-some",
            "a hint that some endpoints lack takes the others' connections away",
            "agent/tidegate/compile/nearness.py",
            "all(e.hinted is not None for e in found)",
            "any(e.hinted is not None for e in found)",
            (f"{SLICES}::test_hints_that_some_endpoints_lack_or_that_are_for_others_are_none",),
        ),
    ),
)

GROUPS = (_WHOLE, _FOLLOWED, _KEPT, _BEHIND)
