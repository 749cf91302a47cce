# SPDX-License-Identifier: Apache-2.0
"""Live progress on stderr: a bar on a terminal, plain lines elsewhere, JSON lines for programs.

The runner tells events (`Event`); how they look is decided here. stdout stays free for the result.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Literal, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Mode = Literal["auto", "rich", "plain", "json"]
Kind = Literal[
    "scenario-started",
    "configured",
    "refused",
    "warmed-up",
    "trial",
    "block-finished",
    "scenario-finished",
    "note",
]


@dataclass(frozen=True)
class Event:
    """Something that happened; `done` of `total` trials of the scenario are over."""

    kind: Kind
    scenario: str
    text: str
    done: int = 0
    total: int = 0
    details: dict[str, Any] = field(default_factory=dict)


class Reporter(Protocol):
    """Somebody who listens to a run."""

    def tell(self, event: Event) -> None:
        """Take note of an event; must not raise."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Lines:
    """One line for what matters: configurations, refusals, finished blocks; trials only with a problem."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._started = time.monotonic()

    def tell(self, event: Event) -> None:
        """Write a line, or nothing."""
        if event.kind in ("warmed-up", "trial") and not event.details.get("problem"):
            return
        percent = f"{event.done / event.total:4.0%}" if event.total else "    "
        elapsed = time.monotonic() - self._started
        print(f"{elapsed:6.1f}s {percent}  {event.scenario}: {event.text}", file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines:
    """Every event as one JSON object a line, with the seconds since the start."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._started = time.monotonic()

    def tell(self, event: Event) -> None:
        """Write a line."""
        line = {"seconds": round(time.monotonic() - self._started, 3), **asdict(event)}
        print(json.dumps(line, default=str), file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Bar:
    """A progress bar with the latest event beside it; lines above it for what must not scroll away."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.fields[scenario]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, scenario="", text="")

    def tell(self, event: Event) -> None:
        """Move the bar."""
        if event.kind == "scenario-started":
            self._progress.reset(self._task, total=event.total, scenario=event.scenario, text=event.text)
        self._progress.update(self._task, completed=event.done, text=event.text)
        if event.kind in ("refused", "note", "scenario-finished") or event.details.get("problem"):
            self._progress.console.print(f"{event.scenario}: {event.text}", markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def reporter(mode: Mode, stream: IO[str]) -> Reporter:
    """The reporter of that mode; `auto` is a bar on a terminal and lines elsewhere."""
    if mode == "json":
        return JsonLines(stream)
    if mode == "rich" or (mode == "auto" and stream.isatty()):
        return Bar(Console(file=stream))
    return Lines(stream)
