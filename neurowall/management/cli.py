# SPDX-License-Identifier: Apache-2.0
"""The command `neurowall`: every command's options and help; what they do is in the other modules.

Nothing heavy is imported at the top: `neurowall --help` must answer at once.
"""

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neurowall.management import render
from neurowall.management.cli_options import (
    Call,
    InstanceOption,
    OutputOption,
    RunDirOption,
    Shared,
    command,
    working,
)
from neurowall.management.errors import UsageProblem
from neurowall.management.instance import DEFAULT_STATE_DIR

app = typer.Typer(
    help="Neurowall, a layered gateway firewall: run it, see it, and change what it blocks.",
    epilog="Exit codes: 0 ok, 1 refused or failed, 2 wrong usage or input, 3 no daemon answers, 4 cannot run "
    "here.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
lists_app = typer.Typer(
    help="Show, load, replace and remove address lists.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(lists_app, name="lists")


class Verdict(StrEnum):
    """What a list does to the sources it holds."""

    BLOCK = "block"
    ALLOW = "allow"


Addresses = Annotated[
    list[str],
    typer.Argument(metavar="ADDRESS...", help="IPv4 or IPv6 addresses or prefixes.", show_default=False),
]
ListFile = Annotated[str, typer.Argument(metavar="FILE", help="One entry a line; - reads standard input.")]
SkipInvalid = Annotated[
    bool,
    typer.Option(
        "--skip-invalid", help="Leave out lines that are not addresses instead of refusing the list."
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"neurowall {version('neurowall')}")
        raise typer.Exit


@app.callback()
def _shared(
    context: typer.Context,
    instance: InstanceOption = None,
    run_dir: RunDirOption = None,
    output: OutputOption = None,
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.obj = Shared(instance, run_dir, output)


@command(
    app,
    examples=(
        "neurowall run --config policy.yaml",
        "neurowall run --config lab.yaml --netns gateway --instance lab --metrics-listen 127.0.0.1:9469",
    ),
)
def run(
    call: Call,
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="The policy.", show_default=False)
    ],
    netns: Annotated[
        str | None,
        typer.Option("--netns", metavar="NAME", help="Guard the interfaces of this network namespace."),
    ] = None,
    state_dir: Annotated[
        Path, typer.Option("--state-dir", metavar="DIR", help="Where the intended state is kept.")
    ] = DEFAULT_STATE_DIR,
    metrics_listen: Annotated[
        str | None,
        typer.Option("--metrics-listen", metavar="ADDRESS:PORT", help="Serve /metrics on loopback too."),
    ] = None,
    allow_missing_interfaces: Annotated[
        bool,
        typer.Option("--allow-missing-interfaces", help="Start degraded if an interface does not exist yet."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request and step.")] = False,
) -> None:
    """Run the daemon in the foreground.

    It logs to standard error. SIGTERM and SIGINT end it while enforcement goes on in the kernel (`neurowall
    down` ends that too); SIGHUP makes it read the policy again.
    """
    from neurowall.management.daemon import Options, serve

    serve(
        Options(
            instance=call.instance,
            config=config,
            state_dir=state_dir,
            netns=netns,
            metrics_listen=metrics_listen,
            allow_missing_interfaces=allow_missing_interfaces,
            verbose=verbose,
        )
    )


@command(
    app,
    examples=(
        "neurowall status",
        "neurowall status -o json | jq .generation",
    ),
)
def status(call: Call) -> None:
    """Show what is enforced: interfaces, lists, and packets by reason."""
    with call.client() as client:
        call.show(client.get("status"), render.status)


def _post(call: Call, verb: str, addresses: list[str]) -> None:
    with call.client() as client, working(verb):
        answer = client.post(verb, json={"addresses": addresses})
    call.show(answer, render.change)


@command(
    app,
    examples=(
        "neurowall block 203.0.113.7",
        "neurowall block 198.51.100.0/24 2001:db8:bad::/48",
    ),
)
def block(call: Call, addresses: Addresses) -> None:
    """Block sources now.

    Adds them to the list operator-block.
    """
    _post(call, "block", addresses)


@command(app, examples=("neurowall allow 192.0.2.10",))
def allow(call: Call, addresses: Addresses) -> None:
    """Let sources pass, whatever block list holds them.

    Adds them to the list operator-allow.
    """
    _post(call, "allow", addresses)


@command(app, examples=("neurowall unblock 203.0.113.7",))
def unblock(call: Call, addresses: Addresses) -> None:
    """Take back `block`.

    Removes sources from the list operator-block. Says so if another list still blocks them.
    """
    _post(call, "unblock", addresses)


@command(app, examples=("neurowall unallow 192.0.2.10",))
def unallow(call: Call, addresses: Addresses) -> None:
    """Take back `allow`.

    Removes sources from the list operator-allow.
    """
    _post(call, "unallow", addresses)


@command(
    app,
    examples=(
        "neurowall explain 203.0.113.7",
        "neurowall explain 2001:db8::1 -o yaml",
    ),
)
def explain(
    call: Call, address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A source address.")]
) -> None:
    """Say what a source's packets get, and why.

    Names the lists that hold it, the entry of each, and what the kernel holds now.
    """
    with call.client() as client:
        call.show(client.get("explain", address), render.explanation)


@command(app)
def reload(call: Call) -> None:
    """Replace the program in the kernel by the one now installed.

    No packet passes unfiltered meanwhile. To read the policy again, send the daemon SIGHUP.
    """
    with call.client() as client, working("replacing the program"):
        answer = client.post("reload")
    call.show(answer, render.reloaded)


@command(app, examples=("neurowall down --instance lab",))
def down(call: Call) -> None:
    """End enforcement and remove what enforced it.

    Stops the daemon, detaches, and removes what Neurowall made for this instance. The intended state on disk
    stays: the next `neurowall run` enforces it again.
    """
    from neurowall.management.down import take_down

    call.show(take_down(call.instance), render.taken_down)


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
        str | None, typer.Argument(metavar="[NAME]", help="Show this list's entries.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Entries shown at most.")] = 100,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="ENTRY", help="Go on after this entry.", show_default=False),
    ] = None,
) -> None:
    """Show all lists, or the entries of one."""
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
        "fetch-feed | neurowall lists load - --name feed --skip-invalid",
    ),
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
    skip_invalid: SkipInvalid = False,
) -> None:
    """Load a new list. It is enforced when the command returns, and again after a restart.

    One address or prefix a line; what follows it on the line, and lines of # or ; are comments.
    A list with a line that is not an address is refused as a whole, unless --skip-invalid.
    """
    _put(call, name or _name_of(file), file, verdict=verdict.value, skip_invalid=skip_invalid, create=True)


@command(lists_app, "replace", examples=("neurowall lists replace ipsum ipsum-today.txt",))
def lists_replace(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The list to replace.")],
    file: ListFile,
    skip_invalid: SkipInvalid = False,
) -> None:
    """Replace a list's entries; sources in both the old and the new one stay listed throughout."""
    _put(call, name, file, skip_invalid=skip_invalid, create=False)


@command(lists_app, "remove", examples=("neurowall lists remove ipsum",))
def lists_remove(
    call: Call, name: Annotated[str, typer.Argument(metavar="NAME", help="The list to remove.")]
) -> None:
    """Remove a list; its entries stay listed where another list holds them."""
    with call.client() as client, working(f"removing list {name}"):
        answer = client.delete("lists", name)
    call.show(answer, render.change)


def _put(call: Call, name: str, file: str, **query: str | bool) -> None:
    content = _read(file)
    with call.client() as client, working(f"applying list {name} ({len(content) / 1e6:.1f} MB)"):
        answer = client.put("lists", name, content=content, **query)
    call.show(answer, render.change)


def _read(file: str) -> bytes:
    """The bytes of *file*, or of standard input for `-`."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageProblem(f"cannot read list {file}: {error.strerror}") from error


def _name_of(file: str) -> str:
    """The list name that a file's name suggests: `/tmp/IPsum 3.txt` is `ipsum-3`."""
    if file == "-":
        raise UsageProblem("a list from standard input needs a name: add --name NAME")
    name = re.sub(r"[^a-z0-9]+", "-", Path(file).stem.lower()).strip("-")[:40].strip("-")
    if not name:
        raise UsageProblem(f"no list name can be made from {file!r}: add --name NAME")
    return name


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
