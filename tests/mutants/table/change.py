"""A change of configuration, a broken document, the death of the agent or of Envoy."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

UNDER_LOAD = "tests/stories/change/test_change_under_load.py"
IN_FORCE = f"{UNDER_LOAD}::test_each_change_comes_into_force_and_no_request_fails"
REFUSED = f"{UNDER_LOAD}::test_broken_yaml_is_reported_with_its_line_and_changes_nothing"
LAST_GOOD = f"{UNDER_LOAD}::test_a_document_that_breaks_under_a_running_agent_keeps_its_last_good_version"
RESTART = "tests/stories/change/test_restart.py"
UPGRADE = "tests/bpf/test_upgrade.py"
ADOPTS = f"{RESTART}::test_killed_agent_comes_back_and_adopts"
UNNOTICED = f"{RESTART}::test_http_does_not_notice_a_killed_agent"
ENVOY_BACK = f"{RESTART}::test_killed_envoy_is_back"
STORE = "agent/tidegate/config/store.py"
CYCLE = "agent/tidegate/dataplane/cycle.py"
ORDER = "agent/tidegate/dataplane/order.py"
ENVOY_APPLIER = "agent/tidegate/dataplane/appliers/envoy.py"
SUPERVISOR = "agent/tidegate/supervise/supervisor.py"
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
            ("tests/bpf/test_walk.py::test_rows_are_read_while_others_come_and_go",),
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
            "RELAY, PAST_ENVOY, ENVOY, TO_ENVOY",
            "RELAY, ENVOY, PAST_ENVOY, TO_ENVOY",
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
            "agent/tidegate/observe/views.py",
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

_AGENT = Group(
    "kill -9 of the agent: comes back, adopts, pods work again without re-creation; reported in status",
    (
        Mutant(
            "two-agents-share-pins",
            "an agent takes over the pins of one that runs",
            "agent/tidegate/bpf/pins.py",
            "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
            "        pass\n",
            ("tests/bpf/test_adopt.py::test_one_process_at_a_time_owns_the_pins",),
        ),
        Mutant(
            "agent-not-restarted",
            "nobody starts a killed agent again",
            "lab/tidegate_lab/agents.py",
            "            self.pid = None\n            if self._stopping:\n",
            "            self.pid = None\n            if True:\n",
            (ADOPTS,),
        ),
        Mutant(
            "pinned-state-thrown-away",
            "a new agent starts with empty kernel tables",
            "agent/tidegate/bpf/pins.py",
            "        self.settle()\n        for",
            "        unpin_all(self.maps)\n        for",
            (ADOPTS,),
        ),
        Mutant(
            "hooks-not-adopted",
            "a new agent detaches the hooks and attaches new ones: for a moment nothing is captured",
            "agent/tidegate/bpf/attach.py",
            "            if adopted is not None:\n                return adopted\n",
            "",
            (ADOPTS,),
        ),
        Mutant(
            "rows-not-migrated",
            "an agent with other layouts starts with empty tables: nothing is captured until its first pass",
            "agent/tidegate/bpf/datapath.py",
            "            upgrade.copy()\n",
            "            pass\n",
            (f"{UPGRADE}::test_no_connection_leaves_uncaptured_while_layouts_change",),
        ),
        Mutant(
            "rows-migrated-late",
            "an agent with other layouts fills its tables only after the hooks use them",
            "agent/tidegate/bpf/datapath.py",
            "            upgrade.copy()\n",
            "            undo.callback(upgrade.copy)\n",
            (f"{UPGRADE}::test_no_connection_leaves_uncaptured_while_layouts_change",),
        ),
        Mutant(
            "connection-state-thrown-away",
            "an agent with other layouts forgets the connections that live: their names and destinations are gone",
            "agent/tidegate/bpf/upgrade.py",
            "        for name in self.carried:\n",
            "        for name in ():\n",
            (f"{UPGRADE}::test_no_connection_leaves_uncaptured_while_layouts_change",),
        ),
        Mutant(
            "failed-upgrade-not-undone",
            "an agent that cannot exchange a hook leaves half of the data path in another version",
            "agent/tidegate/bpf/datapath.py",
            "            undo.callback(exchange.undo)\n",
            "            pass\n",
            (f"{UPGRADE}::test_what_fails_half_way_is_undone",),
        ),
        Mutant(
            "newer-tables-believed",
            "an older agent reads a newer one's tables as its own",
            "agent/tidegate/bpf/upgrade.py",
            "    if version > lib.TG_ABI_VERSION:\n",
            "    if False:\n",
            (f"{UPGRADE}::test_an_older_agent_leaves_newer_tables_alone",),
        ),
        Mutant(
            "hooks-exchanged-for-nothing",
            "a new agent replaces programs that are the same as its own",
            "agent/tidegate/bpf/attach.py",
            "if tag == program.tag and map_ids & self._shared == program.map_ids & self._shared:",
            "if False:",
            ("tests/bpf/test_adopt.py::test_killed_loader_leaves_capture_working_and_is_adopted",),
        ),
        Mutant(
            "registry-forgets",
            "a new agent does not know the pods that it had: they are captured no more",
            "agent/tidegate/app.py",
            "    cycle.set_sandboxes(store.load())\n",
            "    cycle.set_sandboxes(())\n",
            (ADOPTS,),
        ),
        Mutant(
            "records-not-written",
            "what the CNI plugin told the agent is not kept on disk",
            "agent/tidegate/enroll/sandbox_store.py",
            "            self._records.write(added.sandbox, netns.identity)\n",
            "            pass\n",
            ("tests/unit/enroll/test_sandbox_store.py::test_a_new_agent_knows_what_the_old_one_recorded",),
        ),
        Mutant(
            "the-runtimes-path-is-believed",
            "a pod that got the path of an earlier one is entered in its name",
            "agent/tidegate/linux/netns.py",
            "            if self._mounting.cookie_of(fd) != cookie:\n",
            "            if False:\n",
            ("tests/bpf/test_netns_names.py::test_the_name_means_its_namespace_when_the_runtimes_path_means_another",),
        ),
        Mutant(
            "names-of-namespaces-stay",
            "the network namespace of a pod that went while no agent ran is never freed",
            "agent/tidegate/enroll/sandbox_store.py",
            "            self._names.sweep(self._netns.keys())\n",
            "            pass\n",
            (
                "tests/unit/enroll/test_sandbox_store.py"
                "::test_a_new_agent_keeps_the_names_and_removes_those_of_sandboxes_that_went_meanwhile",
            ),
        ),
        Mutant(
            "copies-of-names-stay",
            "a container keeps the network namespaces of all pods that were there before it",
            "agent/tidegate/linux/netns.py",
            "        path.unlink(missing_ok=True)\n",
            "        pass\n",
            ("tests/bpf/test_netns_names.py::test_a_container_that_was_started_meanwhile_does_not_keep_the_namespace",),
        ),
        Mutant(
            "envoys-ports-change",
            "a new agent gives every pod's Envoy listener another port, and Envoy ends what is open on the old one",
            "agent/tidegate/dataplane/sandboxes.py",
            "        if not envoy4:\n",
            "        if True:\n",
            ("tests/stories/change/test_restart.py::test_killed_agent_comes_back_and_adopts",),
        ),
        Mutant(
            "envoy-dies-with-the-agent",
            "Envoy is not adopted but replaced",
            SUPERVISOR,
            "self._process = await self._adopt(digest)",
            'self._process = await self._adopt("")',
            (ADOPTS, UNNOTICED),
        ),
        Mutant(
            "old-envoy-answers-for-the-next",
            "an Envoy that is about to be replaced is still there when the ADS server begins to listen",
            SUPERVISOR,
            "            await self._terminate(process)\n            process = None\n",
            "            process.signal(signal.SIGTERM)\n            process = None\n",
            ("tests/unit/envoy/test_supervisor.py",),
        ),
        Mutant(
            "nothing-known-is-taken-for-empty",
            "an agent without a first configuration takes all pods out of the mesh",
            CYCLE,
            "                if config is not None:\n                    await self._pass(config)\n",
            "                await self._pass(config or Mesh())\n",
            ("tests/unit/dataplane/test_cycle.py::test_nothing_is_touched_before_the_first_configuration",),
            raises=("TimeoutError",),
        ),
        Mutant(
            "agent-restarts-not-counted",
            "status does not say how often the agent was started",
            "agent/tidegate/observe/life.py",
            'life = Life(int(before["starts"]) + 1, before["ended"]',
            'life = Life(int(before["starts"]) or 1, before["ended"]',
            (ADOPTS,),
        ),
        Mutant(
            "kill-reported-as-stop",
            "status calls a killed agent stopped",
            "agent/tidegate/observe/life.py",
            'before["ended"] or "killed"',
            'before["ended"] or "stopped"',
            (ADOPTS,),
        ),
        Mutant(
            "adoption-not-reported",
            "status says that kernel programs were loaded anew when they were adopted",
            "agent/tidegate/observe/views.py",
            '"adopted": self._datapath.adopted,',
            '"adopted": False,',
            (ADOPTS,),
        ),
    ),
)

_ENVOY = Group(
    "kill -9 of Envoy: back, reported in status",
    (
        Mutant(
            "envoy-not-restarted",
            "nobody starts a killed Envoy again",
            SUPERVISOR,
            "                await self._pause(delay)\n",
            "                await self._wake.wait()\n",
            (ENVOY_BACK,),
        ),
        Mutant(
            "envoy-restarted-late",
            "a killed Envoy is started again only after three seconds",
            SUPERVISOR,
            "                await self._pause(delay)\n",
            "                await self._pause(delay + 3)\n",
            ("tests/unit/envoy/test_supervisor.py",),
        ),
        Mutant(
            "envoy-restarts-not-counted",
            "status does not say that Envoy was restarted",
            SUPERVISOR,
            "                self._restarts += 1\n",
            "",
            (ENVOY_BACK,),
        ),
        Mutant(
            "envoys-end-not-reported",
            "status does not say how Envoy ended",
            "agent/tidegate/observe/views.py",
            '"last_exit": status.last_exit,',
            '"last_exit": "",',
            (ENVOY_BACK,),
        ),
        Mutant(
            "restarted-envoy-gets-nothing",
            "an Envoy that starts anew gets no configuration until something changes",
            "agent/tidegate/xds/server.py",
            "        if self._image is not None:\n            stream.publish(self._image)\n",
            "",
            (ENVOY_BACK, "tests/envoy/test_envoy_lives.py::test_a_killed_envoy_serves_again"),
        ),
    ),
)

_NACK = Group(
    "what Envoy refuses shows in status with its source object",
    (
        Mutant(
            "nack-not-in-status",
            "status is healthy although Envoy refused a resource",
            "agent/tidegate/xds/server.py",
            "        return broken + tuple(newest.session.withheld() if newest else ())\n",
            "        return broken\n",
            ("tests/envoy/test_envoy_refusals.py::test_the_guilty_one_is_named_and_its_last_good_content_serves",),
        ),
        Mutant(
            "nack-without-its-source",
            "status does not say which document a refused resource comes from",
            "agent/tidegate/xds/server.py",
            'f"{n.by}: {n.detail}", tuple(str(o) for o in n.origins))',
            'f"{n.by}: {n.detail}", ())',
            (
                "tests/envoy/test_envoy_refusals.py::test_the_guilty_one_is_named_and_its_last_good_content_serves",
                "tests/unit/xds/test_server.py::test_a_refusal_shows_with_its_origin",
            ),
        ),
        Mutant(
            "nack-does-not-reach-the-agents-status",
            "the agent's status leaves out what its xDS server knows to be refused",
            ENVOY_APPLIER,
            "            return self._rejected\n",
            "            return ()\n",
            ("tests/unit/dataplane/test_cycle.py",),
        ),
        Mutant(
            "refused-listener-counts-as-enrolled",
            "a pod whose listener Envoy refused is captured all the same and loses its HTTP",
            ENVOY_APPLIER,
            "        if any(outcome.item == name for outcome in self._rejected):\n",
            "        if False:\n",
            ("tests/unit/dataplane/test_cycle.py",),
        ),
    ),
)

_DERIVE = "agent/tidegate/compile/derive.py"
_DERIVED = "tests/unit/compile/test_derive.py"
_COST = Group(
    "a change costs what changed",
    (
        Mutant(
            "derived-again-means-changed",
            "a derived value that came out equal makes everything that read it run again",
            _DERIVE,
            "if value is node.value or value == node.value:",
            "if value is node.value:",
            (f"{_DERIVED}::test_only_what_read_the_change_runs_again",),
        ),
        Mutant(
            "whole-tables-not-recorded",
            "what was derived from a whole table does not follow it",
            _DERIVE,
            "for key in (*differences(before, now), _WHOLE):",
            "for key in differences(before, now):",
            (f"{_DERIVED}::test_after_any_changes_it_is_as_if_derived_from_nothing",),
        ),
        Mutant(
            "derived-values-never-forgotten",
            "values of services that are gone stay in memory",
            _DERIVE,
            "            del known[node.key]\n",
            "",
            (f"{_DERIVED}::test_keys_that_are_gone_are_forgotten",),
        ),
        Mutant(
            "facts-join-everything-anew",
            "what did not change in the facts is another object after each change",
            "agent/tidegate/compile/index.py",
            "if self.get(key) == value:",
            "if self.get(key) is value:",
            ("tests/unit/compile/test_facts.py::test_what_did_not_change_is_the_same_object",),
        ),
        Mutant(
            "a-plan-for-a-pod-that-is-not-open",
            "each enrolment makes two plans, and others' wait for both",
            CYCLE,
            "if facts is self._compiled or self._awaits_listeners():",
            "if facts is self._compiled:",
            ("tests/unit/dataplane/test_waiting.py",),
        ),
        Mutant(
            "who-comes-fast-does-not-wait",
            "a pod in an endless crash loop takes turns from others' enrolments",
            "agent/tidegate/dataplane/cni_calls.py",
            "            await self._clock.sleep(patience)\n",
            "            pass\n",
            ("tests/unit/dataplane/test_cni_calls.py",),
        ),
        Mutant(
            "an-enrolled-pod-cannot-ask-yet",
            "the first question of a new pod goes to its own resolver",
            "agent/tidegate/dataplane/appliers/enrolment.py",
            "if cookie not in self._shadow.pods and self._naming(cookie):",
            "if False:",
            ("tests/unit/dataplane/test_dns.py",),
        ),
        Mutant(
            "equal-members-made-anew",
            "all rows of a service are other objects when one of them changed",
            "agent/tidegate/compile/derive.py",
            "node.value = keep_members(node.value, value)",
            "node.value = value",
            ("tests/unit/compile/outbound/test_destinations.py",),
        ),
        Mutant(
            "selectors-forget-pods-that-went",
            "a service keeps the endpoints of a pod that is gone",
            "agent/tidegate/compile/facts.py",
            "            changed.append(before)\n",
            "            pass\n",
            ("tests/unit/compile/test_facts.py::test_joined_after_changes_is_joined_from_nothing",),
        ),
    ),
)

GROUPS = (_CHANGE, _BROKEN, _AGENT, _ENVOY, _NACK, _COST)
