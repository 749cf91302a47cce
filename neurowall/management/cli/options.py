# SPDX-License-Identifier: Apache-2.0
"""What every `neurowall` command shares: its options, its output formats, how its errors end it."""

import inspect
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurowall.management.errors import CommandError, UsageProblem
from neurowall.management.instance import DEFAULT_RUN_DIR, Instance

if TYPE_CHECKING:
    from rich.console import Console

    from neurowall.management.cli.client import Client

DEFAULT_INSTANCE = "main"
PIPE_WIDTH = 200  # columns of a table that no terminal limits


class Output(StrEnum):
    """How a command prints its answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


InstanceOption = Annotated[
    str | None,
    typer.Option(
        "--instance", metavar="NAME", help=f"Which daemon. [default: {DEFAULT_INSTANCE}]", show_default=False
    ),
]
RunDirOption = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        help=f"Where instances run. [default: {DEFAULT_RUN_DIR}]",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Output | None,
    typer.Option("--output", "-o", help="How to print the answer. [default: table]", show_default=False),
]

_SHARED = {"instance": InstanceOption, "run_dir": RunDirOption, "output": OutputOption}


@dataclass(frozen=True)
class Shared:
    """The shared options as one command line gave them; None where it did not."""

    instance: str | None = None
    run_dir: Path | None = None
    output: Output | None = None

    def over(self, outer: "Shared") -> "Shared":
        """These options, filled up from those given before the command's name."""
        return Shared(
            self.instance or outer.instance, self.run_dir or outer.run_dir, self.output or outer.output
        )


@dataclass(frozen=True)
class Call:
    """One command's surroundings: which instance, and how to answer."""

    instance: Instance
    output: Output

    def command(self, *arguments: str) -> str:
        """The command line that does *arguments* on the same instance, to be copied by people."""
        where = []
        if self.instance.name != DEFAULT_INSTANCE:
            where += ["--instance", self.instance.name]
        if self.instance.run_dir != DEFAULT_RUN_DIR:
            where += ["--run-dir", str(self.instance.run_dir)]
        return shlex.join(("neurowall", *arguments, *where))

    @contextmanager
    def client(self) -> "Iterator[Client]":
        """A connection to the instance's daemon."""
        from neurowall.management.cli.client import Client

        with Client(self.instance.socket, self.instance.name) as client:
            yield client

    def say(self, text: str) -> None:
        """Print *text* as it is."""
        sys.stdout.write(text)

    def show(self, answer: dict[str, Any], table: "Callable[[Console, dict[str, Any]], None]") -> None:
        """Print *answer* as the user asked for it; *table* draws it for people."""
        if self.output is Output.JSON:
            sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        elif self.output is Output.YAML:
            import yaml

            sys.stdout.write(yaml.safe_dump(answer, sort_keys=False))
        else:
            table(_console(), answer)


def _console() -> "Console":
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


def command(
    app: typer.Typer, name: str | None = None, examples: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command of *app*; its first parameter `call` is filled in here.

    Its help ends with *examples*. The shared options are accepted after the command's name as well as before
    it. A CommandError is printed on stderr and ends the process with its exit code.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(**arguments: Any) -> None:
            context = arguments.pop("context")
            given = Shared(*(arguments.pop(option) for option in _SHARED))
            perform(function, context, given, **arguments)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        _disguise(run, function, own)
        # Click keeps the lines of a paragraph that starts with a backspace.
        epilog = "\n".join(("\b", "Examples:", *(f"  {example}" for example in examples)))
        app.command(name, epilog=epilog if examples else None)(run)
        return function

    return register


def perform(function: Callable[..., None], context: typer.Context, given: Shared, **arguments: Any) -> None:
    """Call a command with its surroundings; a CommandError ends the process."""
    try:
        function(_call(context, given), **arguments)
    except CommandError as error:
        fail(error)


def read_input(file: str, what: str) -> bytes:
    """The bytes of *file*, or of standard input for `-`. *what* it is, for the message if that fails."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageProblem(f"cannot read {what} {file}: {error.strerror}") from error


def fail(error: CommandError) -> None:
    """Print *error* and leave with its exit code."""
    typer.echo(f"error: {error}", err=True)
    for detail in error.details:
        typer.echo(f"  {detail}", err=True)
    raise typer.Exit(error.exit_code)


def _call(context: typer.Context, given: Shared) -> Call:
    outer = context.find_object(Shared) or Shared()
    merged = given.over(outer)
    instance = Instance(merged.instance or DEFAULT_INSTANCE, merged.run_dir or DEFAULT_RUN_DIR)
    return Call(instance, merged.output or Output.TABLE)


def _disguise(run: Callable[..., None], function: Callable[..., None], own: list[inspect.Parameter]) -> None:
    """Give *run* the signature that typer reads: the command's own parameters, then the shared ones."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("context", keyword, annotation=typer.Context)]
    parameters += [parameter.replace(kind=keyword) for parameter in own]
    parameters += [
        inspect.Parameter(name, keyword, default=None, annotation=annotation)
        for name, annotation in _SHARED.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = function.__name__, function.__doc__
