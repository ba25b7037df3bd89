"""CNI, the lab and its leftovers."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

PLUGIN = "tests/stories/enrol/test_cni_plugin.py"
CHAIN = "tests/stories/enrol/test_cni_chain.py"
LEFT = "lab/tests/stories/test_leftovers.py::test_down_leaves_nothing"
DOWN = "lab/tests/stories/test_lab_down.py"
CALL = "cni/call.c"
JANITOR = "lab/tidegate_lab/janitor.py"
CLI = "lab/tidegate_lab/cli.py"

_CNI = Group(
    "CNI: ADD blocks until enrolled; agent away: error 11, DEL succeeds; ADD, DEL, CHECK, VERSION",
    (
        Mutant(
            "add-returns-before-enrolment",
            "a pod's containers start before its connections are captured",
            "agent/tidegate/dataplane/cni_calls.py",
            "        status = await self._cycle.settling.settled(sandbox.netns_cookie, self._timeout)\n",
            "        return\n",
            ("tests/stories/capture/test_first_connection.py",),
        ),
        Mutant(
            "add-answered-at-once",
            "the agent answers ADD before it has done anything",
            "agent/tidegate/enroll/cni_server.py",
            "            await self._handler.add(request)\n",
            "            self._spawn(self._handler.add(request))\n",
            (f"{PLUGIN}::test_add_returns_when_the_agent_is_done",),
        ),
        Mutant(
            "check-always-fine",
            "CHECK says yes without asking anybody",
            "agent/tidegate/enroll/cni_server.py",
            "            await self._handler.check(request)\n",
            "            pass\n",
            (CHAIN,),
        ),
        Mutant(
            "check-does-not-miss-a-pod",
            "CHECK says yes to a pod that the agent does not know",
            "agent/tidegate/dataplane/cni_calls.py",
            "        if sandbox is None:\n",
            "        if sandbox is None:\n            return\n        if sandbox is None:\n",
            ("tests/stories/capture/test_first_connection.py",),
        ),
        Mutant(
            "del-needs-the-agent",
            "no pod can go while the agent is away",
            CALL,
            '\tif (strcmp(call->command, "DEL") == 0 || strcmp(call->command, "GC") == 0) {',
            '\tif (strcmp(call->command, "GC") == 0) {',
            (f"{PLUGIN}::test_without_an_agent_a_pod_can_still_go", CHAIN),
        ),
        Mutant(
            "del-needs-the-netns",
            "a pod whose namespace is lost cannot go",
            CALL,
            'if (netns < 0 && strcmp(call->command, "DEL") != 0)',
            "if (netns < 0)",
            (f"{PLUGIN}::test_del_works_when_the_namespace_is_gone",),
        ),
        Mutant(
            "try-again-is-another-error",
            "while the agent is away the runtime gives a pod up instead of trying again",
            CALL,
            "CNI_TRY_AGAIN = 11,",
            "CNI_TRY_AGAIN = 5,",
            (f"{PLUGIN}::test_without_an_agent_the_runtime_has_to_try_again",),
            more=((CALL, "CNI_IO_FAILURE = 5,", "CNI_IO_FAILURE = 55,"),),
        ),
        Mutant(
            "agents-try-again-is-another-error",
            "a pod that cannot be enrolled yet is given up instead of tried again",
            "agent/tidegate/enroll/wire.py",
            "TRY_AGAIN = 11",
            "TRY_AGAIN = 7",
            (f"{PLUGIN}::test_what_the_agent_refuses_is_refused_with_its_reason",),
        ),
        Mutant(
            "previous-result-lost",
            "ADD does not hand on the result of the plugin before: the runtime knows no address of the pod",
            CALL,
            'return strcmp(call->command, "ADD") == 0 ? print(call, json_incref(previous)) : 0;',
            "(void)previous;\n\treturn 0;",
            (f"{PLUGIN}::test_add_prints_the_previous_result_as_it_came",),
            raises=("JSONDecodeError",),
        ),
        Mutant(
            "version-0.4.0-refused",
            "a runtime that speaks CNI 0.4.0 cannot use the plugin",
            CALL,
            '"0.3.1", "0.4.0", "1.0.0"',
            '"0.3.1", "1.0.0"',
            (PLUGIN, f"{CHAIN}::test_a_pod_is_attached_checked_and_detached[0.4.0]"),
        ),
        Mutant(
            "plugin-waits-for-ever",
            "an agent that hangs makes the runtime hang",
            "cni/wire.c",
            "\t\tif (left <= 0) {",
            "\t\tif (0) {",
            (f"{PLUGIN}::test_an_agent_that_does_not_answer_is_given_up",),
            raises=("TimeoutError", "TimeoutExpired"),
        ),
        Mutant(
            "deleted-pod-stays",
            "a pod that is gone stays in the agent's tables",
            "agent/tidegate/dataplane/cni_calls.py",
            "        await self._release((gone,) if gone else ())\n",
            "        return\n",
            ("tests/stories/capture/test_first_connection.py",),
        ),
    ),
)

_DOWN = Group(
    "lab down leaves no netns, link, cgroup, pinned object, rule, file or process",
    (
        Mutant(
            "down-leaves-netns",
            "network namespaces stay",
            JANITOR,
            "    for name in netns.names(paths.netns_prefix):\n",
            "    for name in netns.names(paths.netns_prefix)[:0]:\n",
            (LEFT,),
        ),
        Mutant(
            "down-leaves-cgroups",
            "cgroups stay",
            JANITOR,
            "    cgroups.remove(paths.cgroup)\n",
            "    cgroups.kill(paths.cgroup)\n",
            (LEFT,),
        ),
        Mutant(
            "down-leaves-pins",
            "pinned programs and maps stay",
            JANITOR,
            '    for directory in BPFFS_ROOT.glob(f"{paths.name}-*"):\n',
            "    for directory in ():\n",
            (LEFT,),
        ),
        Mutant(
            "down-leaves-files",
            "the run directory stays",
            JANITOR,
            "    shutil.rmtree(paths.run, ignore_errors=True)\n    if paths.run.exists():\n",
            "    if False:\n",
            (LEFT,),
        ),
        Mutant(
            "down-leaves-the-pods-processes",
            "programs of pods go on when labd was killed",
            "lab/tidegate_lab/cgroups.py",
            '        (cgroup / "cgroup.kill").write_text("1")\n        return\n',
            "        return\n",
            (f"{DOWN}::test_down_leaves_nothing_of_a_lab_whose_labd_was_killed",),
        ),
        Mutant(
            "down-leaves-labd",
            "labd goes on after `lab down`",
            "lab/tidegate_lab/daemon.py",
            "        server.close()\n",
            "        server.close()\n        await asyncio.sleep(600)\n",
            (LEFT, DOWN),
            more=(
                (JANITOR, "    if (pid := labd_pid(paths)) is not None:\n", "    if (pid := labd_pid(paths)) == 0:\n"),
                (CLI, "        _wait_gone(paths, 15.0)\n", ""),
            ),
        ),
        Mutant(
            "down-leaves-a-link",
            "a link of the lab stays on the machine",
            JANITOR,
            "    shutil.rmtree(paths.run, ignore_errors=True)\n",
            '    subprocess.run([tool("ip"), "link", "add", "mutant0", "type", "bridge"], check=False)\n'
            "    shutil.rmtree(paths.run, ignore_errors=True)\n",
            (LEFT,),
        ),
        Mutant(
            "down-leaves-a-rule",
            "a routing rule of the lab stays on the machine",
            JANITOR,
            "    shutil.rmtree(paths.run, ignore_errors=True)\n",
            '    subprocess.run([tool("ip"), "rule", "add", "fwmark", "77", "lookup", "77"], check=False)\n'
            "    shutil.rmtree(paths.run, ignore_errors=True)\n",
            (LEFT,),
        ),
        Mutant(
            "down-leaves-a-mount",
            "a mount of the lab stays on the machine",
            JANITOR,
            "    shutil.rmtree(paths.run, ignore_errors=True)\n",
            "    shutil.rmtree(paths.run, ignore_errors=True)\n"
            '    left = Path(f"/run/{paths.name}-mount")\n    left.mkdir(exist_ok=True)\n'
            '    subprocess.run([tool("mount"), "-t", "tmpfs", "none", str(left)], check=False)\n',
            (LEFT,),
        ),
    ),
)

_LAB = Group(
    "the lab: names resolve, exec passes everything through, commands return when it is so",
    (
        Mutant(
            "dns-search-dropped",
            "short names of Services do not resolve in pods",
            "lab/tidegate_lab/sandbox.py",
            '    search = " ".join(search_domains(namespace))\n',
            "    search = search_domains(namespace)[-1]\n",
            ("tests/stories/capture/test_addresses.py::test_every_form_of_a_service_name_resolves",),
        ),
        Mutant(
            "dns-of-another-namespace",
            "short names resolve in the default namespace, whatever the pod's own is",
            "lab/tidegate_lab/sandbox.py",
            "search_domains(namespace)",
            'search_domains("default")',
            ("lab/tests/stories/test_lab_network.py::test_a_short_name_is_of_the_own_namespace",),
        ),
        Mutant(
            "cluster-domain-not-told",
            "a lab of another domain: its agents know no name that its pods resolve",
            "agent/tidegate/cli/agent.py",
            "        use_cluster_domain(settings.cluster_domain)\n",
            "",
            ("tests/stories/operate/test_cluster_domain.py::test_the_identity_is_of_that_trust_domain",),
        ),
        Mutant(
            "short-hosts-of-the-default-domain",
            "a short host of a rule is completed with cluster.local, whatever the cluster's domain is",
            "agent/tidegate/model/hosts.py",
            '    return f"{host}.{namespace}.svc.{cluster_domain()}"\n',
            '    return f"{host}.{namespace}.svc.cluster.local"\n',
            ("tests/unit/model/test_names.py::test_names_end_with_the_domain_that_is_set",),
        ),
        Mutant(
            "dns-gives-vips-to-everybody",
            "a pod outside the mesh is given service addresses that lead nowhere for it",
            "lab/tidegate_lab/dns_zone.py",
            "        if service.addresses and captured:\n",
            "        if service.addresses:\n",
            ("lab/tests/stories/test_lab_network.py::test_every_form_of_a_service_name",),
        ),
        Mutant(
            "exec-exit-code-lost",
            "`lab exec` ends with 0 whatever the program says",
            CLI,
            "    os.execve(argv[0], argv, env)\n",
            "    subprocess.run(argv, env=env, check=False)\n",
            ("lab/tests/stories/test_lab_exec.py::test_streams_and_exit_code_pass_through",),
        ),
        Mutant(
            "exec-outside-the-cgroup",
            "what `lab exec` starts is in no pod's cgroup: its connections are not captured",
            "lab/tidegate_lab/launch.py",
            '        return in_cgroup(self.cgroup, [*enter, *identity, "--", *command])\n',
            '        return [*enter, *identity, "--", *command]\n',
            ("tests/stories/capture/test_addresses.py::test_service_vip_is_relayed_and_nobody_notices[4]",),
        ),
        Mutant(
            "apply-does-not-wait-for-pods",
            "`lab apply` returns before the pods are ready",
            "lab/tidegate_lab/lab.py",
            "            if not waiting and not self._plan():\n",
            "            if True:\n",
            ("lab/tests/stories/test_lab_pods.py::test_network_probes_decide_readiness",),
        ),
        Mutant(
            "crashed-containers-stay-down",
            "a container that crashed is not started again",
            "lab/tidegate_lab/container.py",
            '            if self._stopping or policy == "Never" or (policy == "OnFailure" and code == 0):\n',
            "            if True:\n",
            ("lab/tests/stories/test_lab_pods.py::test_a_crashed_container_comes_back",),
        ),
        Mutant(
            "pods-killed-without-a-warning",
            "a pod gets no SIGTERM and no time before it ends",
            "lab/tidegate_lab/lab.py",
            "            await runner.stop(runner.pod.spec.termination_grace_period_seconds)\n",
            "            await runner.stop(0)\n",
            ("lab/tests/stories/test_lab_pods.py::test_a_pod_gets_a_warning_and_time_before_it_ends",),
        ),
        Mutant(
            "agent-outside-of-its-node",
            "an agent runs on the machine instead of on its node: its ports and what it resolves are the machine's",
            "lab/tidegate_lab/agents.py",
            'return in_cgroup(self.node.cgroup / "agent", in_netns(self.node.netns, [*agent, "--workers", "1"]))',
            'return in_cgroup(self.node.cgroup / "agent", [*agent, "--workers", "1"])',
            ("tests/stories/capture/test_two_nodes.py::test_each_agent_lives_on_its_node",),
        ),
    ),
)

GROUPS = (_CNI, _DOWN, _LAB)
