# SPDX-License-Identifier: Apache-2.0
"""Neurowall, driven as its user does: a policy file, a daemon, its API on a unix socket.

The daemon is a child of the run, on the CPUs that the generator does not use. It starts without a list, then
the whole list is put; load_seconds is that request, which is answered when the list is enforced. What the
daemon needs to start is in the notes. Stateful rules are in its policy file, from the zone of the client's
interface to that of the server's; of them load_seconds is the daemon's start.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx

from bench.classes import SERVER_NETWORK, SERVER_NETWORK6
from bench.defence import FEATURES, Feature
from bench.measure import memory
from bench.sut import nftcounter, nftrules
from bench.sut.base import (
    ConfigureReport,
    Gate,
    Rules,
    RulesetRejected,
    SutError,
    SystemCounters,
    excerpt,
    text4,
)
from bench.traffic.wire import generator

if TYPE_CHECKING:
    from bench.testbed.base import Chain, Process

Engine = Literal["buckets", "classic"]

INSTANCE = "bench"
TABLE = "neurowall"
LIST = "bench"
_START_SECONDS = 30.0
_LOAD_SECONDS = 120.0
_PACKETS = re.compile(r"^neurowall_packets_total\{([^}]*)\} ([0-9.e+]+)$", re.MULTILINE)
_DEFAULT_CAPACITY = {"hosts4": 1_000_000, "prefixes4": 250_000, "hosts6": 100_000, "prefixes6": 100_000}


class Neurowall:
    """One daemon guarding the gateway's interface to the client."""

    gate: Gate = "filter"
    enforces: tuple[Feature, ...] = FEATURES

    def __init__(self, engine: Engine = "buckets", name: str | None = None) -> None:
        self.name = name or ("neurowall" if engine == "buckets" else f"neurowall-{engine}")
        self.engine = engine
        self.options: tuple[str, ...] = ()
        """Of `neurowall run`, beside those of every daemon."""
        self._chain: Chain | None = None
        self._daemon: Process | None = None
        self._directory: Path | None = None
        self._client: httpx.Client | None = None
        self._policy = ""
        self._rules: Rules | None = None

    def available(self, rules: Rules | None = None) -> str | None:  # noqa: ARG002 (the protocol's)
        """Root; the daemon itself says at its start what else is missing."""
        return None if os.geteuid() == 0 else "neurowall attaches XDP programs, which needs root"

    def configure(self, chain: "Chain", rules: Rules) -> ConfigureReport:
        """Start the daemon, wait until it is ready, put the list. RulesetRejected with what it said."""
        self._chain, self._rules = chain, rules
        try:
            start = time.monotonic()
            client = self._start(chain, rules)
            ready = time.monotonic()
            if len(rules.entries) or rules.book is None:
                self._put(client, rules.list_text.encode())
        except Exception:
            self.close()
            raise
        if rules.book is not None:
            self.gate = "filter" if rules.book.rules else "pass"
        began = ready if rules.book is None else start
        return ConfigureReport(time.monotonic() - began, (f"daemon ready in {ready - start:.2f} s",))

    def counters(self) -> SystemCounters:
        """Packets by verdict, from /metrics; of the stateful layer those dropped, by its named counters."""
        totals = {"drop": 0, "pass": 0}
        for labels, value in _PACKETS.findall(self._get("/metrics").text):
            for verdict in totals:
                if f'verdict="{verdict}"' in labels:
                    totals[verdict] += int(float(value))
        source = "GET /metrics: neurowall_packets_total"
        if self._rules is not None and self._rules.book is not None:
            totals["drop"] += nftrules.dropped(self._rules.book, self._named_counters())
            source += f", nftables counters of table inet {TABLE}"
        return SystemCounters(totals["drop"], totals["pass"], source)

    def rule_packets(self) -> dict[str, int]:
        """The kernel's named counters of stateful rules."""
        return nftrules.by_rule(self._named_counters())

    def _named_counters(self) -> dict[str, int]:
        if self._chain is None:
            raise SutError(f"{self.name} is not configured: call configure() first")
        with self._chain.gateway.enter():
            return nftcounter.all_packets(TABLE)

    def memory_mib(self) -> float:
        """The daemon and its helpers without the maps that they have mapped, and all maps."""
        if self._daemon is None or self._directory is None:
            raise SutError(f"{self.name} is not configured: call configure() first")
        maps = memory.kernel_maps(self._daemon.pid, self._directory)
        return memory.of_tree(self._daemon.pid).own_kib / 1024 + sum(maps.values()) / (1 << 20)

    def describe(self) -> dict[str, Any]:
        """Policy, and the daemon's own account of what it enforces and how it is attached."""
        counts = self._rules.counts if self._rules else {}
        status: dict[str, Any] = self._get("/status").json()
        return {"engine": self.engine, "policy": excerpt(self._policy), "sizes": counts, "status": status}

    def close(self) -> None:
        """End the daemon and take its pins away, which detaches the program."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon = None
        if self._directory is not None and self._chain is not None:
            self._chain.run.remove_directory(self._directory)
            self._directory = None

    def _start(self, chain: "Chain", rules: Rules) -> httpx.Client:
        directory = self._directory = chain.run.make_directory(self.name)
        self._policy = policy_text(self.engine, chain, rules)
        config = directory / "policy.yaml"
        config.write_text(self._policy, encoding="utf-8")
        shared = ["--instance", INSTANCE, "--run-dir", str(directory)]
        argv = [*_command(), *shared, "run", "--config", str(config)]
        argv += ["--netns", chain.gateway.name, "--state-dir", str(directory / "state"), *self.options]
        self._daemon = _spawn(chain, argv, self.name)
        transport = httpx.HTTPTransport(uds=str(directory / INSTANCE / "api.sock"))
        self._client = httpx.Client(transport=transport, base_url="http://neurowall", timeout=_LOAD_SECONDS)
        self._wait_ready(self._client, self._daemon)
        return self._client

    def _wait_ready(self, client: httpx.Client, daemon: "Process") -> None:
        deadline = time.monotonic() + _START_SECONDS
        said = "no answer yet"
        while time.monotonic() < deadline and daemon.alive():
            try:
                answer = client.get("/readiness", timeout=5)
            except httpx.TransportError as error:
                said = str(error)
            else:
                if answer.is_success:
                    return
                said = answer.text
            time.sleep(0.01)
        state = "is not ready" if daemon.alive() else "ended"
        raise RulesetRejected(
            f"{self.name}: the daemon {state}: {excerpt(said)}; its log ends: {daemon.tail()}"
        )

    def _put(self, client: httpx.Client, text: bytes) -> None:
        query = {"verdict": "block", "create": "true"}
        headers = {"content-type": "text/plain; charset=utf-8"}
        answer = client.put(f"/lists/{LIST}", params=query, content=text, headers=headers)
        if not answer.is_success:
            said = f"{answer.status_code}: {excerpt(answer.text)}"
            raise RulesetRejected(f"{self.name}: the daemon refused the list with {said}")

    def _get(self, path: str) -> httpx.Response:
        if self._client is None:
            raise SutError(f"{self.name} is not configured: call configure() first")
        try:
            return self._client.get(path).raise_for_status()
        except httpx.HTTPError as error:
            log = self._daemon.tail() if self._daemon else ""
            raise SutError(f"{self.name}: GET {path}: {error}; the daemon's log ends: {log}") from error


def policy_text(engine: Engine, chain: "Chain", rules: Rules) -> str:
    """The policy file: one external interface, this engine, default capacities unless the rules need more.

    With stateful rules, or features beside lists, the server's interface is internal.
    """
    counts = rules.counts
    larger = {kind: counts[kind] for kind, usual in _DEFAULT_CAPACITY.items() if counts[kind] > usual}
    capacity = "capacity:\n" + "".join(f"  {kind}: {count}\n" for kind, count in larger.items())
    text = f"engine: {engine}\ninterfaces:\n{_interfaces(chain, rules)}{capacity if larger else ''}"
    if rules.defence is not None:
        text += rules.defence.policy()
    return text if rules.book is None else text + rules.book.yaml


def _interfaces(chain: "Chain", rules: Rules) -> str:
    """The client's is external; the server's is internal where anything is asked of it."""
    outer, inner = chain.gateway_in.name, chain.gateway_out.name
    text = f"  - name: {outer}\n    zone: external\n    xdp: native\n"
    if rules.defence is not None:
        text += f"    spoofing: {'drop' if rules.defence.spoofing else 'pass'}\n"
    if rules.book is not None or rules.defence is not None:
        text += f"  - name: {inner}\n    zone: internal\n    xdp: native\n"
    if rules.defence is not None and rules.defence.spoofing:
        text += f"    networks: [{text4(SERVER_NETWORK)}/24, {SERVER_NETWORK6}]\n"
    return text


def _command() -> list[str]:
    """The installed `neurowall` of this Python, else the module."""
    script = Path(sys.executable).parent / "neurowall"
    return [str(script)] if script.exists() else [sys.executable, "-m", "neurowall.management.cli.main"]


def _spawn(chain: "Chain", argv: list[str], name: str) -> "Process":
    """The daemon enters the gateway's namespace itself; here it only gets its CPUs."""
    from bench.testbed.process import Place

    others = os.sched_getaffinity(0) - {generator().cpu}
    return chain.run.spawn(argv, name=name, place=Place(cpus=frozenset(others) or None))
