# SPDX-License-Identifier: Apache-2.0
"""The commands `neurowall audit ...`: who changed what, and whether anybody changed the record of it."""

from enum import StrEnum
from typing import Annotated

import typer

from neurowall.management.cli import render_history
from neurowall.management.cli.options import AfterOption, Call, LimitOption, by_default, command
from neurowall.management.errors import ExitCode

audit_app = typer.Typer(
    help="Show who changed what, and check that nobody changed the record of it.", rich_markup_mode=None
)


class Result(StrEnum):
    """How an act ended."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


@command(
    audit_app,
    "list",
    examples=(
        "neurowall audit list --limit 20",
        "neurowall audit list --result refused",
        "neurowall audit list --action authentication-failed -o json | jq '.audit[].source'",
    ),
)
def audit_list(
    call: Call,
    actor: Annotated[
        str | None, typer.Option("--actor", metavar="ACTOR", help="Only of this actor.", show_default=False)
    ] = None,
    action: Annotated[
        str | None,
        typer.Option(
            "--action", metavar="ACTION", help="Only these: block, policy-apply ...", show_default=False
        ),
    ] = None,
    result: Annotated[
        Result | None, typer.Option("--result", help="Only with this result.", show_default=False)
    ] = None,
    limit: LimitOption = 100,
    after: AfterOption = None,
) -> None:
    """Show who did what, when, from where, and how it ended; the newest first."""
    query = {"actor": actor, "action": action, "result": result.value if result else None}
    with call.client() as client:
        answer = client.pages("audit", items="audit", limit=limit, after=after, **query)
    call.show(answer, render_history.audit)


@command(audit_app, "verify", examples=("neurowall audit verify", "neurowall audit verify -o json"))
def audit_verify(call: Call) -> None:
    """Check that no row of the audit was changed, removed or put in. Exit code 1 if one was."""
    with call.client() as client:
        answer = client.get("audit", "verify")
    call.show(answer, render_history.verified)
    if not answer["ok"]:
        raise typer.Exit(ExitCode.FAILED)


def _by_default(call: Call) -> None:
    """Show who changed what; `verify` checks that nobody changed the record of it."""
    audit_list(call)


by_default(audit_app, _by_default)
