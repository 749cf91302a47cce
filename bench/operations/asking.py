# SPDX-License-Identifier: Apache-2.0
"""Questions asked over TLS: how long until the answer, with and without a flood; and what a scrape takes."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import time
from typing import TYPE_CHECKING, Self

from bench import sources
from bench.operations.base import Policed, Remoted
from bench.operations.https import PAGES, Remote
from bench.operations.records import Observation
from bench.operations.site import EXPECTED, Site, SiteError, ledger_of
from bench.traffic.base import Flow, Kind
from bench.traffic.trial import trial

if TYPE_CHECKING:
    from bench.operations.scenario import Read, Scrape
    from bench.traffic.trial import Trial

WARM_UP = 0.2
"""Seconds of flood before the first that counts."""


def read(site: Site, task: Read) -> tuple[Observation, Observation]:
    """Rounds of pages read with and without a flood of listed sources: (with, without)."""
    flow = Flow(4, sources.listed(site.rules.entries.v4, site.rng), site.chain.server_if.v4, kind=Kind.FLOOD)
    waits: dict[bool, list[float]] = {True: [], False: []}
    floods: list[Trial] = []
    with contextlib.closing(remote_of(site)) as remote:
        for page in PAGES:  # the first of each compiles what the others use
            remote.get(page)
        trial(site.chain, site.operated.system, flow, WARM_UP)
        site.gate()
        for _ in range(site.profile.rounds):
            for flooded in site.rng.permutation([True, False]).tolist():
                with Reader(remote, task.per_second) as reader:
                    if flooded:
                        floods.append(
                            trial(site.chain, site.operated.system, flow, site.profile.trial_seconds)
                        )
                    else:
                        time.sleep(site.profile.trial_seconds)
                waits[flooded] += reader.taken()
        site.gate()
    gates = site.take_gates()
    site.tell(
        f"{site.operated.name}: the slowest of {len(waits[True])} answers came in {max(waits[True]):.1f} ms"
    )

    def seen(point: str, flooded: list[Trial], milliseconds: list[float]) -> Observation:
        return Observation(
            site.block,
            site.operated.name,
            point,
            task.operation,
            {
                "read_ms": milliseconds,
                **({"drop_mpps": [_mpps(each) for each in flooded]} if flooded else {}),
            },
            gates=gates,
            ledgers=tuple(ledger_of(each) for each in flooded),
        )

    return seen(site.point, floods, waits[True]), seen(task.base, [], waits[False])


def scrape(site: Site, task: Scrape) -> Observation:
    """The point's list and rules in force, then one scrape after the other; each must show all of them."""
    if site.rules.book is not None:
        if not isinstance(site.operated, Policed):
            raise SiteError(f"{site.operated.name} has no policy with rules to apply")
        site.operated.put(site.rules.book)
    taken = []
    with contextlib.closing(remote_of(site)) as remote:
        remote.get("/metrics")
        for _ in range(site.share(site.profile.scrapes, task)):
            began = time.monotonic()
            text = remote.get("/metrics").text
            taken.append(1e3 * (time.monotonic() - began))
            prove(site, text)
            time.sleep(task.pause)
    site.tell(f"{site.operated.name}: {len(taken)} scrapes, the slowest in {max(taken):.1f} ms")
    samples = {"scrape_ms": taken}
    return Observation(site.block, site.operated.name, site.point, task.operation, samples)


def remote_of(site: Site) -> Remote:
    """A client of the point's gateway, to be closed. SiteError where it serves none."""
    if not isinstance(site.operated, Remoted):
        raise SiteError(f"{site.operated.name} has no API over TLS")
    return site.operated.remote()


def prove(site: Site, text: str) -> None:
    """A scrape that left something out would be a fast one."""
    entries = sum(
        float(value) for value in re.findall(r"^neurowall_list_entries\{.*\} (\S+)$", text, re.MULTILINE)
    )
    if entries < len(site.rules.entries):
        raise SiteError(f"metrics tell of {entries:.0f} entries of {len(site.rules.entries)}")
    book = site.rules.book
    shown = len(re.findall(r'^neurowall_rule_packets_total\{kind="rule"', text, re.MULTILINE))
    if book is not None and shown < len(book.rules):
        raise SiteError(f"metrics tell of {shown} rules of {len(book.rules)}")


def _mpps(seen: Trial) -> float:
    return seen.dropped / seen.seconds / 1e6


class Reader:
    """Asks for one page after the other at a steady rate, from a thread of its own."""

    def __init__(self, remote: Remote, per_second: int) -> None:
        self._remote = remote
        self._interval = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reads")
        self._error: BaseException | None = None
        self._taken: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def taken(self) -> list[float]:
        """Milliseconds of each answer; raises what was refused, SiteError without any."""
        if self._error is not None:
            raise self._error
        if not self._taken:
            raise SiteError("no question was answered in a whole trial")
        return self._taken

    def _run(self) -> None:
        due = time.monotonic()
        try:
            for page in itertools.cycle(PAGES):
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                began = time.monotonic()
                self._remote.get(page)
                ended = time.monotonic()
                # From when it was due: one that had to wait for a slow answer has waited.
                self._taken.append(1e3 * (ended - min(due, began)))
                due += self._interval
        except EXPECTED as error:
            self._error = error
