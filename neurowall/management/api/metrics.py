# SPDX-License-Identifier: Apache-2.0
"""`/metrics`: what the kernel and the engine know, read when Prometheus asks. No addresses as labels."""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI, Request
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from neurowall.logic.engine import Engine
from neurowall.logic.results import Counters, Status
from neurowall.management.api.answers import VERDICTS, About
from neurowall.management.api.answers_policy import counted
from neurowall.management.api.exposition import exposition
from neurowall.management.api.policies import Policies
from neurowall.management.api.requests import PLAIN
from neurowall.model.counters import Counter
from neurowall.model.errors import StateError
from neurowall.model.fields import TIMED
from neurowall.model.flows import FlowEvent
from neurowall.model.history import StorageFacts


class EngineCollector(Collector):
    """One daemon's metrics. A scrape reads per-CPU counters and sums them; packets pay nothing for it."""

    def __init__(self, engine: Engine, about: About, policies: Policies) -> None:
        self._engine = engine
        self._about = about
        self._policies = policies

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not read the kernel."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric. Raises KernelError if the counters cannot be read: a failed scrape, not a zero."""
        status, counters = self._engine.status(), self._engine.counters()
        yield from _packets(counters)
        yield from _lists(status, counters)
        yield from _tables(status)
        yield from _limits(self._engine)
        yield from _flows(self._engine)
        yield from self._daemon(status)
        yield from _policies(self._policies)
        yield from _events(self._engine)
        if self._about.storage:
            yield from _storage(self._about.storage())

    def _daemon(self, status: Status) -> Iterator[Metric]:
        info = GaugeMetricFamily("neurowall_build_info", "Always 1.", labels=("version", "engine"))
        info.add_metric((self._about.version, status.engine), 1)
        yield info
        yield GaugeMetricFamily(
            "neurowall_daemon_start_time_seconds", "When the daemon started, Unix time.", self._about.started
        )
        yield GaugeMetricFamily("neurowall_generation", "Successful applies so far.", status.generation)
        yield GaugeMetricFamily(
            "neurowall_problems", "What is wrong; 0 is healthy.", len(self._about.problems(status))
        )
        up = GaugeMetricFamily(
            "neurowall_interface_up", "1 if the interface is guarded.", labels=("interface", "mode")
        )
        for interface in status.interfaces:
            up.add_metric((interface.name, interface.mode), int(interface.attached))
        yield up


def _storage(facts: StorageFacts) -> Iterator[Metric]:
    """The database, from what is known of it without asking it."""
    yield GaugeMetricFamily(
        "neurowall_storage_up", "1 if the database takes what is written.", int(facts.problem is None)
    )
    if facts.size is not None:
        yield GaugeMetricFamily("neurowall_storage_bytes", "Size of the database.", facts.size)
    yield GaugeMetricFamily(
        "neurowall_storage_audit_queued", "Audit rows that wait for the database.", facts.audit_queued
    )
    yield CounterMetricFamily(
        "neurowall_storage_lost", "Rows of audit and history that were given up.", facts.lost
    )


def _pair(name: str, of: str, labels: tuple[str, ...]) -> tuple[CounterMetricFamily, CounterMetricFamily]:
    """Two counters of the same labels: packets and bytes."""
    return (
        CounterMetricFamily(f"neurowall_{name}packets", f"Packets {of}.", labels=labels),
        CounterMetricFamily(f"neurowall_{name}bytes", f"Bytes of packets {of}, without FCS.", labels=labels),
    )


def _add(
    pair: tuple[CounterMetricFamily, CounterMetricFamily], labels: tuple[str, ...], counter: Counter
) -> None:
    packets, size = pair
    packets.add_metric(labels, counter.packets)
    size.add_metric(labels, counter.bytes)


def _packets(counters: Counters) -> Iterator[Metric]:
    pair = _pair("", "seen, by why they got their verdict", ("reason", "verdict"))
    for reason, counter in counters.reasons.items():
        _add(pair, (reason.label, reason.verdict.label), counter)
    yield from pair


def _lists(status: Status, counters: Counters) -> Iterator[Metric]:
    pair = _pair("list_", "that a list decided", ("list", "verdict"))
    # A list that decided nothing yet is a 0, so that rate() sees its first packets; one that was
    # removed keeps its series, so that sums do not fall.
    silent = {(each.name, VERDICTS[each.verdict]): Counter() for each in status.lists}
    for labels, counter in (silent | dict(counters.lists)).items():
        _add(pair, labels, counter)
    yield from pair
    pair = _pair("list_matched_", "whose source a list holds, whoever decided", ("list",))
    for name, counter in ({each.name: Counter() for each in status.lists} | dict(counters.matched)).items():
        _add(pair, (name,), counter)
    yield from pair
    entries = GaugeMetricFamily("neurowall_list_entries", "Entries of a list.", labels=("list", "family"))
    for each in status.lists:
        entries.add_metric((each.name, "4"), each.entries4)
        entries.add_metric((each.name, "6"), each.entries6)
    yield entries
    timed = GaugeMetricFamily("neurowall_timed_entries", "Entries that end by themselves.", labels=("list",))
    for each in status.lists:
        if each.name in TIMED:
            timed.add_metric((each.name,), each.entries4 + each.entries6)
    yield timed


def _tables(status: Status) -> Iterator[Metric]:
    entries = GaugeMetricFamily(
        "neurowall_map_entries", "Entries that a kernel table holds.", labels=("map",)
    )
    capacity = GaugeMetricFamily("neurowall_map_capacity", "Entries that it can hold.", labels=("map",))
    for name, usage in status.usage.items():
        entries.add_metric((name,), usage.used)
        capacity.add_metric((name,), usage.capacity)
    yield entries
    yield capacity


def _limits(engine: Engine) -> Iterator[Metric]:
    pair = _pair("limit_", "that a limit let pass, dropped, or would have dropped", ("limit", "outcome"))
    made = CounterMetricFamily("neurowall_limit_bans", "Sources that a limit banned.", labels=("limit",))
    refused = CounterMetricFamily(
        "neurowall_limit_bans_refused",
        "Bans that were not made: never to be banned, too many in a second, or no room.",
        labels=("limit",),
    )
    for info in engine.limits():
        counted, name = info.counters, info.limit.name
        for outcome in ("passed", "dropped", "would"):
            label = "would_drop" if outcome == "would" else outcome
            _add(pair, (name, label), getattr(counted, outcome))
        if info.limit.action == "ban":
            made.add_metric((name,), counted.bans)
            refused.add_metric((name,), counted.bans_refused)
    yield from (*pair, made, refused)
    yield GaugeMetricFamily("neurowall_bans", "Sources that limits banned.", engine.limit_ban_count())


def _flows(engine: Engine) -> Iterator[Metric]:
    counts = engine.flow_counts()
    known = GaugeMetricFamily("neurowall_flows", "Flows that are known.", labels=("state",))
    for state, number in counts.states.items():
        known.add_metric((state.label,), number)
    inserts = CounterMetricFamily(
        "neurowall_flow_inserts",
        "Flows that were inserted (inserted, proven, picked_up), or not (guarded, failed).",
        labels=("outcome",),
    )
    for event, number in counts.events.items():
        if event is not FlowEvent.SPARED:
            inserts.add_metric((event.label,), number)
    yield from (known, inserts)
    yield CounterMetricFamily(
        "neurowall_flow_spared_packets",
        "Packets out of state that passed, since their flow may be missing.",
        counts.events[FlowEvent.SPARED],
    )
    yield GaugeMetricFamily("neurowall_flow_capacity", "TCP flows that can be known.", counts.capacity)
    yield GaugeMetricFamily(
        "neurowall_flow_guard_active", "1 while there are too many new flows.", int(counts.is_guarded)
    )


def _policies(policies: Policies) -> Iterator[Metric]:
    """What nftables counted, drift, and the policy in force."""
    pair = _pair("rule_", "that a rule, port forward or default matched", ("kind", "rule"))
    for row in counted(policies.policy, policies.rule_counters()):
        if row["packets"] is not None:
            _add(pair, (row["kind"], row["name"]), Counter(row["packets"], row["bytes"]))
    yield from pair
    yield CounterMetricFamily(
        "neurowall_drift_repairs",
        "How often our table was put right after somebody else changed it.",
        policies.stateful().drift_repairs,
    )
    try:
        now = policies.policy_now()
    except StateError:  # the history on disk: the rest of the scrape is worth having
        return
    yield GaugeMetricFamily(
        "neurowall_policy_generation", "The generation whose policy is in force.", now.info.generation
    )
    yield GaugeMetricFamily(
        "neurowall_policy_pending_seconds",
        "Until the policy is taken back unless confirmed; 0 if it is confirmed.",
        now.pending.seconds if now.pending else 0,
    )


def _events(engine: Engine) -> Iterator[Metric]:
    """What the kernel told, and what it or a slow subscriber did not get to tell."""
    tallies = engine.event_tallies()
    told = CounterMetricFamily("neurowall_events", "Events that the kernel told of.", labels=("kind",))
    suppressed = CounterMetricFamily(
        "neurowall_events_suppressed", "Events over the budget, only counted.", labels=("kind",)
    )
    for kind, tally in tallies.items():
        told.add_metric((kind.label,), tally.sent)
        suppressed.add_metric((kind.label,), tally.suppressed)
    yield from (told, suppressed)
    lost = sum(tally.lost for tally in tallies.values())
    yield CounterMetricFamily("neurowall_events_lost", "Events that found the ring full.", lost)
    yield GaugeMetricFamily("neurowall_event_subscribers", "Who follows events.", engine.events.subscribers)
    yield CounterMetricFamily(
        "neurowall_event_subscribers_lost", "Events that slow subscribers did not get.", engine.events.lost
    )


def collector_of(engine: Engine, about: About, policies: Policies | None = None) -> Collector:
    """Nothing but this daemon's metrics."""
    return EngineCollector(engine, about, policies or engine)


def add_metrics(app: FastAPI, collector: Collector, *needed: Any) -> None:
    """Serve them at /metrics, to those who have what is *needed*."""

    @app.get("/metrics", dependencies=[*needed, *PLAIN])
    def metrics(request: Request) -> Response:
        """Prometheus exposition."""
        body, content_type = exposition(collector, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})
