# SPDX-License-Identifier: Apache-2.0
"""What every `neurowall` command shares: its options, and how its errors end it."""

import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurowall.management.cli import output as printing
from neurowall.management.cli.completion import complete_instances
from neurowall.management.cli.output import Draw, Output
from neurowall.management.cli.target import CA, DEFAULT_INSTANCE, RUN_DIR, TOKEN, URL, Target, Terms
from neurowall.management.errors import CommandError, UsageProblem
from neurowall.management.instance import DEFAULT_RUN_DIR, Instance
from neurowall.model.shown import shown

if TYPE_CHECKING:
    from neurowall.management.cli.client import Client

InstanceOption = Annotated[
    str | None,
    typer.Option(
        "--instance",
        metavar="NAME",
        help=f"Which daemon. [default: {DEFAULT_INSTANCE}]",
        show_default=False,
        autocompletion=complete_instances,
    ),
]
RunDirOption = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        metavar="DIR",
        help=f"Where instances run. [env: {RUN_DIR}; default: {DEFAULT_RUN_DIR}]",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Output | None,
    typer.Option("--output", "-o", help="How to print the answer. [default: table]", show_default=False),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help=f"Talk to this daemon by TLS, instead of one on this machine. [env: {URL}]",
        show_default=False,
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help=f"Who may have signed its certificate. [env: {CA}; default: the system's]",
        show_default=False,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help=f"Where the token for --url is. [env: {TOKEN} is the token itself]",
        show_default=False,
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]
IfMatchOption = Annotated[
    int | None,
    typer.Option(
        "--if-match",
        metavar="GENERATION",
        help="Only while this generation is in force.",
        show_default=False,
        min=0,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="What is asked twice with the same key is done once.",
        show_default=False,
    ),
]

LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many are shown at most.")]
AfterOption = Annotated[
    str | None,
    typer.Option("--after", metavar="CURSOR", help="Go on after this.", show_default=False),
]

HERE: dict[str, Any] = {"instance": InstanceOption, "run_dir": RunDirOption, "output": OutputOption}
AFAR: dict[str, Any] = {"url": UrlOption, "ca": CaOption, "token_file": TokenFileOption}
TERMS: dict[str, tuple[Any, Any]] = {
    "dry_run": (DryRunOption, False),
    "if_match": (IfMatchOption, None),
    "key": (KeyOption, None),
}


@dataclass(frozen=True)
class Shared:
    """The shared options as one command line gave them; None where it did not."""

    instance: str | None = None
    run_dir: Path | None = None
    output: Output | None = None
    url: str | None = None
    ca: Path | None = None
    token_file: Path | None = None

    def over(self, outer: "Shared") -> "Shared":
        """These options, filled up from those given before the command's name."""
        mine = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(outer, **{name: value for name, value in mine.items() if value is not None})

    def target(self, *, local: bool = False) -> Target:
        """What the options and the environment name; *local*: it must be on this machine.

        The command line wins over the environment. Raises UsageProblem for options that contradict.
        """
        run_dir = self.run_dir or Path(os.environ.get(RUN_DIR) or DEFAULT_RUN_DIR)
        instance = Instance(self.instance or DEFAULT_INSTANCE, run_dir)
        here = self.instance is not None or self.run_dir is not None
        if local and self.url is not None:
            raise UsageProblem("this command works on the machine that it runs on: it takes no --url")
        if here and self.url is not None:
            raise UsageProblem("--url names a daemon by itself: leave --instance and --run-dir out")
        url = None if here or local else self.url or os.environ.get(URL) or None
        if url is None:
            return Target(instance)
        ca = self.ca or (Path(os.environ[CA]) if os.environ.get(CA) else None)
        return Target(instance, url.rstrip("/"), ca, self.token_file)


@dataclass(frozen=True)
class Call:
    """One command's surroundings: which daemon, how to change it, and how to answer."""

    target: Target
    output: Output
    terms: Terms = field(default_factory=Terms)

    @property
    def instance(self) -> Instance:
        """The instance on this machine that a command without --url is about."""
        return self.target.instance

    def command(self, *arguments: str) -> str:
        """The command line that does *arguments* on the same daemon, to be copied by people."""
        return shlex.join(("neurowall", *arguments, *self.target.arguments()))

    @contextmanager
    def client(self, timeout: float | None = None) -> "Iterator[Client]":
        """A connection to the daemon; *timeout*: seconds for an answer, instead of as long as an apply."""
        from neurowall.management.cli.client import Client

        with Client(self.target, self.terms, timeout) as client:
            yield client

    def say(self, text: str) -> None:
        """Print *text* as it is."""
        sys.stdout.write(text)

    def show(self, answer: dict[str, Any], table: Draw) -> None:
        """Print *answer* as the user asked for it; *table* draws it for people."""
        printing.show(self.output, answer, table)


def command(
    app: typer.Typer,
    name: str | None = None,
    examples: tuple[str, ...] = (),
    *,
    changes: bool = False,
    of_generation: bool = True,
    local: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command of *app*; its first parameter `call` is filled in here.

    Its help ends with *examples*. *changes*: it takes the options of `Terms`, --if-match only if what it
    changes is *of_generation*. *local*: it is about this machine and takes no --url. The shared options are
    accepted after the command's name as well as before it. A CommandError is printed on stderr and ends the
    process with its exit code.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        shared = HERE if local else HERE | AFAR
        own_terms = {option: kind for option, kind in TERMS.items() if of_generation or option != "if_match"}

        def run(**arguments: Any) -> None:
            context = arguments.pop("context")
            given = Shared(**{option: arguments.pop(option) for option in shared})
            terms = Terms(**{option: arguments.pop(option) for option in own_terms}) if changes else Terms()
            perform(function, context, given, terms, local=local, **arguments)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        if changes:
            own += [_parameter(option, *kind) for option, kind in own_terms.items()]
        own += [_parameter(option, annotation, None) for option, annotation in shared.items()]
        _disguise(run, function, own)
        # Click keeps the lines of a paragraph that starts with a backspace.
        epilog = "\n".join(("\b", "Examples:", *(f"  {example}" for example in examples)))
        app.command(name, epilog=epilog if examples else None)(run)
        return function

    return register


def by_default(app: typer.Typer, function: Callable[..., None]) -> None:
    """Let the group *app* without a command do *function*, which takes a Call; its help is the group's."""

    def run(**arguments: Any) -> None:
        context = arguments.pop("context")
        given = Shared(**arguments).over(context.find_object(Shared) or Shared())
        context.obj = given
        if context.invoked_subcommand is None:
            perform(function, context, given, Terms())

    options = [_parameter(option, annotation, None) for option, annotation in (HERE | AFAR).items()]
    _disguise(run, function, options)
    app.callback(invoke_without_command=True)(run)


def perform(
    function: Callable[..., None],
    context: typer.Context,
    given: Shared,
    terms: Terms,
    *,
    local: bool = False,
    **arguments: Any,
) -> None:
    """Call a command with its surroundings; a CommandError ends the process."""
    try:
        merged = given.over(context.find_object(Shared) or Shared())
        call = Call(merged.target(local=local), merged.output or Output.TABLE, terms)
        function(call, **arguments)
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
    for line in (f"error: {error}", *(f"  {detail}" for detail in error.details)):
        # No line of what is told begins as one of ours.
        typer.echo("\n    ".join(map(shown, line.split("\n"))), err=True)
    raise typer.Exit(error.exit_code)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _disguise(run: Callable[..., None], function: Callable[..., None], own: list[inspect.Parameter]) -> None:
    """Give *run* the signature that typer reads: *own* parameters, and its context."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("context", keyword, annotation=typer.Context)]
    parameters += [parameter.replace(kind=keyword) for parameter in own]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = function.__name__, function.__doc__
