# SPDX-License-Identifier: Apache-2.0
"""The command `neurowall top`: what passes and what is dropped, as it happens."""

import itertools
import sys
import time
from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurowall.management.cli.drawing import moment, say
from neurowall.management.cli.options import Call, command
from neurowall.management.cli.output import Output, document, rendered, streaming
from neurowall.management.cli.topview import Sort, draw, frame
from neurowall.management.errors import CommandError

if TYPE_CHECKING:
    from neurowall.management.cli.client import Client
    from neurowall.management.cli.screen import Screen

PATIENCE = 5.0  # seconds that an answer may take
_QUIT = "q"
_FINAL = (401, 403, 404)  # asking again gets the same answer

Json = dict[str, Any]

top_app = typer.Typer(rich_markup_mode=None)


@command(
    top_app,
    examples=(
        "neurowall top",
        "neurowall top --interval 10 --sort bits",
        "neurowall top --once -o json | jq '.verdicts[] | select(.verdict == \"drop\").packets_per_second'",
    ),
)
def top(
    call: Call,
    interval: Annotated[
        float, typer.Option("--interval", "-i", metavar="SECONDS", min=0.1, max=3600, help="How often.")
    ] = 2.0,
    sort: Annotated[Sort, typer.Option("--sort", help="What comes first.")] = Sort.PACKETS,
    sources: Annotated[int, typer.Option("--sources", min=0, max=1000, help="Sources shown at most.")] = 20,
    once: Annotated[bool, typer.Option("--once", help="Show one interval and end.")] = False,
) -> None:
    """Show packets and bits per second by verdict and reason, lists, limits, and who is dropped most.

    On a terminal it is redrawn until q; p holds it, s sorts by the next column. In a pipe, and with -o json,
    one interval follows another. Sources are counted by events, which the kernel samples under a flood.
    """
    with call.client(timeout=PATIENCE) as client:
        if once:
            shown = next(_frames(client, interval, sources))
            sys.stdout.write(_text(call.output, shown, sort, pretty=True))
        elif call.output is Output.TABLE and sys.stdin.isatty() and sys.stdout.isatty():
            _watch(call, client, interval, sort, sources)
        else:
            with streaming():
                for shown in _frames(client, interval, sources):
                    sys.stdout.write(_text(call.output, shown, sort))
                    sys.stdout.flush()


def _ask(client: "Client", sources: int) -> Json:
    return client.get("top", limit=sources)


def _frames(client: "Client", interval: float, sources: int) -> Iterator[Json]:
    """One frame after each interval, without end."""
    before = _ask(client, sources)
    for due in (time.monotonic() + interval * number for number in itertools.count(1)):
        time.sleep(max(due - time.monotonic(), 0.0))
        now = _ask(client, sources)
        yield frame(before, now)
        before = now


def _text(output: Output, shown: Json, sort: Sort, *, pretty: bool = False) -> str:
    if pretty or output is Output.TABLE:
        return rendered(output, shown, lambda console, answer: draw(console, answer, sort))
    return document(output, shown, str)


def _watch(call: Call, client: "Client", interval: float, sort: Sort, sources: int) -> None:
    """Redraw until q."""
    from neurowall.management.cli.screen import Screen

    view = _View(client, call.target.url or f"instance {call.instance.name}", sort, sources)
    with streaming(), Screen() as screen:
        _redraw(view, screen, interval)


def _redraw(view: "_View", screen: "Screen", interval: float) -> None:
    screen.take()
    due = time.monotonic() + min(interval, 1.0)  # the first figures soon
    while True:
        screen.draw(view.render)
        if key := screen.key(due - time.monotonic()):
            if not view.press(key):
                return
            continue
        due = max(due + interval, time.monotonic())
        view.look()


class _View:
    """What is on the screen, and what keys make of it. Asks at once: no daemon, no screen."""

    def __init__(self, client: "Client", title: str, sort: Sort, sources: int) -> None:
        self._client = client
        self._title = title
        self._sort = sort
        self._sources = sources
        self._paused = False
        self._trouble = ""
        self._before = _ask(client, sources)
        self._shown = frame(self._before, self._before)

    def press(self, key: str) -> bool:
        """Do what a key is for; False: end."""
        if key == "s":
            self._sort = self._sort.next()
        elif key == "p":
            self._paused = not self._paused
        return key != _QUIT

    def look(self) -> None:
        """Ask, unless held. A daemon that is away for a while is waited for; the last figures stay."""
        if self._paused:
            return
        try:
            now = _ask(self._client, self._sources)
        except CommandError as error:
            if getattr(error, "status", None) in _FINAL:
                raise
            self._trouble = f"no answer, trying again: {error}"
            return
        self._shown, self._before, self._trouble = frame(self._before, now), now, ""

    def render(self, columns: int, lines: int) -> str:
        """The screen as text."""
        from rich.console import Console

        drawn = StringIO()
        console = Console(
            file=drawn, force_terminal=True, width=columns, height=lines, markup=False, highlight=False
        )
        shown = self._shown
        held = ", held" if self._paused else ""
        title = f"{self._title}: generation {shown['generation']}, {moment(shown['at'])} UTC, by {self._sort}"
        say(console, f"{title}{held}  (q quit, p hold, s sort)"[:columns], style="reverse")
        say(console, self._trouble[:columns], style="bold red")
        draw(console, shown, self._sort, lines)
        return drawn.getvalue()
