# SPDX-License-Identifier: Apache-2.0
"""The commands that block and allow addresses, and `neurowall bans`: what is blocked now and was."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurowall.management.cli import render, render_history
from neurowall.management.cli.options import AfterOption, Call, LimitOption, by_default, command
from neurowall.management.cli.output import working

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_SITES = 5  # in one hint

edit_app = typer.Typer(rich_markup_mode=None)
bans_app = typer.Typer(
    help="Show which addresses are blocked or allowed one by one, by whom and why, and which were.",
    rich_markup_mode=None,
)

Addresses = Annotated[
    list[str],
    typer.Argument(metavar="ADDRESS...", help="IPv4 or IPv6 addresses or prefixes.", show_default=False),
]
Ttl = Annotated[
    str | None,
    typer.Option(
        "--ttl",
        metavar="DURATION",
        help="For how long: 90s, 15m, 12h, 7d. [default: until it is taken back]",
        show_default=False,
    ),
]
Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="Why; `neurowall bans` shows it.", show_default=False),
]


class Kind(StrEnum):
    """Where a ban comes from."""

    BLOCK = "block"
    ALLOW = "allow"
    LIMIT = "limit"


def _post(call: Call, verb: str, addresses: list[str], **more: str | None) -> dict[str, Any]:
    body = {"addresses": addresses} | {name: given for name, given in more.items() if given is not None}
    with call.client() as client, working(verb):
        return client.post(verb, json=body)


@command(
    edit_app,
    examples=(
        "neurowall block 203.0.113.7",
        "neurowall block 203.0.113.7 --ttl 1h --reason 'scans ports'",
        "neurowall block 198.51.100.0/24 2001:db8:bad::/48",
        "neurowall block 2001:db8::7 --whole-64 --ttl 7d",
    ),
    changes=True,
)
def block(
    call: Call,
    addresses: Addresses,
    ttl: Ttl = None,
    reason: Reason = None,
    whole_64: Annotated[
        bool, typer.Option("--whole-64", help="Block the /64 around each IPv6 host, not only the host.")
    ] = False,
) -> None:
    """Block sources now, for good or for a time.

    Adds them to the list operator-block, or with --ttl to operator-block-timed. The kernel ends a timed block
    by itself, whether the daemon runs or not. Blocking a source again makes its time longer, as `bans` in the
    policy says, and never shorter.
    """
    from neurowall.management.sites import whole_site

    wanted = [whole_site(each) or each for each in addresses] if whole_64 else addresses
    answer = _post(call, "block", wanted, ttl=ttl, reason=reason)

    def show(console: "Console", answer: dict[str, Any]) -> None:
        render.change(console, answer)
        if text := _site_hint(call, answer, ttl, asked=whole_64):
            render.hint(console, text)

    call.show(answer, show)


def _site_hint(call: Call, answer: dict[str, Any], ttl: str | None, *, asked: bool) -> str:
    """What to say of IPv6 hosts that were blocked alone: whoever holds one has its /64."""
    if asked:
        given = [each["address"] for each in answer["addresses"]]
        alone = [each for each in given if ":" in each and "/" not in each]
        return f"blocked alone, since strangers share the /64: {_some(alone)}" if alone else ""
    sites = list(dict.fromkeys(each["whole_64"] for each in answer["addresses"] if each["whole_64"]))
    if not sites:
        return ""
    why = "the holder of an IPv6 address can use all of its /64"
    if len(sites) > SHOWN_SITES:
        return f"{why}; to block that, give the same command with --whole-64"
    return f"{why}; to block that: {call.command('block', *sites, *(('--ttl', ttl) if ttl else ()))}"


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN_SITES
    return ", ".join(names[:SHOWN_SITES]) + (f" and {more:,} more" if more > 0 else "")


@command(
    edit_app, examples=("neurowall allow 192.0.2.10", "neurowall allow 192.0.2.10 --ttl 8h"), changes=True
)
def allow(call: Call, addresses: Addresses, ttl: Ttl = None, reason: Reason = None) -> None:
    """Let sources pass, whatever block list holds them, for good or for a time.

    Adds them to the list operator-allow, or with --ttl to operator-allow-timed. The kernel ends a timed allow
    by itself too.
    """
    call.show(_post(call, "allow", addresses, ttl=ttl, reason=reason), render.change)


@command(edit_app, examples=("neurowall unblock 203.0.113.7",), changes=True)
def unblock(call: Call, addresses: Addresses) -> None:
    """Take back `block`.

    Removes sources from the lists operator-block and operator-block-timed, ends bans by limits, and says what
    was removed. Says so if another list still blocks them.
    """
    call.show(_post(call, "unblock", addresses), render.change)


@command(edit_app, examples=("neurowall unallow 192.0.2.10",), changes=True)
def unallow(call: Call, addresses: Addresses) -> None:
    """Take back `allow`.

    Removes sources from the lists operator-allow and operator-allow-timed, and says what was removed.
    """
    call.show(_post(call, "unallow", addresses), render.change)


@command(
    bans_app,
    "list",
    examples=(
        "neurowall bans list",
        "neurowall bans list --kind limit",
        "neurowall bans list --address 203.0.113.7",
    ),
)
def bans_list(
    call: Call,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Only of this kind.", show_default=False)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="Only what holds this.", show_default=False),
    ] = None,
    limit: LimitOption = 100,
    after: AfterOption = None,
) -> None:
    """Show single addresses that are blocked or allowed now: since when, how long still, by whom and why.

    Those of operators (`neurowall block`, `neurowall allow`) and those of limits. `neurowall lists show` has
    whole lists.
    """
    query = {"kind": kind.value if kind else None, "address": address}
    with call.client() as client:
        answer = client.pages("bans", items="bans", limit=limit, after=after, **query)
    call.show(answer, render_history.bans)


@command(
    bans_app,
    "history",
    examples=("neurowall bans history", "neurowall bans history --address 203.0.113.7 -o json"),
)
def bans_history(
    call: Call,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="Only of this.", show_default=False),
    ] = None,
    limit: LimitOption = 100,
    after: AfterOption = None,
) -> None:
    """Show what was blocked and allowed: by whom, why, and what ended it."""
    with call.client() as client:
        answer = client.pages("bans", "history", items="bans", limit=limit, after=after, address=address)
    call.show(answer, render_history.ban_history)


def _list_bans(call: Call) -> None:
    """Show which addresses are blocked or allowed one by one; `history` shows which were."""
    bans_list(call)


by_default(bans_app, _list_bans)
