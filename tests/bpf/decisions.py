"""Runs the decision functions in the kernel (BPF_PROG_TEST_RUN of build/bpf/test/decisions.t.bpf.o) on JSON cases."""

from __future__ import annotations

import os
import platform
import runpy
from ipaddress import ip_address
from pathlib import Path
from socket import htons, ntohs
from typing import Any

from cffi import FFI
from tests.bpf.pod import OBJECTS

from tidegate.bpf.objects import BpfObject
from tidegate.model.net import from_wire, to_wire
from tidegate.native import REASONS

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ("bpf/include/tg_abi.h", "bpf/include/tg_reason.h", "bpf/core/core_io.h", "tests/bpf/case.h")
XDP_PASS = 2
NO_REASON = len(REASONS)
ACTIONS = {1: "pass", 2: "redirect", 3: "deny"}

# A build script, not a module: the headers become declarations for tests as they do for the product.
declarations = runpy.run_path(str(ROOT / "agent" / "native" / "ffi_build.py"))["declarations"]

SYS_BPF = {"x86_64": 321, "aarch64": 280}
PROG_TEST_RUN = 10  # linux/bpf.h, enum bpf_cmd; struct test_run is what union bpf_attr begins with for it
TEST_RUN = """
long syscall(long number, ...);
struct test_run {
    uint32_t prog_fd, retval, data_size_in, data_size_out;
    uint64_t data_in, data_out;
    uint32_t repeat, duration, ctx_size_in, ctx_size_out;
    uint64_t ctx_in, ctx_out;
};
"""

ffi: Any = FFI()
ffi.cdef(declarations(tuple(ROOT / header for header in HEADERS)) + TEST_RUN)
libc: Any = ffi.dlopen(None)


class Decisions:
    """The loaded test programs; a context manager."""

    def __init__(self) -> None:
        self._object = BpfObject(OBJECTS / "test" / "decisions.t.bpf.o")
        self._object.load()

    def close(self) -> None:
        self._object.close()

    def connect(self, case: dict[str, Any]) -> dict[str, Any]:
        """The answer to a case of tests/vectors/connect, in the form of its `expect`."""
        c = self._connect(case)
        out = c.out
        answer: dict[str, Any] = {"action": ACTIONS[out.action], "reason": reason(out.reason)}
        if out.action == 2:
            answer |= {"to": _address(out.to), "to_port": ntohs(out.to_port_be), "flow": _flow(out.flow)}
        else:
            assert not any(ffi.buffer(ffi.addressof(c, "out"))[8:]), "nothing but a redirection says where to"
        return answer

    def destination_keys(self, case: dict[str, Any]) -> list[list[Any]]:
        """Keys of the rows that decide about a case, the first that there is: address, port, protocol, scope."""
        c = self._connect(case)
        return [
            [str(from_wire(bytes(ffi.buffer(k.addr.ip)))), ntohs(k.port_be), k.protocol, k.scope]
            for k in (c.key, c.any_key, c.elsewhere_key)
        ]

    def range_key(self, case: dict[str, Any]) -> tuple[int, list[Any]]:
        """What a range is looked for by: how many bits, and address, port, protocol, scope."""
        c = self._connect(case)  # kept: what is in it goes with it
        k = c.range_key
        return k.bits, [str(from_wire(bytes(ffi.buffer(k.addr.ip)))), ntohs(k.port_be), k.protocol, k.scope]

    def _connect(self, case: dict[str, Any]) -> Any:
        c = ffi.new("struct tg_connect_case *")
        _put(c.settings, agent_cgroup=11, envoy_cgroup=12)
        _put(getattr(c, "in"), dst=case["dst"], bound=case["bound"], dst_port_be=case["port"])
        _put(getattr(c, "in"), spread=int(case.get("spread", False)), elsewhere=int(case.get("elsewhere", False)))
        _put(getattr(c, "in"), range=int(case.get("range", False)))
        _put(getattr(c, "in"), cgroup=case["cgroup"], protocol=case["protocol"], bound_dev_if=case["device"])
        if case["pod"] is not None:
            c.has_pod = 1
            pod = case["pod"]
            _put(c.pod, ip4=pod["ip4"], ip6=pod["ip6"], scope=pod.get("scope", 0))
            _put(c.pod, flags=int(pod["v6_capture"]) | int(pod.get("registry_only", False)) << 1)
            for name in ("fastpath4", "fastpath6", "envoy4", "envoy6"):
                _put(c.pod, **{f"{name}_be": pod[name]})
        if case["dest"] is not None:
            c.has_dest = 1
            _put(c.dest, **case["dest"])
        self._run("test_connect", c)
        return c

    def is_question(self, case: dict[str, Any]) -> bool:
        """Whether what a case of tests/vectors/questions sends is for the node's DNS."""
        c = ffi.new("struct tg_question_case *")
        _put(c.settings, agent_cgroup=11, envoy_cgroup=12)
        _put(c.dns, cgroup=13)
        _put(getattr(c, "in"), dst=case["dst"], dst_port_be=case["port"])
        _put(getattr(c, "in"), cgroup=case["cgroup"], protocol=case["protocol"], bound_dev_if=case["device"])
        if case["v6_capture"] is not None:
            c.has_pod = 1
            _put(c.pod, flags=int(case["v6_capture"]))
        self._run("test_question", c)
        return bool(c.is_question)

    def names(self, case: dict[str, Any]) -> dict[str, Any]:
        c = ffi.new("struct tg_name_case *")
        _put(c, kernel=case["kernel"], port_be=case.get("port", 0))
        for name in ("sock", "flow"):
            if case[name] is not None:
                row = case[name]
                _put(c, **{f"has_{name}": 1})
                target = c.sock.flow if name == "sock" else c.flow
                _put(target, dst=row["dst"], dst_port_be=row["port"], client=row["client"])
                _put(target, flags=4 * row.get("range", False))
        self._run("test_names", c)
        return {name: _name(getattr(c, name)) for name in ("peer", "own", "client")}

    def arrival(self, case: dict[str, Any]) -> str | None:
        """The verdict about a case of tests/vectors/arrivals."""
        c = ffi.new("struct tg_arrival_case *")
        given = getattr(c, "in")
        _put(given.conn, remote=case["remote"], local=case["local"])
        _put(given, **{name: int(case[name]) for name in ("own", "node", "caller", "guarded", "probed", "inbound")})
        self._run("test_arrival", c)
        return reason(c.reason)

    def flow(self, case: dict[str, Any]) -> dict[str, Any]:
        c = ffi.new("struct tg_flow_case *", {"netns_cookie": 99})
        (local, local_port), (remote, remote_port) = case["local"], case["remote"]
        _put(c.conn, local=local, local_port_be=local_port, remote=remote, remote_port_be=remote_port)
        _put(c, recorded=int(case["recorded"]), old_state=case["old_state"])
        self._run("test_flow", c)
        if c.has_key:
            key = c.key
            assert (key.netns_cookie, _address(key.src), ntohs(key.src_port_be), ntohs(key.listener_port_be)) == (
                99,
                local,
                local_port,
                remote_port,
            )
        return {
            "tier": c.key.tier & 0xFF,
            "spread": c.key.tier >> 8,
            "lookup": reason(c.lookup),
            "outlives": bool(c.outlives),
        }

    def _run(self, program: str, case: Any) -> None:
        packet = ffi.buffer(case)
        run = ffi.new("struct test_run *")
        run.prog_fd, run.repeat = self._object.program(program).fd, 1
        run.data_size_in = run.data_size_out = len(packet)
        run.data_in = run.data_out = int(ffi.cast("uintptr_t", ffi.from_buffer(packet)))
        size = ffi.cast("long", ffi.sizeof("struct test_run"))
        result = libc.syscall(SYS_BPF[platform.machine()], ffi.cast("long", PROG_TEST_RUN), run, size)
        assert result == 0, os.strerror(ffi.errno)
        assert run.retval == XDP_PASS


def reason(number: int) -> str | None:
    return None if number == NO_REASON else REASONS[number]


def _put(target: Any, **values: Any) -> None:
    for name, value in values.items():
        if name.endswith("_be"):
            setattr(target, name, htons(value))
        elif isinstance(value, int):
            setattr(target, name, value)
        else:
            getattr(target, name).ip = to_wire(ip_address(value)) if value is not None else bytes(16)


def _address(raw: Any) -> str | None:
    data = bytes(ffi.buffer(raw.ip))
    return str(from_wire(data)) if any(data) else None


def _flow(raw: Any) -> dict[str, Any]:
    return {
        "dst": _address(raw.dst),
        "port": ntohs(raw.dst_port_be),
        "client": _address(raw.client),
        "tier": raw.tier,
        "service": raw.service,
        **({"elsewhere": True} if raw.flags & 2 else {}),
        **({"range": True} if raw.flags & 4 else {}),
    }


def _name(raw: Any) -> list[Any] | None:
    return None if raw.reason == NO_REASON else [_address(raw.addr), ntohs(raw.port_be)]
