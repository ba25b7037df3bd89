"""Objects as a cluster has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.config.sources.kube.resources import RESOURCES, Resource

Object = dict[str, Any]


def namespace(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def node(name: str, zone: str = "") -> Object:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"images": [{"names": ["long" * 100]}]},
    }


def service(name: str, port: int = 80, *, ns: str = "default", ip: str = "10.96.0.1", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": ns},
        "spec": {
            "clusterIP": ip,
            "clusterIPs": [ip],
            "type": "ClusterIP",
            "selector": {"app": name},
            "ports": [{"name": "http", "protocol": "TCP", "port": port, "targetPort": 8080}],
            # Of a headless service without selector a server makes two families, unless it is told.
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            **spec,
        },
        "status": {"loadBalancer": {}},
    }


def endpoint(address: str, **more: Any) -> Object:
    """Ready, unless conditions are given."""
    return {"addresses": [address], "conditions": {"ready": True, "serving": True, "terminating": False}, **more}


def endpoint_slice(
    name: str, service: str, endpoints: Sequence[Object], *, ns: str = "default", port: int = 8080, ports: Any = None
) -> Object:
    """As the cluster's own controller writes them."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": ns,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "http", "protocol": "TCP", "port": port}] if ports is None else ports,
    }


def pod(
    name: str, ip: str = "", *, ns: str = "default", node: str = "node1", ready: bool = True, **labels: str
) -> Object:
    status: Object = {"phase": "Running" if ip else "Pending", "conditions": [{"type": "Ready", "status": str(ready)}]}
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": ns, "labels": labels},
        "spec": {
            "nodeName": node,
            "serviceAccountName": "default",
            "containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 8080, "name": "http"}]}],
        },
        "status": status,
    }


def virtual_service(name: str, host: str, to: str, *, ns: str = "default", **route: Any) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": ns},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": to}}], **route}]},
    }


def secret(name: str, *, ns: str = "default", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": ns},
        "type": "Opaque",
        "data": data,
    }


def crd(resource: Resource, versions: Sequence[str] = ()) -> Object:
    """That the cluster has the kind. What objects of it say is not looked at."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": resource.plural, "kind": resource.kind, "singular": resource.kind.lower()}
    served = versions or resource.versions
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {**names, "listKind": f"{resource.kind}List"},
            "versions": [{"name": v, "served": True, "storage": v == served[0], "schema": schema} for v in served],
        },
    }


def crds() -> list[Object]:
    """Of all kinds that a cluster may lack."""
    return [crd(resource) for resource in RESOURCES if resource.optional]
