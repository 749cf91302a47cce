# SPDX-License-Identifier: Apache-2.0
"""The command `neurowall events`: what happened last, or what happens."""

import sys
from typing import Annotated, Any

import typer

from neurowall.management.cli import render_events
from neurowall.management.cli.options import Call, command
from neurowall.management.cli.output import Output, document, streaming

events_app = typer.Typer(rich_markup_mode=None)


@command(
    events_app,
    examples=(
        "neurowall events",
        "neurowall events --follow --reason block-list",
        "neurowall events --follow --address 203.0.113.7 -o json | jq .list",
    ),
)
def events(
    call: Call,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what happens, until Ctrl-C; one line an event.")
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="REASON", help="Only of this reason.", show_default=False),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Only of this kind: drop, ban ...", show_default=False),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="Only from or to this.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Events shown at most.")] = 100,
) -> None:
    """Show what the kernel told: drops, bans, flows and limits.

    Drops are sampled, at most events.per_second of each reason and CPU; `neurowall status` counts all.
    With -o json, --follow prints a JSON object a line.
    """
    wanted = {"reason": reason, "kind": kind, "address": address}
    if follow:
        _follow(call, wanted)
        return
    with call.client() as client:
        call.show(client.get("events", "recent", limit=limit, **wanted), render_events.recent)


def _follow(call: Call, wanted: dict[str, str | None]) -> None:
    with streaming(), call.client() as client:
        for name, data in client.follow("events", **wanted):
            sys.stdout.write(_text(call.output, name, data))
            sys.stdout.flush()


def _text(output: Output, name: str, data: dict[str, Any]) -> str:
    return document(output, data, render_events.lost if name == "lost" else render_events.line)
