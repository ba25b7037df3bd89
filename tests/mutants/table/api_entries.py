"""Hosts of ServiceEntries as services of the registry."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

COMPILE = "tests/unit/compile/test_entries.py"
RESOLVER = "tests/unit/dataplane/test_resolver.py"

GROUPS: tuple[Group, ...] = (
    Group(
        "a host of a ServiceEntry is served as a service of Kubernetes is",
        (
            Mutant(
                "entry-over-kubernetes",
                "a ServiceEntry takes the name of a Service of the cluster",
                "agent/tidegate/compile/service_tables.py",
                "        if changed.get(host) is None:\n",
                "        if True:\n",
                (COMPILE,),
            ),
            Mutant(
                "entries-of-one-host-not-merged",
                "of two ServiceEntries of one host only the older one's ports are served",
                "agent/tidegate/model/service_entry.py",
                "    others = [s for s in services[1:] if mergeable(first, s)]\n",
                "    others: list[Service] = []\n",
                (COMPILE,),
            ),
            Mutant(
                "endpoint-of-another-entry-behind-each-port",
                "a merged ServiceEntry's endpoints are asked at ports of which it never spoke",
                "agent/tidegate/model/entry.py",
                "        return not self.only or port in self.only\n",
                "        return True\n",
                (COMPILE,),
            ),
            Mutant(
                "entry-weights-ignored",
                "endpoints get equal shares whatever their weight",
                "agent/tidegate/compile/facts.py",
                "        return (self.workload.weight if self.workload else 0) or 1\n",
                "        return 1\n",
                (COMPILE,),
            ),
            Mutant(
                "entry-by-name-told-addresses",
                "a DNS entry's cluster waits for endpoints that nobody tells",
                "agent/tidegate/compile/envoy/named.py",
                '        body.update(_finding(body["name"], service, found, refresh_ms))\n',
                "        return\n",
                (COMPILE,),
            ),
            Mutant(
                "workload-entries-of-every-namespace",
                "a selector finds WorkloadEntries of other namespaces",
                "agent/tidegate/compile/entries.py",
                "        groups.add(pairs(entry.namespace, entry.labels), entry)\n",
                '        groups.add(pairs("default", entry.labels), entry)\n',
                (COMPILE,),
            ),
            Mutant(
                "given-address-given-again",
                "an address that a status names is given to another host as well",
                "agent/tidegate/compile/allocation.py",
                "    used = set(taken)\n",
                "    used = set[IPAddress]()\n",
                (COMPILE,),
            ),
            Mutant(
                "every-unix-socket",
                "whoever may write a ServiceEntry reaches any socket of the node",
                "agent/tidegate/model/sockets.py",
                "    return _allowed is not None and ",
                "    return _allowed is None or ",
                ("tests/unit/model/test_sockets.py",),
            ),
            Mutant(
                "socket-outside-by-dots",
                "a path with .. leads out of the directory that is allowed",
                "agent/tidegate/model/sockets.py",
                'return _allowed is not None and ".." not in wanted.parts and _allowed',
                "return _allowed is not None and _allowed",
                ("tests/unit/model/test_sockets.py",),
            ),
            Mutant(
                "name-forgotten-while-nobody-answers",
                "a TCP service by name is refused while the name server is away",
                "agent/tidegate/dataplane/resolver.py",
                "        if found:\n            now[name] = found\n",
                "        now[name] = found\n",
                (RESOLVER,),
            ),
        ),
    ),
)
