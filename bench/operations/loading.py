# SPDX-License-Identifier: Apache-2.0
"""Loading, banning and replacing: how long until it is in force, and whether anything leaks meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bench.operations.asking import remote_of
from bench.operations.base import Operated, Verb
from bench.operations.lists import Succession, strangers, successor, text4
from bench.operations.probing import ProbeStream
from bench.operations.rate import Meter
from bench.operations.records import Observation
from bench.operations.site import EXPECTED, PATIENCE, Site, SiteError, ledger_of
from bench.traffic.base import Flow, Kind
from bench.traffic.trial import trial

if TYPE_CHECKING:
    from bench.operations.scenario import Ban, Load, Replace
    from neurowall.model.entries import Array

Change = Callable[[Verb, Sequence[str]], None]
TRIES = 3
"""How often a ban is begun whose probes were disturbed before it."""
SPARE = 1.3
"""A replacement is begun only if so many times the last one's duration is left of the traffic."""
SAFE = 0.98
"""Share of the traffic's time that surely lies before its end, wherever its beginning was noticed."""
TRAFFIC_SEEN = 1000
"""Packets that show that it has begun."""
FIRST_FITS = 2.0
"""Traffic lasts at least so many times as long as loading the list did, and a second more."""


def load(site: Site, task: Load) -> Observation:
    """What loading took; it was done when the site was made."""
    samples = {"load_seconds": [site.load_seconds]}
    if site.api_ms:
        samples["api_ms"] = site.api_ms
    site.gate()
    site.tell(
        f"{site.operated.name} enforced {len(site.rules.entries):,} entries in {site.load_seconds:.2f} s"
    )
    return Observation(
        site.block, site.operated.name, site.point, task.operation, samples, gates=site.take_gates()
    )


def ban(site: Site, task: Ban) -> Observation:
    """Ban addresses one by one while each sends probes; at last all are unbanned again."""
    count = site.share(site.profile.bans, task)
    targets = strangers(site.rules.entries, count, site.near(), site.rng)
    effective: list[float] = []
    answers: list[float] = []
    with _operator(site, task) as change:
        change("block", text4(targets[:1]))  # opens the connection
        change("unblock", text4(targets[:1]))
        for number in range(count):
            took, answered = _ban_one(site, task, targets[number : number + 1], change)
            effective.append(1e3 * took)
            answers.append(1e3 * answered)
        change("unblock", text4(targets))
    site.gate()
    site.tell(f"{site.operated.name}: {count} bans, the slowest effective in {max(effective):.1f} ms")
    return Observation(
        site.block,
        site.operated.name,
        site.point,
        task.operation,
        {"effective_ms": effective, "answer_ms": answers},
        gates=site.take_gates(),
    )


@contextmanager
def _operator(site: Site, task: Ban) -> Iterator[Change]:
    """Who bans: root of the gateway, or somebody elsewhere."""
    if not task.https:
        yield site.operated.change
        return
    with contextlib.closing(remote_of(site)) as remote:
        yield remote.change


def _ban_one(site: Site, task: Ban, source: Array, change: Change) -> tuple[float, float]:
    """Seconds until the first blocked probe was sent, and until the answer was there."""
    for _ in range(TRIES):
        with ProbeStream(site.chain, source, task.pps) as stream:
            if not stream.await_passing(PATIENCE):
                continue
            began = time.monotonic()
            change("block", text4(source))
            answered = time.monotonic()
            if not stream.await_blocked(PATIENCE):
                raise SiteError(f"a banned source was still not blocked after {PATIENCE:g} s")
        return stream.first_blocked() - began, answered - began
    raise SiteError("probes of a source that is not listed did not all arrive: nothing can be timed")


def replace(site: Site, task: Replace) -> Observation:
    """Replace the list again and again under probes from every host that the old and the new one share."""
    lists = successor(site.rules.entries, task.common, site.seed)
    wanted = int(site.share(site.profile.packets, task) * task.packets_share)
    # The part of the time in which a list is being replaced is not known beforehand: a tenth more.
    seconds = max(1.1 * wanted / task.pps, FIRST_FITS * site.load_seconds + 1)
    flow = Flow(4, lists.common, site.chain.server_if.v4, kind=Kind.FLOOD)
    site.gate()
    with Meter(site.chain) as meter, Loop(site.operated, lists, meter) as loop:
        loop.begin(seconds)
        seen = trial(site.chain, site.operated.system, flow, seconds, pps=task.pps)
    loop.check()
    site.rules = loop.current
    site.gate()
    probing = Probing.of(meter, loop.spans, task.at_least_pps)
    site.tell(
        f"{site.operated.name}: {probing.probed} replacements under {probing.packets:,.0f} probes, "
        f"{seen.delivered:,} leaked"
    )
    return Observation(
        site.block,
        site.operated.name,
        site.point,
        task.operation,
        {
            "leaked_packets": [float(seen.delivered)],
            "probed_packets": [probing.packets],
            "replace_seconds": [ended - began for began, ended in loop.spans],
            "probe_kpps": [probing.rate / 1e3],
        },
        gates=site.take_gates(),
        ledgers=(ledger_of(seen),),
        remarks=(f"{probing.probed} of {len(loop.spans)} replacements were probed fast enough",),
        problem=probing.problem(task.at_least_pps),
    )


@dataclass(frozen=True)
class Probing:
    """How well replacements were probed: packets a second over all of them, and how many had enough.

    `packets` are those of replacements that had enough: a leak while hardly anything is sent is not seen.
    """

    rate: float
    probed: int
    packets: float

    @classmethod
    def of(cls, meter: Meter, spans: Sequence[tuple[float, float]], at_least: float) -> Self:
        """Look at each replacement's begin and end."""
        counts = [meter.packets(*span) for span in spans]
        lengths = [max(1e-9, ended - began) for began, ended in spans]
        enough = [n for n, seconds in zip(counts, lengths, strict=True) if n / seconds >= at_least]
        return cls(sum(counts) / sum(lengths) if spans else 0.0, len(enough), sum(enough))

    def problem(self, at_least: float) -> str | None:
        """Why it proves nothing."""
        if not self.probed and not self.rate:
            return "no replacement was finished while probes were sent"
        if self.rate < at_least or not self.probed:
            return f"only {self.rate:,.0f} probes a second during replacements, below {at_least:,.0f}"
        return None


class Loop:
    """Replaces a list by its successor and back, from a thread of its own, while traffic runs.

    `spans` are begin and end (monotonic) of each replacement that was begun and finished under traffic.
    """

    def __init__(self, operated: Operated, lists: Succession, meter: Meter) -> None:
        self.spans: list[tuple[float, float]] = []
        self.current = lists.first
        self._operated = operated
        self._meter = meter
        self._turns = itertools.cycle(
            [(lists.second, operated.stage(lists.second)), (lists.first, operated.stage(lists.first))]
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replacements")
        self._seconds = 0.0
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def begin(self, seconds: float) -> None:
        """Start as soon as the traffic is seen, which will last so long."""
        self._seconds = seconds
        self._thread.start()

    def check(self) -> None:
        """Raise what a replacement failed with."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        longest = 0.0
        try:
            end = self._meter.await_packets(TRAFFIC_SEEN, PATIENCE) + SAFE * self._seconds
            while not self._stop.is_set() and (began := time.monotonic()) + SPARE * longest < end:
                rules, staged = next(self._turns)
                self._operated.replace(staged)
                self.current = rules
                ended = time.monotonic()
                longest = max(longest, ended - began)
                if ended < end:
                    self.spans.append((began, ended))
        except EXPECTED as error:
            self._error = error
