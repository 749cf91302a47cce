# SPDX-License-Identifier: Apache-2.0
"""The command `neurowall trace`: runs in its own process, as root, with bcc."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurowall.management.cli import render_trace
from neurowall.management.cli.options import Call, command
from neurowall.management.cli.output import Output, document, make_console

if TYPE_CHECKING:
    from neurowall.kernel.trace import Tracer
    from neurowall.logic.trace import Row
    from neurowall.model.trace import Tally

trace_app = typer.Typer(rich_markup_mode=None)
PERIOD = 1.0  # seconds between looks
Json = dict[str, Any]


@command(
    trace_app,
    examples=(
        "sudo neurowall trace 203.0.113.7",
        "sudo neurowall trace 2001:db8::7 --seconds 10 -o json | jq -c 'select(.kind == \"died\")'",
    ),
)
def trace(
    call: Call,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="An IPv4 or IPv6 address.")],
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.1, help="End after so long. [default: Ctrl-C]", show_default=False),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, help="End after so many lost packets.", show_default=False),
    ] = None,
    netns: Annotated[
        str | None,
        typer.Option(
            "--netns",
            metavar="NAME",
            help="Watch this network namespace. [default: the instance's]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show where in the kernel an address's packets are lost. Needs root, bcc and kernel headers.

    Counts packets from and to ADDRESS by place: lost in XDP (as the daemon tells, sampled), or in a function
    of the kernel, with its reason and netfilter's hook; received by the stack, read by programs, sent. Ctrl-C
    ends it with a summary. It changes nothing, but takes each packet of the machine a little time. With
    -o json, each second a line for each place that counted more, and the summary at the end.
    """
    from neurowall.management.cli.traced import begin

    ended = threading.Event()
    with _until_told(ended), begin(call, address, netns) as tracing:
        typer.echo(f"watching {tracing.address}; Ctrl-C ends it", err=True)
        _watch(call.output, tracing, ended, seconds, count)
        tracing.look()
        _summarise(call.output, tracing)


@dataclass
class Tracing:
    """A trace under way: what is asked for, and what was seen so far. notes: what is not seen, and why."""

    address: str
    tracer: "Tracer"
    xdp: "Callable[[], dict[Row, Tally]]"
    notes: list[str]
    begun: float = field(default_factory=time.monotonic)
    seen: "dict[Row, Tally]" = field(default_factory=dict)

    def look(self) -> "dict[Row, Tally]":
        """Count again; what counted more than last time."""
        from neurowall.logic.trace import rows

        before, self.seen = self.seen, self.xdp() | rows(self.tracer.counts())
        return {row: tally for row, tally in self.seen.items() if before.get(row) != tally}

    @property
    def seconds(self) -> float:
        """For how long."""
        return time.monotonic() - self.begun

    @property
    def lost(self) -> int:
        """Packets that died."""
        from neurowall.logic.trace import lost

        return lost(self.seen)

    def total(self, *kinds: str) -> int:
        """Packets of these kinds."""
        return sum(tally.packets for row, tally in self.seen.items() if row.kind in kinds)


@contextmanager
def _until_told(ended: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end it with a summary, whatever it does just now."""
    before = {
        number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(
    output: Output, tracing: Tracing, ended: threading.Event, seconds: float | None, count: int | None
) -> None:
    """Look each second, and show it, until it is over."""
    with _shown(output) as show:
        while not ended.wait(min(PERIOD, max(0.0, seconds - tracing.seconds) if seconds else PERIOD)):
            show(tracing, tracing.look())
            if count and tracing.lost >= count:
                return
            if seconds and tracing.seconds >= seconds:
                return


@contextmanager
def _shown(output: Output) -> "Iterator[Callable[[Tracing, dict[Row, Tally]], None]]":
    """How what was seen gets out: a table that stays in place, lines, or nothing before the end."""
    if output is not Output.TABLE:
        yield lambda _tracing, more: _lines(output, more)
    elif not sys.stdout.isatty():
        yield lambda _tracing, _more: None
    else:
        from rich.live import Live

        with Live(console=make_console(), auto_refresh=False, transient=True) as live:
            yield lambda tracing, _more: live.update(render_trace.drawing(summary(tracing)), refresh=True)


def _lines(output: Output, more: "dict[Row, Tally]") -> None:
    for row, tally in more.items():
        sys.stdout.write(document(output, {"time": time.time()} | _as_json(row, tally), str))
    sys.stdout.flush()


def _summarise(output: Output, tracing: Tracing) -> None:
    if output is Output.TABLE:
        make_console().print(render_trace.drawing(summary(tracing)))
    else:
        sys.stdout.write(document(output, {"summary": summary(tracing)}, str))


def summary(tracing: Tracing) -> Json:
    """Everything that was seen."""
    kinds = ("died", "exception", "received", "delivered", "sent", "consumed")
    return {
        "address": tracing.address,
        "seconds": round(tracing.seconds, 1),
        "packets": {kind: tracing.total(kind) for kind in kinds} | {"died": tracing.lost},
        "uncounted": tracing.tracer.lost(),
        "notes": tracing.notes,
        "places": [_as_json(row, tally) for row, tally in tracing.seen.items()],
    }


def _as_json(row: "Row", tally: "Tally") -> Json:
    return {
        "kind": str(row.kind),
        "stage": row.stage,
        "device": row.device or None,
        "reason": row.reason or None,
        "function": row.function or None,
        "direction": None if row.kind == "exception" else "to" if row.to_it else "from",
        "namespace": "ours" if row.known else "unknown",
        "packets": tally.packets,
        "bytes": tally.bytes,
        "meaning": row.meaning,
    }
