# SPDX-License-Identifier: Apache-2.0
"""What a list takes: memory of the processes at rest and at their peak, and of the kernel."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from bench.operations.asking import remote_of
from bench.operations.base import Operated, Remoted
from bench.operations.https import Console
from bench.operations.lists import successor
from bench.operations.records import Observation
from bench.operations.site import Site, SiteError
from bench.sut.base import SutError

if TYPE_CHECKING:
    from bench.operations.scenario import Footprint

SERVED = 5.0
"""Seconds for which a console is looked at before its gateway is weighed."""
DATABASE = "neurowall.db"
REST = 1.0
"""Seconds after the last change, in which what is not needed any more is given back."""
_INTERVAL = 0.1


def footprint(site: Site, task: Footprint, peak: Peak) -> Observation:
    """Replace the list as often as asked, and weigh; `peak` has watched since before the load."""
    _replace(site, task)
    site.gate()
    with _console(site) if task.served else contextlib.nullcontext():
        time.sleep(SERVED if task.served else REST)
        peak.stop()
        found = {
            "daemon_pss_mib": site.operated.process_mib(),
            "kernel_maps_mib": site.operated.kernel_mib(),
        }
    samples: dict[str, list[float]] = {}
    wanting: dict[str, str] = {}
    for metric, value in found.items():
        if isinstance(value, str):
            wanting[metric] = value
        else:
            samples[metric] = [value]
    if peak.mib:
        samples["daemon_peak_mib"] = [max(peak.mib, *samples["daemon_pss_mib"])]
    shown = ", ".join(f"{metric} {values[0]:.1f}" for metric, values in samples.items())
    site.tell(f"{site.operated.name} with {len(site.rules.entries):,} entries: {shown or 'not told'}")
    return Observation(
        site.block,
        site.operated.name,
        site.point,
        task.operation,
        samples,
        gates=site.take_gates(),
        wanting=wanting,
    )


@contextlib.contextmanager
def _console(site: Site) -> Iterator[None]:
    """Somebody looks at the gateway meanwhile, which has its database open: SiteError if it has not."""
    with contextlib.closing(remote_of(site)) as asks, contextlib.closing(remote_of(site)) as follows:
        console = Console(asks, follows)
        with console.open():
            yield
            opened = site.operated.open_files() if isinstance(site.operated, Remoted) else ()
            if not any(DATABASE in name for name in opened):
                raise SiteError(f"{site.operated.name} has no {DATABASE} open")
        if not console.answers:
            raise SiteError("the console got no answer")


def _replace(site: Site, task: Footprint) -> None:
    if not task.replacements:
        return
    lists = successor(site.rules.entries, task.common, site.seed)
    turns = (lists.second, lists.first)
    staged = [site.operated.stage(rules) for rules in turns]
    for number in range(task.replacements):
        site.operated.replace(staged[number % 2])
        site.rules = turns[number % 2]


class Peak:
    """Looks at the memory of a system's processes again and again; `mib` is the most that was seen."""

    def __init__(self, operated: Operated) -> None:
        self._operated = operated
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak")
        self.mib = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """The last look is taken; safe to call twice."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            try:
                value = self._operated.process_mib()
            except SutError:  # not started yet
                continue
            if isinstance(value, float):
                self.mib = max(self.mib, value)
