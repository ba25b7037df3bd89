"""The agent or Envoy dies: back, adopted, told."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

RESTART = "tests/stories/change/test_restart.py"
UPGRADE = "tests/bpf/test_upgrade.py"
ADOPTS = f"{RESTART}::test_killed_agent_comes_back_and_adopts"
UNNOTICED = f"{RESTART}::test_http_does_not_notice_a_killed_agent"
ENVOY_BACK = f"{RESTART}::test_killed_envoy_is_back"
CYCLE = "agent/tidegate/dataplane/cycle.py"
SUPERVISOR = "agent/tidegate/supervise/supervisor.py"

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
                "tests/unit/enroll/test_kept_namespaces.py"
                "::test_a_new_agent_keeps_the_names_and_removes_those_of_sandboxes_that_went_meanwhile",
            ),
        ),
        Mutant(
            "copies-of-names-stay",
            "a container keeps the network namespaces of all pods that were there before it",
            "agent/tidegate/linux/netns.py",
            "keep the network namespace alive.\n        path.unlink(missing_ok=True)\n",
            "keep the network namespace alive.\n        pass\n",
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
            "agent/tidegate/observe/process.py",
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

GROUPS = (_AGENT, _ENVOY)
