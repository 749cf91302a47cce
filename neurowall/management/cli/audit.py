# SPDX-License-Identifier: Apache-2.0
"""The commands `neurowall audit ...`: who changed what, and whether anybody changed the record of it."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurowall.management.cli import render_history
from neurowall.management.cli.options import AfterOption, Call, LimitOption, by_default, command
from neurowall.management.errors import ExitCode, Unreachable
from neurowall.management.instance import holder

audit_app = typer.Typer(
    help="Show who changed what, and check that nobody changed the record of it.", rich_markup_mode=None
)


class Result(StrEnum):
    """How an act ended."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


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
    """Show who did what, when, from where, and how it ended; the newest first.

    A change has a row where it begins and one where it ended: whoever dies between them is seen.
    """
    query = {"actor": actor, "action": action, "result": result.value if result else None}
    with call.client() as client:
        answer = client.pages("audit", items="audit", limit=limit, after=after, **query)
    call.show(answer, render_history.audit)


@command(
    audit_app,
    "verify",
    examples=(
        "neurowall audit verify",
        "neurowall audit verify --state-dir /mnt/backup/var/lib/neurowall",
    ),
)
def audit_verify(
    call: Call,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            "--state-dir",
            metavar="DIR",
            help="Verify what is there, without a daemon. [default: that of the instance]",
            show_default=False,
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help="Verify what is there, without a daemon. [env: NEUROWALL_DATABASE; default: SQLite in the "
            "state directory]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check that no row of the audit was changed, removed or put in. Exit code 1 if one was.

    Where no daemon runs, this looks at the database itself, which it only reads.
    """
    answer = None if state_dir or database else _ask(call)
    if answer is None:
        from neurowall.management.cli.auditcheck import verify_here

        database = database or os.environ.get("NEUROWALL_DATABASE")
        answer = verify_here(call.instance, state_dir, database)
    call.show(answer, render_history.verified)
    if not answer["ok"]:
        raise typer.Exit(ExitCode.FAILED)


def _ask(call: Call) -> dict[str, Any] | None:
    """The daemon's answer; None where none runs on this machine."""
    try:
        with call.client() as client:
            return client.get("audit", "verify")
    except Unreachable:
        if call.target.url is not None or holder(call.instance) is not None:
            raise
        return None


def _by_default(call: Call) -> None:
    """Show who changed what; `verify` checks that nobody changed the record of it."""
    audit_list(call)


by_default(audit_app, _by_default)
