# SPDX-License-Identifier: Apache-2.0
"""How an answer gets out: tables, JSON or YAML; through a pager where a person reads more than a screen."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200  # columns of a table that no terminal limits
INTERRUPTED = 130  # as a shell says of a command that Ctrl-C ended
PAGER = "NEUROWALL_PAGER"

Json = dict[str, Any]
Draw = Callable[["Console", Json], None]


class Output(StrEnum):
    """How a command prints its answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def show(output: Output, answer: Json, table: Draw) -> None:
    """Print *answer* as the user asked for it; *table* draws it for people."""
    _page(rendered(output, answer, table))


def rendered(output: Output, answer: Json, table: Draw) -> str:
    """The same as text."""
    if output is Output.JSON:
        return json.dumps(answer, indent=2) + "\n"
    if output is Output.YAML:
        import yaml

        return str(yaml.safe_dump(answer, sort_keys=False, allow_unicode=True))
    console = make_console()
    with console.capture() as drawn:
        table(console, answer)
    return drawn.get()


def document(output: Output, data: Json, line: Callable[[Json], str]) -> str:
    """One of many answers that follow each other: JSON on a line, a YAML document, or what *line* makes."""
    if output is Output.JSON:
        return json.dumps(data) + "\n"
    if output is Output.YAML:
        import yaml

        return "---\n" + str(yaml.safe_dump(data, sort_keys=False))
    return line(data) + "\n"


def make_console() -> "Console":
    """What draws for standard output."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, width=PIPE_WIDTH)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say on stderr that *what* is going on, with the seconds it takes, if a person watches."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def streaming() -> Iterator[None]:
    """Around output without end: Ctrl-C ends it as a shell says it, and so does a reader who had enough."""
    import typer

    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # whoever read us had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _page(text: str) -> None:
    """Write *text*; if a person reads it and it is longer than the screen, through a pager."""
    pager = _pager() if sys.stdout.isatty() and sys.stdin.isatty() else None
    if pager is None or text.count("\n") < shutil.get_terminal_size().lines:
        sys.stdout.write(text)
        return
    ours = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the pager's
    try:
        subprocess.run(pager, input=text, text=True, env=_secured(), check=False)
    finally:
        signal.signal(signal.SIGINT, ours)


def _pager() -> list[str] | None:
    """The pager's command line; None for none. Not the caller's choice under sudo: it could be a shell."""
    given = None if _by_sudo() else os.environ.get(PAGER, os.environ.get("PAGER"))
    words = shlex.split("less" if given is None else given)
    if not words or words[0] == "cat" or shutil.which(words[0]) is None:
        return None
    return words


def _secured() -> dict[str, str]:
    options = {"LESS": os.environ.get("LESS", "FRX")}
    return os.environ | options | ({"LESSSECURE": "1", "LESS": "FRX"} if _by_sudo() else {})


def _by_sudo() -> bool:
    return "SUDO_UID" in os.environ
