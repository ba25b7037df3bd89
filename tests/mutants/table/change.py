"""A change of configuration, a broken document, the death of the agent or of Envoy."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

UNDER_LOAD = "tests/stories/change/test_change_under_load.py"
IN_FORCE = f"{UNDER_LOAD}::test_each_change_comes_into_force_and_no_request_fails"
REFUSED = f"{UNDER_LOAD}::test_broken_yaml_is_reported_with_its_line_and_changes_nothing"
LAST_GOOD = f"{UNDER_LOAD}::test_a_document_that_breaks_under_a_running_agent_keeps_its_last_good_version"
STORE = "agent/tidegate/config/store.py"
ORDER = "agent/tidegate/dataplane/order.py"
ENVOY_APPLIER = "agent/tidegate/dataplane/appliers/envoy.py"
SESSION = "agent/tidegate/xds/session.py"
TIER_CHANGE = "tests/unit/dataplane/test_order.py::test_a_port_that_changes_its_tier_is_served_at_each_moment"

_CHANGE = Group(
    "a YAML change comes into force, with zero failed requests under a steady 200 rps",
    (
        Mutant(
            "listeners-replaced-not-updated",
            "each change takes every listener away before the new one is there",
            ENVOY_APPLIER,
            "        await self._envoy.publish(plan.generation, told)\n",
            "        await self._envoy.publish(plan.generation, {kind: {} for kind in told})\n"
            "        await __import__('asyncio').sleep(0.3)\n"
            "        await self._envoy.publish(plan.generation, told)\n",
            (f"{IN_FORCE}[fresh]",),
        ),
        Mutant(
            "clusters-removed-before-their-routes",
            "a cluster goes while routes in force still lead to it: requests fail with 503",
            SESSION,
            "            return self._unused_clusters()\n",
            "            return watch.surplus()\n",
            ("tests/envoy/test_envoy_serves.py::test_replacing_clusters_under_traffic_fails_no_request",),
        ),
        Mutant(
            "routes-before-their-clusters",
            "a route moves before the cluster that it leads to is there: requests fail with 503",
            SESSION,
            "            if kind in (LISTENERS, ROUTES) and not self._upstreams_ready():\n",
            "            if False:\n",
            (
                "tests/envoy/test_envoy_serves.py::test_replacing_clusters_under_traffic_fails_no_request",
                "tests/unit/xds/test_order.py",
            ),
        ),
        Mutant(
            "endpoints-not-repeated",
            "a changed cluster waits for endpoints that nobody sends again, and changes hang",
            SESSION,
            "                self._repeat_awaited(push)\n",
            "",
            ("tests/unit/xds/test_delta.py::test_endpoints_follow_a_changed_cluster_though_nobody_asks",),
        ),
        Mutant(
            "a-table-that-grew-meanwhile-is-an-error",
            "`tidegate status` fails while pods are enrolled",
            "agent/tidegate/bpf/walk.py",
            "        if found != -errno.ENOSPC or room > 2 * limit:\n",
            "        if True:\n",
            ("tests/bpf/test_walk.py::test_rows_that_come_between_counting_and_reading_are_read",),
            raises=("OSError",),
        ),
        Mutant(
            "apply-does-not-wait-for-the-agents",
            "`lab apply` returns before the change is in force on every node",
            "lab/tidegate_lab/lab.py",
            "        await self.agents.wait_applied(self._directory.revision, max(1.0, deadline - clock()))\n",
            "",
            (f"{UNDER_LOAD}::test_apply_returns_when_the_change_is_in_force",),
        ),
        Mutant(
            "generation-told-before-envoy-answers",
            "status calls a generation applied before Envoy has it",
            ENVOY_APPLIER,
            "        if answered >= generation:\n",
            "        if True:\n",
            (
                f"{UNDER_LOAD}::test_apply_returns_when_the_change_is_in_force",
                "tests/unit/dataplane/test_cycle.py::test_a_silent_envoy_is_reported_and_holds_up_no_others",
            ),
        ),
        Mutant(
            "envoy-forgets-before-the-kernel",
            "a port that is no longer HTTP is still led to Envoy when Envoy has forgotten it",
            ORDER,
            "    PAST_ENVOY,\n    ENVOY,\n",
            "    ENVOY,\n    PAST_ENVOY,\n",
            (f"{TIER_CHANGE}[http-tcp-2]",),
        ),
        Mutant(
            "fast-path-forgets-before-the-kernel",
            "a port that becomes HTTP is reset until Envoy has answered",
            "agent/tidegate/dataplane/appliers/relay.py",
            "        await self._publish(plan, self._leaving(plan))\n",
            "        await self._publish(plan, ())\n",
            (
                f"{TIER_CHANGE}[tcp-http-2]",
                f"{UNDER_LOAD}::test_a_port_that_becomes_http_and_tcp_again_loses_no_connection",
            ),
        ),
        Mutant(
            "every-service-is-sent",
            "a service that nobody on the node uses costs Envoy a route table and a cluster",
            "agent/tidegate/xds/encode.py",
            "        return isinstance(self._resources.get(kind), MadeOnDemand)\n",
            "        return False\n",
            ("tests/unit/xds/test_on_demand.py",),
        ),
        Mutant(
            "clusters-of-first-use-late",
            "the first request to a service gets 503, because its route is there before its cluster",
            SESSION,
            "            if kind in (LISTENERS, ROUTES) and not self._upstreams_ready():\n",
            "            if kind == LISTENERS and not self._upstreams_ready():\n",
            ("tests/unit/xds/test_on_demand.py",),
        ),
        Mutant(
            "unused-rules-unjudged",
            "a VirtualService that Envoy refuses is not named until somebody uses it",
            "agent/tidegate/xds/checks.py",
            "        more = list(self._due)[: AT_A_TIME - len(self._shown)]\n",
            "        self._due = {}\n        more: list[str] = []\n",
            ("tests/unit/xds/test_on_demand.py",),
        ),
        Mutant(
            "unused-rules-without-last-good",
            "the first request after a VirtualService was refused finds no routes at all",
            SESSION,
            "            self._hold_back_doubtful(known[2])\n",
            "            pass\n",
            ("tests/unit/xds/test_on_demand.py",),
        ),
        Mutant(
            "a-pod-costs-every-service",
            "each pod that comes makes the agent look at every service of the cluster",
            "agent/tidegate/xds/encode.py",
            "return before is not None and all(",
            "return False and before is not None and all(",
            ("tests/unit/xds/test_same_again.py",),
        ),
        Mutant(
            "scopes-do-not-linger",
            "requests on a connection that was kept open get 404 once its port is no HTTP any more",
            SESSION,
            "LINGER_SECONDS = 600.0",
            "LINGER_SECONDS = 0.0",
            (f"{UNDER_LOAD}::test_a_port_that_becomes_http_and_tcp_again_loses_no_connection",),
        ),
        Mutant(
            "old-destinations-stay",
            "a Service that is gone is captured for ever",
            "agent/tidegate/dataplane/appliers/destinations.py",
            "                    delete.add(key)\n",
            "                    pass\n",
            ("tests/unit/dataplane/test_cycle.py::test_destinations_reach_the_kernel_and_strangers_leave_it",),
        ),
    ),
)

_BROKEN = Group(
    "a broken YAML is reported with file and line and changes nothing",
    (
        Mutant(
            "broken-document-replaces-the-good-one",
            "a document that breaks takes its rule out of force",
            STORE,
            "        elif held.value is None or (document is None",
            "        elif True or (document is None",
            (LAST_GOOD, "tests/unit/config/test_store.py"),
        ),
        Mutant(
            "last-good-forgotten-over-a-restart",
            "after a restart of the agent a broken document's last good version is not in force any more",
            "agent/tidegate/config/follow.py",
            "    store.seed(await asyncio.to_thread(last_good.seed))\n",
            "    await asyncio.to_thread(last_good.seed)\n",
            (LAST_GOOD,),
        ),
        Mutant(
            "problems-missing-in-status",
            "status does not show what is wrong with the configuration",
            "agent/tidegate/observe/process.py",
            '{"problems": [p.as_json() for p in config.problems] if config else []}',
            '{"problems": []}',
            (LAST_GOOD,),
        ),
        Mutant(
            "broken-line-lost",
            "an error names the first line of the document instead of its own",
            "agent/tidegate/config/schema.py",
            "        line = line_of(place, below) if below else place.line\n",
            "        line = 1\n",
            (REFUSED,),
        ),
        Mutant(
            "unknown-fields-accepted",
            "a misspelt field is taken for nothing",
            "agent/tidegate/config/schema.py",
            "say.UNKNOWN_FIELD(suggestion=suggestion(key, known))",
            "say.UNSUPPORTED_FIELD()",
            (REFUSED,),
        ),
        Mutant(
            "apply-does-not-validate",
            "`lab apply` puts a broken document into force",
            "lab/tidegate_lab/daemon.py",
            "            validate(files)\n",
            "",
            (REFUSED,),
        ),
        Mutant(
            "a-broken-document-hides-the-others",
            "one broken document takes the rest of its file with it",
            "agent/tidegate/config/documents.py",
            "        if part.documents or part.problems:\n",
            "        if not any(d.failed for part in [*parts, part] for d in part.documents):\n",
            ("tests/unit/config/test_store.py",),
        ),
        Mutant(
            "findings-without-a-code",
            "programs that read what validation found have to match its prose",
            "agent/tidegate/model/mesh.py",
            '            "code": self.code,\n',
            "",
            ("tests/unit/cli/test_validate.py::test_json",),
        ),
        Mutant(
            "codes-mixed-up",
            "a misspelt field has the code of another mistake",
            "agent/tidegate/config/messages.py",
            'UNKNOWN_FIELD = _error("TG0101", ',
            'UNKNOWN_FIELD = _error("TG0190", ',
            ("tests/unit/config/test_document_vectors.py", "tests/unit/config/test_messages.py"),
        ),
        Mutant(
            "half-of-a-state-is-numbered-as-whole",
            "a state that was replaced while it was read is told as what its number says",
            "agent/tidegate/config/sources/files.py",
            "                if self._numbered() == revision:\n",
            "                if True:\n",
            ("tests/unit/config/test_files.py::test_a_reading_during_which_the_number_changed_is_done_again",),
        ),
        Mutant(
            "unchanged-objects-are-told",
            "a source tells objects that say what they said before",
            "agent/tidegate/config/sources/holdings.py",
            "d if (o := old.objects.get(key)) != d else o for",
            "d for",
            ("tests/unit/config/test_files.py::test_only_what_changed_is_told",),
        ),
        Mutant(
            "unchanged-objects-are-made-anew",
            "an object that is as it was gets a new identity: all that hangs on it is derived again",
            STORE,
            "            if before is not None and document.value == before:\n",
            "            if False:\n",
            (
                "tests/unit/config/test_store.py::"
                "test_a_document_that_was_broken_for_a_while_is_the_same_object_afterwards",
            ),
        ),
        Mutant(
            "references-checked-once",
            "a warning about a missing service stays when the service has come",
            STORE,
            "            to_check |= self._update(key, incomplete)\n",
            "            to_check |= self._update(key, incomplete) & dirty\n",
            ("tests/unit/config/test_store.py::test_references_are_looked_at_again_when_what_they_name_changes",),
        ),
        Mutant(
            "unreadable-is-taken-for-empty",
            "a file that cannot be read for a moment takes its objects out of force",
            STORE,
            "        return held.last_good.file in incomplete or ",
            "        return ",
            (
                "tests/unit/config/test_store.py::test_nothing_of_a_file_disappears_while_it_cannot_be_read",
                "tests/unit/config/test_last_good.py",
            ),
        ),
    ),
)

GROUPS = (_CHANGE, _BROKEN)
