# SPDX-License-Identifier: Apache-2.0
"""Answers about the daemon, its interfaces, counters, flows and limits."""

from typing import Literal

from pydantic import Field

from neurowall.management.api.openapi.common import (
    Answer,
    Count,
    Counted,
    Ends,
    Generation,
    ListVerdict,
    Moment,
    Pending,
    Seconds,
    Verdict,
)
from neurowall.management.api.openapi.lists import CountedList
from neurowall.management.api.openapi.policy import PolicyGeneration


class Liveness(Answer):
    """The process answers."""

    alive: Literal[True]


class Health(Answer):
    """`degraded` if something is wrong; with what it is, and where, for those whom the daemon knows."""

    state: Literal["ok", "degraded"]
    instance: str = ""
    problems: list[str] = Field(default=[])


class Readiness(Answer):
    """Every packet is filtered as intended."""

    ready: Literal[True]
    generation: Generation


class WhoAmI(Answer):
    """Who asks, as the audit names him. token: its id, null if none was given; expires: when that ends."""

    actor: str
    source: str
    token: str | None
    scopes: list[str]
    expires: Moment | None


class Interface(Answer):
    """An interface of the policy. ifindex: null while it does not exist; why: how its mode was chosen."""

    name: str
    zone: str | None
    ifindex: int | None
    mode: Literal["offload", "native", "generic", "none"]
    why: str
    attached: bool
    problem: str | None


class Interfaces(Answer):
    """The interfaces after their programs were replaced."""

    dry_run: bool
    interfaces: list[Interface]


class TimedEntries(Answer):
    """How many entries end by themselves, and when the first does."""

    block: Count
    allow: Count
    next: Ends


class KernelTable(Answer):
    """How full a kernel table is. grown_from: the policy's capacity, if the table outgrew it."""

    table: str
    entries: Count
    capacity: Count
    grown_from: Count | None


class Packets(Answer):
    """Packets that got their verdict for this reason."""

    reason: str
    verdict: Literal["pass", "drop", "none"]
    packets: Count
    bytes: Count


class FlowCounts(Answer):
    """What the tables of flows hold, and what happened to them."""

    known: Count
    capacity: Count
    states: dict[str, Count]
    events: dict[str, Count]
    adopting_seconds: Seconds
    guard_active: bool


class Stateful(Answer):
    """What nftables enforces. rules: null where it does not filter; fallback: where it holds the lists."""

    table: bool
    rules: Count | None
    fallback: list[str]
    drift_repairs: Count


class Storage(Answer):
    """The database. problem: why it cannot be used now, null if it can; bytes: its size, null if not known.

    audit_queued: rows of the audit that wait for it; waiting: other works; lost: rows that were given up.
    """

    backend: Literal["sqlite", "postgresql"]
    problem: str | None
    bytes: Count | None
    audit_queued: Count
    waiting: Count
    lost: Count


class Status(Answer):
    """Everything at one glance."""

    instance: str
    version: str
    state: Literal["ok", "degraded"]
    generation: Generation
    engine: Literal["buckets", "classic"]
    uptime_seconds: float
    problems: list[str]
    warnings: list[str]
    interfaces: list[Interface]
    lists: list[CountedList]
    timed: TimedEntries
    tables: list[KernelTable]
    packets: list[Packets]
    flows: FlowCounts
    policy: PolicyGeneration | None
    pending: Pending | None
    stateful: Stateful
    storage: Storage | None


class Flow(Answer):
    """One flow that the kernel knows, seen from the protected side."""

    protocol: str
    state: str
    inside: str
    inside_port: int
    outside: str
    outside_port: int
    zone: str | None
    age_seconds: float
    idle_seconds: float
    packets_out: Count
    bytes_out: Count
    packets_in: Count
    bytes_in: Count


class Flows(FlowCounts):
    """Flows, those that were seen last in front. total: how many match."""

    flows: list[Flow]
    total: Count


class LimitBan(Ends):
    """A source that a limit banned; limit: null if the policy has it no more."""

    address: str
    limit: str | None


class Limit(Answer):
    """One limit of the policy, and what it counted. unguarded: interfaces where nothing asks it."""

    name: str
    zones: list[str]
    interfaces: list[str]
    unguarded: list[str]
    key: Literal["source", "source-prefix", "destination-port", "global"]
    prefix4: int | None
    prefix6: int | None
    match: Literal["all", "tcp-syn", "udp", "icmp", "fragment"]
    ports: list[int | str]
    unit: Literal["bytes", "packets"]
    rate: Count
    burst: Count
    new_only: bool
    action: Literal["drop", "monitor", "ban"]
    ban_ttl: str | None
    over: Counted
    passed: Counted
    dropped: Counted
    would_drop: Counted
    bans: Count
    bans_refused: Count


class Limits(Answer):
    """All limits, and the first thousand bans."""

    limits: list[Limit]
    bans: list[LimitBan]
    ban_count: Count
    warnings: list[str]


class Cover(Answer):
    """A list that holds the address, and through which entry."""

    list_: str = Field(alias="list")
    verdict: ListVerdict
    entry: str


class KernelSays(Answer):
    """What the kernel holds for an address."""

    entry: str | None
    verdict: str | None
    as_intended: bool


class ExplainBan(Ends):
    """The ban by a limit that holds for an address."""

    limit: str | None


class Explanation(Ends):
    """Why packets from an address get their verdict, as data and as sentences."""

    address: str
    verdict: Verdict
    reason: str
    list_: str | None = Field(alias="list")
    entry: str | None
    ban: ExplainBan | None
    monitored_by: list[str]
    class_id: int | None
    covers: list[Cover]
    kernel: KernelSays
    generation: Generation
    steps: list[str]


class Event(Answer):
    """One thing that happened; members that do not apply are null."""

    time: Moment
    kind: str
    reason: str
    verdict: Literal["drop"] | None
    interface: str | None
    ethertype: str | None
    protocol: str | None
    source: str | None
    source_port: int | None
    destination: str | None
    destination_port: int | None
    flags: list[str] | None
    bytes: Count
    list_: str | None = Field(alias="list")
    limit: str | None
    number: int | None
    extra: int | None


class RecentEvents(Answer):
    """The last events, oldest first. per_second: how many of each kind the kernel may tell."""

    per_second: Count
    events: list[Event]


class TopList(Answer):
    """What a list decided and matched so far."""

    list_: str = Field(alias="list")
    verdict: ListVerdict
    monitor: bool
    packets: Count
    bytes: Count
    matched_packets: Count
    matched_bytes: Count


class TopLimit(Answer):
    """What a limit did so far."""

    limit: str
    action: Literal["drop", "monitor", "ban"]
    passed: Counted
    dropped: Counted
    would_drop: Counted
    bans: Count


class TopSource(Answer):
    """A source of many dropped packets. events: how many were told, older ones counting less."""

    address: str
    reason: str
    list_: str | None = Field(alias="list")
    events: float
    last: Moment


class Top(Answer):
    """Totals for a live view: subtract two answers. seconds: a clock that only goes forward.

    banned: how many sources limits banned. sampled: the sources are of events, told in part under a flood.
    """

    seconds: float
    at: Moment
    generation: Generation
    packets: list[Packets]
    lists: list[TopList]
    limits: list[TopLimit]
    sources: list[TopSource]
    banned: Count
    sampled: bool
