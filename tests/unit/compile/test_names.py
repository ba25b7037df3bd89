"""From Services, pods and slices to the names that DNS answers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from tests.support.configs import ENROLLED, config_of, entry, mesh_config, pod, sandbox

from tidegate.compile.allocation import RANGE
from tidegate.compile.compiler import Compiler, compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import join
from tidegate.model.names import WorkloadId
from tidegate.model.plan import Plan
from tidegate.model.plan.names import HostNames, NamedPort, NamedServer

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7, "fd00:96::7"]
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
"""
HEADLESS = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: sql, port: 5432, targetPort: psql}]}
"""
UNREADY = HEADLESS.replace("spec: {", "spec: {publishNotReadyAddresses: true, ")
ALIAS = """
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: default}
spec: {type: ExternalName, externalName: www.example.com}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: db}}}}
spec:
  {extra}
  containers: [{{name: c, ports: [{{name: psql, containerPort: 15432}}]}}]
status:
  podIP: {ip}
  conditions: [{{type: Ready, status: "{ready}"}}]
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: default, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 5433}]
endpoints: [{addresses: [192.0.2.7], hostname: Far}, {addresses: [192.0.2.8], conditions: {ready: false}}]
"""
DB, WEB = "db.default.svc.cluster.local", "web.default.svc.cluster.local"


def db_pod(name: str, ip: str, *, ready: bool = True, extra: str = "") -> str:
    return POD.format(name=name, ip=ip, ready=ready, extra=extra)


def names(*documents: str) -> dict[str, HostNames]:
    return {host.host: host for host in compile_plan(join(config_of(*documents), ())).names}


def test_a_service_has_its_addresses_and_named_ports() -> None:
    assert names(SERVICES) == {
        WEB: HostNames(
            WEB,
            (ip_address("10.96.0.7"), ip_address("fd00:96::7")),
            ports=(NamedPort("http", "tcp", 80), NamedPort("dns", "udp", 53)),
        )
    }


def test_a_headless_service_has_its_ready_servers_by_their_own_names() -> None:
    found = names(
        HEADLESS,
        db_pod("db-0", "10.0.0.3", extra="hostname: db-0\n  subdomain: db"),
        db_pod("db-1", "10.0.0.4"),
        db_pod("db-2", "10.0.0.5", ready=False),
        db_pod("db-3", "10.0.0.6", extra="hostname: x\n  subdomain: other"),
    )
    sql = (NamedPort("sql", "tcp", 15432),)
    assert found[DB].addresses == ()
    assert set(found[DB].servers) == {
        NamedServer("db-0", (ip_address("10.0.0.3"),), sql),
        NamedServer("10-0-0-4", (ip_address("10.0.0.4"),), sql),
        NamedServer("10-0-0-6", (ip_address("10.0.0.6"),), sql),
    }


def test_servers_that_are_not_ready_have_names_where_the_service_says_so() -> None:
    (server,) = names(UNREADY, db_pod("db-2", "10.0.0.5", ready=False))[DB].servers
    assert server.label == "10-0-0-5"


def test_what_somebody_wrote_down_has_the_name_that_was_written() -> None:
    headless = HEADLESS.replace("selector: {app: db}, ", "")
    assert names(headless, SLICE)[DB].servers == (
        NamedServer("far", (ip_address("192.0.2.7"),), (NamedPort("sql", "tcp", 5433),)),
    )


def test_what_the_registry_cannot_answer_is_no_name_of_it() -> None:
    """An alias is for the resolver, as is a headless service without servers: it says that there is nobody."""
    assert names(ALIAS, HEADLESS) == {}


def test_what_did_not_change_is_the_same_object() -> None:
    compiler = Compiler()
    config = config_of(SERVICES, HEADLESS, db_pod("db-1", "10.0.0.4"))
    facts = join(config, ())
    before = compiler.compile(facts).names
    assert compiler.compile(join(replace(config, generation=2), (), facts)).names is before


CLIENTS = (
    ENROLLED,
    ENROLLED.replace("name: default", "name: other"),
    pod("mine", "app: mine", "10.1.0.1"),
    pod("theirs", "app: theirs", "10.1.0.2", namespace="other"),
)
AT = "ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 192.0.2.1}]"


def seen_by_pods(*documents: str) -> Plan:
    """As two pods of this node see it, one in default and one in other."""
    pods = (sandbox("mine", "10.1.0.1", cookie=1), sandbox("theirs", "10.1.0.2", namespace="other", cookie=2))
    return compile_plan(join(config_of(*CLIENTS, *documents), pods))


def told(plan: Plan, cookie: int, host: str) -> bool:
    """Whether a pod is answered for a host."""
    view = plan.views.get(cookie, ("default", "other")[cookie - 1])
    return any(h.host == host and (not h.visible or view in h.visible) for h in plan.names)


def both(plan: Plan, host: str) -> tuple[bool, bool]:
    return told(plan, 1, host), told(plan, 2, host)


def test_a_host_of_a_service_entry_has_the_addresses_that_it_is_reached_at() -> None:
    plan = seen_by_pods(entry("a", "a.example", AT), entry("b", '"*.b.example"', f"addresses: [10.9.0.1], {AT}"))
    found = {host.host: host.addresses for host in plan.names}
    assert found["*.b.example"] == (ip_address("10.9.0.1"),)
    assert found["a.example"][0] in RANGE


def test_a_range_is_no_address_of_a_name() -> None:
    """The document's Mongo: what resolves it says where in the range it is."""
    plan = seen_by_pods(
        entry("mongo", "mymongodb.somedomain", f"addresses: [192.192.192.192/24], {AT}"),
        entry("both", "both.example", f"addresses: [10.9.0.1, 10.9.1.0/30], {AT}"),
    )
    assert {host.host: host.addresses for host in plan.names} == {"both.example": (ip_address("10.9.0.1"),)}


def test_a_host_is_known_where_it_is_exported_to() -> None:
    plan = seen_by_pods(
        entry("a", "a.example", f'{AT}, exportTo: ["."]'), entry("b", "b.example", f"{AT}, exportTo: [other]")
    )
    assert both(plan, "a.example") == (True, False)
    assert both(plan, "b.example") == (False, True)
    assert both(seen_by_pods(entry("c", "c.example", f'{AT}, exportTo: ["~"]')), "c.example") == (False, False)
    default = seen_by_pods(entry("d", "d.example", AT), mesh_config("defaultServiceExportTo: ['.']"))
    assert both(default, "d.example") == (True, False)
    annotated = SERVICES.replace(
        "namespace: default", 'namespace: default, annotations: {networking.istio.io/exportTo: "."}'
    )
    assert both(seen_by_pods(annotated), WEB) == (True, False)


def test_a_host_that_a_sidecar_does_not_import_is_for_the_pods_own_resolver() -> None:
    sidecar = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {workloadSelector: {labels: {app: mine}}, egress: [{hosts: ["./seen.example"]}]}
"""
    plan = seen_by_pods(entry("a", "a.example", AT), entry("b", "seen.example", AT), sidecar)
    assert both(plan, "a.example") == (False, True)
    assert both(plan, "seen.example") == (True, True)


MACHINE = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: default}
spec: {address: 192.0.2.9, labels: {app: db}, ports: {psql: 6000}}
"""


def test_machines_that_a_headless_service_selects_are_servers_of_it() -> None:
    assert names(HEADLESS, MACHINE)[DB].servers == (
        NamedServer("192-0-2-9", (ip_address("192.0.2.9"),), (NamedPort("sql", "tcp", 6000),)),
    )


def test_explain_knows_a_server_by_the_name_that_dns_answers() -> None:
    """Be it a pod with a name of its own or without, an endpoint that somebody wrote down, or a machine."""
    named = db_pod("db-0", "10.0.0.3", extra="hostname: db-0\n  subdomain: db")
    everybody = (HEADLESS, named, db_pod("db-1", "10.0.0.4"), SLICE, MACHINE)
    facts = join(config_of(ENROLLED, pod("mine", "app: mine", "10.1.0.1"), *everybody), (sandbox("mine", "10.1.0.1"),))
    told = {f"{s.label}.db": str(s.addresses[0]) for s in names(*everybody)[DB].servers}
    assert set(told) == {"db-0.db", "10-0-0-4.db", "far.db", "192-0-2-9.db"}
    mine = WorkloadId("default", "mine")
    assert {host: explain(facts, mine, host, 5432).address for host in told} == told
    assert explain(facts, mine, "db", 5432).address == "10.0.0.3"


def test_explain_of_a_headless_name_starts_at_any_server_that_dns_answers() -> None:
    facts = join(config_of(ENROLLED, pod("mine", "app: mine", "10.1.0.1"), HEADLESS, MACHINE), ())
    assert explain(facts, WorkloadId("default", "mine"), "db", 5432).address == "192.0.2.9"
