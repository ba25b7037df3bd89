"""What `tidegate compile` makes up when there is no cluster."""

from __future__ import annotations

from ipaddress import ip_address

from tests.support.configs import config_of, pod, service

from tidegate.config.stand_ins import with_stand_ins

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, ports: [{containerPort: 80}]}]}
"""


def test_pods_and_addresses_are_made_up_in_order_of_names() -> None:
    config = with_stand_ins(config_of(DEPLOYMENT, service("b", "http:80"), service("a", "http:80")))
    assert [(p.id.name, str(p.ips[0]), p.ready) for p in config.pods] == [
        ("web-0", "10.244.0.1", True),
        ("web-1", "10.244.0.2", True),
    ]
    assert [(s.id.name, str(s.addresses[0])) for s in config.services] == [("a", "10.96.0.1"), ("b", "10.96.0.2")]


def test_what_is_there_stays() -> None:
    config = with_stand_ins(
        config_of(
            DEPLOYMENT,
            pod("web-x", "app: web", "10.244.0.1", ready=False),
            service("a", "http:80", ips="10.96.0.1"),
            service("b", "http:80"),
            service("h", "http:80", ips="None"),
        )
    )
    assert [(p.id.name, p.ready) for p in config.pods] == [("web-x", False)]
    addresses = {s.id.name: s.addresses for s in config.services}
    assert addresses["b"] == (ip_address("10.96.0.2"),)
    assert addresses["h"] == ()
