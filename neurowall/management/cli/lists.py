# SPDX-License-Identifier: Apache-2.0
"""The commands `neurowall lists ...`."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neurowall.management.cli import render
from neurowall.management.cli.completion import complete_changeable_lists, complete_lists
from neurowall.management.cli.options import Call, command, read_input
from neurowall.management.cli.output import working
from neurowall.management.errors import UsageProblem

lists_app = typer.Typer(
    help="Show, load, change, replace and remove address lists.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Verdict(StrEnum):
    """What a list does to the sources it holds."""

    BLOCK = "block"
    ALLOW = "allow"


ListFile = Annotated[str, typer.Argument(metavar="FILE", help="One entry a line; - reads standard input.")]
SkipInvalid = Annotated[
    bool,
    typer.Option(
        "--skip-invalid", help="Leave out lines that are not addresses instead of refusing the list."
    ),
]


@command(
    lists_app,
    "show",
    examples=(
        "neurowall lists show",
        "neurowall lists show ipsum --limit 20",
    ),
)
def lists_show(
    call: Call,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Show this list's entries.",
            show_default=False,
            autocompletion=complete_lists,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Entries shown at most.")] = 100,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="ENTRY", help="Go on after this entry.", show_default=False),
    ] = None,
) -> None:
    """Show all lists, or the entries of one.

    Of each list: what it does, how many packets it decided, and how many it matched, whoever decided. Of an
    entry that ends by itself: how long it still lasts.
    """
    with call.client() as client:
        if name is None:
            call.show(client.get("lists"), render.lists)
        else:
            call.show(client.get("lists", name, limit=limit, after=after), render.entries)


@command(
    lists_app,
    "load",
    examples=(
        "neurowall lists load ipsum.txt",
        "neurowall lists load partners.txt --verdict allow",
        "neurowall lists load new-feed.txt --monitor",
        "fetch-feed | neurowall lists load - --name feed --skip-invalid",
    ),
    changes=True,
)
def lists_load(
    call: Call,
    file: ListFile,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="The list's name. [default: the file's]", show_default=False
        ),
    ] = None,
    verdict: Annotated[Verdict, typer.Option("--verdict", help="What the list does.")] = Verdict.BLOCK,
    monitor: Annotated[
        bool, typer.Option("--monitor", help="Only count what it matches; see `neurowall lists set`.")
    ] = False,
    skip_invalid: SkipInvalid = False,
) -> None:
    """Load a new list. It is enforced when the command returns, and again after a restart.

    One address or prefix a line; what follows it on the line, and lines of # or ; are comments.
    A list with a line that is not an address is refused as a whole, unless --skip-invalid.
    """
    query = {"verdict": verdict.value, "monitor": monitor, "skip_invalid": skip_invalid}
    _put(call, name or _name_of(file), file, **query, create=True)


@command(lists_app, "replace", examples=("neurowall lists replace ipsum ipsum-today.txt",), changes=True)
def lists_replace(
    call: Call,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The list to replace.", autocompletion=complete_changeable_lists),
    ],
    file: ListFile,
    skip_invalid: SkipInvalid = False,
) -> None:
    """Replace a list's entries; sources in both the old and the new one stay listed throughout."""
    _put(call, name, file, skip_invalid=skip_invalid, create=False)


@command(
    lists_app,
    "set",
    examples=(
        "neurowall lists set new-feed --enforce",
        "neurowall lists set new-feed --monitor",
    ),
    changes=True,
)
def lists_set(
    call: Call,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The list to change.", autocompletion=complete_changeable_lists),
    ],
    monitor: Annotated[
        bool | None,
        typer.Option(
            "--monitor/--enforce", help="Only count what it matches, or decide by it.", show_default=False
        ),
    ] = None,
) -> None:
    """Make a list decide, or only count.

    A monitor list counts the packets that it matches and decides nothing: so a list can be tried before it is
    enforced.
    """
    if monitor is None:
        raise UsageProblem("nothing to set: add --monitor or --enforce")
    with call.client() as client, working(f"changing list {name}"):
        answer = client.patch("lists", name, json={"monitor": monitor})
    call.show(answer, render.change)


@command(lists_app, "remove", examples=("neurowall lists remove ipsum",), changes=True)
def lists_remove(
    call: Call,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The list to remove.", autocompletion=complete_changeable_lists),
    ],
) -> None:
    """Remove a list; its entries stay listed where another list holds them."""
    with call.client() as client, working(f"removing list {name}"):
        answer = client.delete("lists", name)
    call.show(answer, render.change)


def _put(call: Call, name: str, file: str, **query: str | bool) -> None:
    content = read_input(file, "list")
    with call.client() as client, working(f"applying list {name} ({len(content) / 1e6:.1f} MB)"):
        answer = client.put("lists", name, content=content, **query)
    call.show(answer, render.change)


def _name_of(file: str) -> str:
    """The list name that a file's name suggests: `/tmp/IPsum 3.txt` is `ipsum-3`."""
    if file == "-":
        raise UsageProblem("a list from standard input needs a name: add --name NAME")
    name = re.sub(r"[^a-z0-9]+", "-", Path(file).stem.lower()).strip("-")[:40].strip("-")
    if not name:
        raise UsageProblem(f"no list name can be made from {file!r}: add --name NAME")
    return name
