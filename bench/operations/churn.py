# SPDX-License-Identifier: Apache-2.0
"""Changes to some addresses under a flood from others: what the flood's drop rate and verdicts suffer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

import numpy as np

from bench import sources
from bench.operations.base import Operated
from bench.operations.lists import Changes, strangers, text4
from bench.operations.probing import TRIES, arrived
from bench.operations.records import Observation
from bench.operations.site import EXPECTED, PATIENCE, Site, SiteError, ledger_of
from bench.records import Ledger
from bench.traffic.base import Flow, Kind
from bench.traffic.trial import Trial, trial

if TYPE_CHECKING:
    from bench.operations.scenario import Churn

CHECKED = 4096
"""Addresses of each verdict that are probed at the end."""
WARM_UP = 0.2


def churn(site: Site, task: Churn) -> tuple[Observation, Observation]:
    """Rounds of three trials in random order, two without and one with changes: (with, without)."""
    pool = strangers(site.rules.entries, task.pool, site.near(), site.rng)
    changes = Changes(pool, task.batch, site.rng)
    listed = sources.listed(site.rules.entries.v4, site.rng)
    flow = Flow(4, listed, site.chain.server_if.v4, kind=Kind.FLOOD)
    arms: dict[str, list[Trial]] = {"base": [], "again": [], "churn": []}
    rates: list[float] = []
    trial(site.chain, site.operated.system, flow, WARM_UP)
    site.gate()
    for _ in range(site.profile.rounds):
        for index in site.rng.permutation(len(arms)).tolist():
            arm = list(arms)[index]
            if arm == "churn":
                with Pace(site.operated, changes, task.rate) as pace:
                    arms[arm].append(_flood(site, flow))
                rates.append(pace.rate())
            else:
                arms[arm].append(_flood(site, flow))
    wrong = wrong_verdicts(site, changes)
    site.gate()
    gates = site.take_gates()
    site.tell(f"{site.operated.name}: {np.mean(rates):,.0f} changes a second, {wrong} wrong verdicts at last")
    with_changes = Observation(
        site.block,
        site.operated.name,
        site.point,
        task.operation,
        {
            "drop_mpps": [_mpps(seen) for seen in arms["churn"]],
            "changes_per_second": rates,
            "leaked_packets": [float(seen.delivered) for seen in arms["churn"]],
            "wrong_verdicts": [float(wrong)],
        },
        gates=gates,
        ledgers=_ledgers(arms["churn"]),
        remarks=(f"{changes.made:,} changes made",),
    )
    quiet = [*arms["base"], *arms["again"]]
    without = Observation(
        site.block,
        site.operated.name,
        task.base,
        task.operation,
        {
            "drop_mpps": [_mpps(seen) for seen in arms["base"]],
            "leaked_packets": [float(seen.delivered) for seen in quiet],
        },
        again=[_mpps(seen) for seen in arms["again"]],
        gates=gates,
        ledgers=_ledgers(quiet),
    )
    return with_changes, without


def wrong_verdicts(site: Site, changes: Changes) -> int:
    """How many of a random sample of the pool get another verdict than the model says."""
    wrong = 0
    for blocked in (True, False):
        rows = np.flatnonzero(changes.blocked == blocked)
        sample = changes.pool[site.rng.permutation(rows)[:CHECKED]]
        # What must not arrive needs one try only; a second would give a leak another chance to show.
        wrong += int((arrived(site.chain, 4, sample, 1 if blocked else TRIES) == blocked).sum())
    return wrong


def _flood(site: Site, flow: Flow) -> Trial:
    return trial(site.chain, site.operated.system, flow, site.profile.trial_seconds)


def _mpps(seen: Trial) -> float:
    return seen.dropped / seen.seconds / 1e6


def _ledgers(trials: list[Trial]) -> tuple[Ledger, ...]:
    return tuple(ledger_of(seen) for seen in trials)


class Pace:
    """Makes changes at a rate from a thread of its own; behind its time it goes as fast as it can."""

    def __init__(self, operated: Operated, changes: Changes, rate: int) -> None:
        self._operated = operated
        self._changes = changes
        self._rate = rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="changes")
        self._error: BaseException | None = None
        self._first = threading.Event()
        self._began = self._ended = 0.0
        self._made = 0

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._first.wait(PATIENCE):
            self.__exit__()
            raise SiteError(f"no change was made within {PATIENCE:g} s")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def rate(self) -> float:
        """Changes a second that were made; raises what a change failed with."""
        if self._error is not None:
            raise self._error
        return self._made / (self._ended - self._began)

    def _run(self) -> None:
        self._began = due = time.monotonic()
        try:
            while not self._stop.is_set():
                verb, rows = self._changes.next()
                self._operated.change(verb, text4(self._changes.pool[rows]))
                self._changes.done(verb, rows)
                self._made += len(rows)
                self._first.set()
                due = max(due + len(rows) / self._rate, time.monotonic() - 1)
                self._stop.wait(max(0.0, due - time.monotonic()))
        except EXPECTED as error:
            self._error = error
            self._first.set()
        self._ended = time.monotonic()
