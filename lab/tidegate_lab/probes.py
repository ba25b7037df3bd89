"""Probes as a kubelet runs them: from the node for http and tcp, inside the pod for exec."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tidegate_lab import spec
from tidegate_lab.netns import OpenNetns


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One attempt; detail says what was seen when it failed."""

    ok: bool
    detail: str = ""


class ProbeThreshold:
    """Turns outcomes into a steady answer: it changes after so many equal outcomes in a row. Sans-IO."""

    def __init__(self, probe: spec.Probe, start: bool | None = None) -> None:
        self._probe = probe
        self._last: bool | None = None
        self._run = 0
        self.value = start  # None until the first threshold is reached

    def record(self, ok: bool) -> bool:
        """Count one outcome; True when the value changed."""
        self._run = self._run + 1 if ok == self._last else 1
        self._last = ok
        needed = self._probe.success_threshold if ok else self._probe.failure_threshold
        if self._run < needed or self.value == ok:
            return False
        self.value = ok
        return True


@dataclass(frozen=True, slots=True)
class Prober:
    """How to reach one container. port resolves a port's name; execute runs a command in it."""

    ip: str
    node: OpenNetns
    port: Callable[[int | str], int]
    execute: Callable[[tuple[str, ...]], Awaitable[ProbeResult]]

    async def attempt(self, probe: spec.Probe) -> ProbeResult:
        """Run the probe once, within its timeout."""
        try:
            async with asyncio.timeout(probe.timeout_seconds):
                return await self._attempt(probe)
        except TimeoutError:
            return ProbeResult(False, f"no answer within {probe.timeout_seconds:g} s")
        except (OSError, EOFError, ValueError) as error:
            return ProbeResult(False, str(error) or type(error).__name__)

    async def _attempt(self, probe: spec.Probe) -> ProbeResult:
        if probe.exec is not None:
            return await self.execute(probe.exec.command)
        if probe.tcp_socket is not None:
            tcp = probe.tcp_socket
            (await self.node.connect(tcp.host or self.ip, self.port(tcp.port))).close()
            return ProbeResult(True)
        assert probe.http_get is not None
        return await self._http(probe.http_get)

    async def _http(self, get: spec.HttpGet) -> ProbeResult:
        port = self.port(get.port)
        sock = await self.node.connect(get.host or self.ip, port)
        tls = None
        if get.scheme == "HTTPS":  # like a kubelet's: the certificate is not looked at
            tls = ssl.create_default_context()
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname="" if tls else None)
        try:
            host = f"[{self.ip}]" if ":" in self.ip else self.ip
            headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/lab", "Accept": "*/*", "Connection": "close"}
            headers |= {header.name: header.value for header in get.http_headers}
            lines = [f"GET {get.path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            status = (await reader.readline()).decode("latin-1").split()
            if len(status) < 2 or not status[1].isdigit():
                return ProbeResult(False, f"no HTTP status line: {' '.join(status)!r}")
            code = int(status[1])
            return ProbeResult(200 <= code < 400, f"HTTP status {code}")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def watch(
    probe: spec.Probe, prober: Prober, verdict: ProbeThreshold, report: Callable[[ProbeResult, bool], None]
) -> None:
    """Attempt for ever, at the probe's period; report each outcome and whether it changed the verdict."""
    await asyncio.sleep(probe.initial_delay_seconds)
    while True:
        outcome = await prober.attempt(probe)
        report(outcome, verdict.record(outcome.ok))
        await asyncio.sleep(probe.period_seconds)
