# SPDX-License-Identifier: Apache-2.0
"""The commands `neurowall generations ...`: the policies that were in force, what differs, the way back."""

from typing import Annotated

import typer

from neurowall.management.cli import policy, render_history, render_policy
from neurowall.management.cli.options import AfterOption, Call, LimitOption, by_default, command

generations_app = typer.Typer(
    help="Show the policies that were in force, compare them, and go back to one.", rich_markup_mode=None
)

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="Which.", min=1)]


@command(
    generations_app, "list", examples=("neurowall generations list", "neurowall generations list --limit 5")
)
def generations_list(call: Call, limit: LimitOption = 100, after: AfterOption = None) -> None:
    """Show the policies that were in force, the newest first."""
    with call.client() as client:
        answer = client.pages("policy", "generations", items="generations", limit=limit, after=after)
    call.show(answer, render_policy.generations)


@command(
    generations_app,
    "show",
    examples=("neurowall generations show > policy.yaml", "neurowall generations show 12 -o json"),
)
def generations_show(
    call: Call,
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="[NUMBER]", help="Which. [default: the one in force]", show_default=False, min=1
        ),
    ] = None,
) -> None:
    """Print the policy file of a generation as it was."""
    path = ("policy",) if number is None else ("policy", "generations", str(number))
    with call.client() as client:
        call.show(client.get(*path), render_policy.generation)


@command(
    generations_app,
    "diff",
    examples=("neurowall generations diff 12", "neurowall generations diff 12 14 --text"),
)
def generations_diff(
    call: Call,
    number: Number,
    to: Annotated[
        int | None,
        typer.Argument(
            metavar="[TO]", help="Compared with. [default: the one in force]", show_default=False, min=1
        ),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Compare the files line by line.")] = False,
) -> None:
    """Say what changes from one generation to another: in meaning, or with --text in the file's lines."""
    with call.client() as client:
        answer = client.get("policy", "generations", str(number), "diff", to=to)
    call.show(answer, render_history.text_diff if text else render_history.diff)


command(
    generations_app,
    "rollback",
    examples=("neurowall generations rollback 12 --dry-run", "neurowall generations rollback 12"),
    changes=True,
)(policy.rollback)


def _by_default(call: Call) -> None:
    """Show the policies that were in force; `show`, `diff` and `rollback` are about one of them."""
    generations_list(call)


by_default(generations_app, _by_default)
