"""What a cluster would add to manifests: pods of Deployments, addresses of pods and services.

`tidegate compile` needs no cluster, and without an address there is nothing to catch a connection for. Addresses are
from ranges that clusters use by default, numbered in order of names, and never written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from tidegate.model.kube import Namespace, Pod
from tidegate.model.mesh import Mesh
from tidegate.model.names import WorkloadId
from tidegate.model.origin import Origin
from tidegate.model.selectors import selects

MOST_REPLICAS = 1000  # of one Deployment: more say nothing that these do not
_SERVICES = IPv4Network("10.96.0.0/12")
_PODS = IPv4Network("10.244.0.0/14")


def with_stand_ins(config: Mesh) -> Mesh:
    """The config with what is missing for a compilation; what is there stays as it is."""
    pods = {p.id: p for p in config.pods}
    for template in config.templates:
        for number in range(min(template.replicas, MOST_REPLICAS)):
            name = template.name if template.replicas == 1 else f"{template.name}-{number}"
            made = WorkloadId(template.namespace, name)
            if not any(_belongs(p, made.namespace, template.pod) for p in config.pods):
                pods.setdefault(made, replace(template.pod, id=made, ready=True))
    addresses = _free(_PODS, (a for p in pods.values() for a in p.ips))
    for key, pod in sorted(pods.items()):
        if not pod.ips and not pod.host_network:
            pods[key] = replace(pod, ips=(next(addresses),), ready=True)
    virtual = _free(_SERVICES, (a for s in config.services for a in s.addresses))
    services = []
    for service in sorted(config.services, key=lambda s: s.id):
        wanted = not (service.addresses or service.headless or service.external_name)
        services.append(replace(service, addresses=(next(virtual),)) if wanted else service)
    namespaces = {n.name: n for n in config.namespaces}
    for pod in pods.values():
        # Manifests often leave the namespace to whoever applies them; a compilation is about the mesh.
        name = pod.id.namespace
        namespaces.setdefault(name, Namespace(name, {"istio-injection": "enabled"}, Origin("Namespace", "", name)))
    return replace(config, pods=tuple(pods.values()), services=tuple(services), namespaces=tuple(namespaces.values()))


def _belongs(pod: Pod, namespace: str, template: Pod) -> bool:
    return pod.id.namespace == namespace and bool(template.labels) and selects(template.labels, pod.labels)


def _free(network: IPv4Network, taken: Iterator[object]) -> Iterator[IPv4Address]:
    used = set(taken)
    return (a for a in network.hosts() if a not in used)
