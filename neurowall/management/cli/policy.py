# SPDX-License-Identifier: Apache-2.0
"""The commands about policies: check, apply, confirm, go back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from neurowall.management.cli import render_policy
from neurowall.management.cli.options import Call, command, read_input
from neurowall.management.cli.output import Output, working
from neurowall.management.errors import ExitCode, UsageProblem

policy_app = typer.Typer(rich_markup_mode=None)

PolicyFile = Annotated[str, typer.Argument(metavar="FILE", help="The policy; - reads standard input.")]
Force = Annotated[bool, typer.Option("--force", help="Even if it cuts the session that you work in.")]


@command(
    policy_app,
    examples=(
        "neurowall validate policy.yaml",
        "neurowall validate policy.yaml --table",
        "neurowall init --example home | neurowall validate -",
    ),
    local=True,
)
def validate(
    call: Call,
    file: PolicyFile,
    table: Annotated[bool, typer.Option("--table", help="Print who may talk to whom, as Markdown.")] = False,
) -> None:
    """Check a policy and the list files that it names. Takes no root and no daemon.

    Errors name file, line and field, and the fix. Warnings are about what is valid and probably not meant.
    """
    from neurowall.management.cli.validate import examine

    found = examine(read_input(file, "policy"), _name_of(file), table=table)
    if found["valid"] or call.output is not Output.TABLE:
        call.show(found, render_policy.validated)
    else:
        raise UsageProblem("the policy cannot be used", tuple(each["text"] for each in found["errors"]))
    if not found["valid"]:
        raise typer.Exit(ExitCode.USAGE)


@command(policy_app, examples=("neurowall schema > policy.schema.json",), local=True)
def schema(call: Call) -> None:
    """Print the JSON Schema of policy files, for editors and other programs."""
    import json

    from neurowall.model.policyschema import schema as policy_schema

    if call.output is Output.YAML:
        call.show(policy_schema(), lambda *_: None)
    else:
        call.say(json.dumps(policy_schema(), indent=2) + "\n")


@command(
    policy_app,
    examples=(
        "neurowall apply policy.yaml --dry-run",
        "neurowall apply policy.yaml --confirm 60s",
        "neurowall apply policy.yaml --note 'mail server moved'",
    ),
    changes=True,
)
def apply(
    call: Call,
    file: PolicyFile,
    confirm: Annotated[
        str | None,
        typer.Option(
            "--confirm",
            metavar="DURATION",
            help="Take it back after this time unless `neurowall confirm` was given: 60s, 5m.",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Why; kept with the generation.", show_default=False)
    ] = "",
) -> None:
    """Put a policy in force, whole or not at all, and say what changed.

    Bans that were made at run time stay. A policy that would cut the SSH session that the command is given in
    is refused, unless --force.
    """
    from neurowall.management.session import own_session

    text, seconds = read_input(file, "policy"), _seconds(confirm)
    query = {"confirm": seconds, "force": force, "note": note or None}
    with call.client() as client, working("comparing" if call.terms.dry_run else f"applying {file}"):
        answer = client.apply(text, _name_of(file), own_session(), **query)
    _show_change(call, answer)


@command(policy_app, examples=("neurowall confirm",), changes=True)
def confirm(call: Call) -> None:
    """Keep the policy that `apply --confirm` put in force for a time."""
    with call.client() as client:
        answer = client.post("policy", "confirm")
    call.show(answer, render_policy.confirmed)


@command(policy_app, examples=("neurowall rollback", "neurowall rollback 12 --dry-run"), changes=True)
def rollback(
    call: Call,
    generation: Annotated[
        int | None,
        typer.Argument(
            metavar="[GENERATION]", help="Which; see `neurowall generations`.", show_default=False, min=1
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Put an earlier policy in force again: the one before, or that of a generation.

    Bans that were made at run time stay. Refused if it would cut the SSH session that the command is given
    in, unless --force.
    """
    from neurowall.management.session import own_session

    with call.client() as client, working("comparing" if call.terms.dry_run else "rolling back"):
        answer = client.rollback(generation, own_session(), force=force)
    _show_change(call, answer)


def _show_change(call: Call, answer: dict[str, Any]) -> None:
    from functools import partial

    call.show(answer, partial(render_policy.change, confirm=call.command("confirm")))


def _name_of(file: str) -> str:
    """The file for messages and for the lists beside it, whatever the daemon's working directory."""
    return str(Path.cwd() / "<stdin>" if file == "-" else Path(file).absolute())


def _seconds(text: str | None) -> str | None:
    """The seconds of a duration, for the API. Raises UsageProblem."""
    if text is None:
        return None
    from neurowall.model.duration import parse_duration

    try:
        return str(parse_duration(text))
    except ValueError as error:
        raise UsageProblem(f"--confirm: {error}") from error
