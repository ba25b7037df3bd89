"""A small random cluster that changes, to compare what follows changes with what is made from nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from tidegate.compile.facts import Facts, join
from tidegate.model.entry import External, Resolution, Workload, WorkloadEntry
from tidegate.model.kube import (
    Age,
    EndpointSlice,
    Namespace,
    Near,
    Node,
    Pod,
    Protocol,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from tidegate.model.mesh import Mesh
from tidegate.model.names import ServiceName, WorkloadId
from tidegate.model.origin import Origin
from tidegate.model.routing import VirtualService
from tidegate.model.service_entry import ServiceEntry
from tidegate.model.traffic import Balancing, ConsistentHash, DestinationRule, LoadBalancer, TrafficPolicy
from tidegate.model.workload import Sandbox


class World:
    """Random objects of a small cluster, and changes to them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pods: dict[WorkloadId, Pod] = {}
        self.services: dict[ServiceName, Service] = {}
        self.nodes: dict[str, Node] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.virtual_services: dict[WorkloadId, VirtualService] = {}
        self.destination_rules: dict[WorkloadId, DestinationRule] = {}
        self.service_entries: dict[WorkloadId, ServiceEntry] = {}
        self.workload_entries: dict[WorkloadId, WorkloadEntry] = {}
        self.slices: dict[WorkloadId, EndpointSlice] = {}
        self.sandboxes: dict[WorkloadId, Sandbox] = {}
        self.mesh = Mesh()

    def change(self) -> None:
        choose = self.random.choice
        name = WorkloadId(choose("ab"), choose("xyz"))
        what = self.random.randrange(13)
        if what == 0:
            self.pods.pop(name, None)
        elif what < 3:
            labels = {k: choose("12") for k in "kl" if self.random.random() < 0.7}
            ips = (ip_address(f"10.0.0.{choose('123')}"),) if self.random.random() < 0.6 else ()
            status = bool(ips) or self.random.random() < 0.3
            ready, node = status and choose((True, False)), choose(("", "m", "n"))
            self.pods[name] = Pod(name, labels, ips=ips, ready=ready, has_status=status, node=node)
        elif what == 3:
            key = ServiceName(choose("ab"), choose("st"))
            selector = {k: choose("12") for k in "kl" if self.random.random() < 0.5}
            ports = tuple(
                ServicePort(number, "p", choose((Protocol.TCP, Protocol.HTTP)), choose((0, 8080)))
                for number in self.random.sample((80, 81), self.random.randrange(3))
            )
            vips = (ip_address(f"10.96.0.{choose('12')}"), ip_address(f"fd00::{choose('12')}"))
            headless = self.random.random() < 0.3
            addresses = () if headless else vips[: self.random.randrange(3)]
            age = Age(undated=choose((True, False)))
            near = choose(tuple(Near))
            self.services[key] = Service(key, ports, addresses, headless, selector=selector, age=age, near=near)
            if self.random.random() < 0.3:
                del self.services[key]
        elif what == 4:
            self.namespaces[name.namespace] = Namespace(name.namespace, {"istio-injection": choose(("enabled", "no"))})
        elif what == 7:
            hosts = tuple(self.random.sample(["s.a.svc.cluster.local", "x.example", "*.a.svc.cluster.local", "*"], 2))
            self.virtual_services[name] = VirtualService(name.namespace, name.name, hosts)
        elif what == 8:
            host = choose(("s.a.svc.cluster.local", "t.b.svc.cluster.local", "*.a.svc.cluster.local"))
            how = choose(tuple(Balancing))
            by = ConsistentHash(header="x-who") if how is Balancing.CONSISTENT_HASH else None
            policy = TrafficPolicy(LoadBalancer(how, hash=by))
            self.destination_rules[name] = DestinationRule(name.namespace, name.name, host, policy)
            if self.random.random() < 0.3:
                del self.destination_rules[name]
        elif what == 10:
            node = choose("mn")
            self.nodes[node] = Node(node, choose(("", "east", "west")))
        elif what == 11:
            self.change_entry(name)
        elif what == 12:
            workload = Workload(f"10.0.0.{choose('189')}", {"p": 90}, {"k": choose("12")}, self.random.randrange(3))
            self.workload_entries[name] = WorkloadEntry(name.namespace, name.name, workload)
            if self.random.random() < 0.3:
                del self.workload_entries[name]
        elif what == 5:
            self.sandboxes.pop(name, None)
        elif what == 9:
            numbers = (SlicePort(choose((80, 8080)), choose(("p", "q"))),)
            found = (
                SliceEndpoint(
                    ip_address(f"10.0.0.{choose('17')}"), numbers, choose((True, False)), choose((True, False))
                ),
            )
            service, of_selector = ServiceName(name.namespace, choose("st")), choose((True, False))
            self.slices[name] = EndpointSlice(name.namespace, name.name, service, found, of_selector)
            if self.random.random() < 0.3:
                del self.slices[name]
        else:
            self.sandboxes[name] = Sandbox(name, "c", "/n", 7, (ip_address(f"10.0.0.{choose('45')}"),))
        tuples: dict[str, Any] = {
            "pods": tuple(self.pods[k] for k in sorted(self.pods)),
            "services": tuple(self.services[k] for k in sorted(self.services)),
            "endpoint_slices": tuple(self.slices[k] for k in sorted(self.slices)),
            "virtual_services": tuple(self.virtual_services[k] for k in sorted(self.virtual_services)),
            "destination_rules": tuple(self.destination_rules[k] for k in sorted(self.destination_rules)),
            "service_entries": tuple(self.service_entries[k] for k in sorted(self.service_entries)),
            "workload_entries": tuple(self.workload_entries[k] for k in sorted(self.workload_entries)),
            "nodes": tuple(self.nodes[k] for k in sorted(self.nodes)),
            "namespaces": tuple(self.namespaces[k] for k in sorted(self.namespaces)),
        }
        changed = {k: v for k, v in tuples.items() if v != getattr(self.mesh, k)}
        self.mesh = replace(self.mesh, generation=self.mesh.generation + 1, **changed)

    def change_entry(self, name: WorkloadId) -> None:
        choose = self.random.choice
        addresses = (ip_address(f"10.96.0.{choose('123')}"),) if self.random.random() < 0.4 else ()
        endpoints = tuple(Workload(choose(("10.0.0.9", "10.0.0.1", "db.example"))) for _ in range(choose((0, 1, 2))))
        selector = {} if endpoints else {"k": choose("12")}
        self.service_entries[name] = ServiceEntry(
            name.namespace,
            name.name,
            tuple(self.random.sample(["s.a.svc.cluster.local", "x.example", "y.example", "*.z.example"], 2)),
            addresses,
            tuple(ServicePort(n, "p", choose((Protocol.TCP, Protocol.HTTP))) for n in self.random.sample((80, 81), 1)),
            External(choose(tuple(Resolution)), endpoints),
            selector,
            wants_addresses=not addresses,
            age=Age(undated=choose((True, False))),
            origin=Origin("ServiceEntry", name.namespace, name.name),
        )
        if self.random.random() < 0.3:
            del self.service_entries[name]

    def join(self, previous: Facts | None = None) -> Facts:
        return join(self.mesh, list(self.sandboxes.values()), previous, "m")
