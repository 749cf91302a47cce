# SPDX-License-Identifier: Apache-2.0
"""The command `neurowall`: every command's options and help; what they do is in the other modules.

Nothing heavy is imported at the top: `neurowall --help` must answer at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurowall.management.cli import render
from neurowall.management.cli.doctor import doctor_app
from neurowall.management.cli.events import events_app
from neurowall.management.cli.lists import lists_app
from neurowall.management.cli.options import (
    Call,
    InstanceOption,
    OutputOption,
    RunDirOption,
    Shared,
    command,
    working,
)
from neurowall.management.cli.policy import generations_app, policy_app
from neurowall.management.instance import DEFAULT_STATE_DIR, DEFAULT_USER

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_SITES = 5  # in one hint

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
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="The policy. [default: the one that was in force]",
            show_default=False,
        ),
    ] = None,
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

    A policy that `neurowall apply` put in force stays, until the file is changed. It logs to standard error.
    SIGTERM and SIGINT end it while enforcement goes on in the kernel (`neurowall down` ends that too); SIGHUP
    makes it read the policy file again.
    """
    from neurowall.management.daemon.main import Options, serve

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
    """Show what is enforced: interfaces, lists, timed entries, how full the tables are, packets by reason."""
    with call.client() as client:
        call.show(client.get("status"), render.status)


@command(app, examples=("neurowall limits", "neurowall limits -o json | jq '.limits[].over'"))
def limits(call: Call) -> None:
    """Show the limits: how much each lets through, what was over, and whom they banned.

    What a limit with action monitor would have dropped is counted apart. `neurowall unblock` ends a ban.
    """
    from neurowall.management.api import answers_limits

    with call.client() as client:
        call.show(client.get("limits"), answers_limits.show)


@command(
    app,
    examples=(
        "neurowall flows",
        "neurowall flows --source 203.0.113.0/24 --protocol tcp",
        "neurowall flows --count -o json | jq .total",
    ),
)
def flows(
    call: Call,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="ADDRESS", help="Of this address or prefix.", show_default=False),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="tcp, udp, icmp or icmpv6.", show_default=False),
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Such as established.", show_default=False)
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="How many, not which.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Flows shown at most.")] = 100,
) -> None:
    """Show the flows that XDP knows, those that were seen last in front."""
    from neurowall.management.api import answers_flows

    wanted = {"source": source, "protocol": protocol, "state": state}
    with call.client() as client:
        answer = client.get("flows", limit=0 if count else limit, **wanted)
    call.show(answer, answers_flows.show_count if count else answers_flows.show)


def _post(call: Call, verb: str, addresses: list[str], ttl: str | None = None) -> dict[str, Any]:
    body = {"addresses": addresses} | ({"ttl": ttl} if ttl is not None else {})
    with call.client() as client, working(verb):
        return client.post(verb, json=body)


@command(
    app,
    examples=(
        "neurowall block 203.0.113.7",
        "neurowall block 203.0.113.7 --ttl 1h",
        "neurowall block 198.51.100.0/24 2001:db8:bad::/48",
        "neurowall block 2001:db8::7 --whole-64 --ttl 7d",
    ),
)
def block(
    call: Call,
    addresses: Addresses,
    ttl: Ttl = None,
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
    answer = _post(call, "block", wanted, ttl)

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


@command(app, examples=("neurowall allow 192.0.2.10", "neurowall allow 192.0.2.10 --ttl 8h"))
def allow(call: Call, addresses: Addresses, ttl: Ttl = None) -> None:
    """Let sources pass, whatever block list holds them, for good or for a time.

    Adds them to the list operator-allow, or with --ttl to operator-allow-timed. The kernel ends a timed allow
    by itself too.
    """
    call.show(_post(call, "allow", addresses, ttl), render.change)


@command(app, examples=("neurowall unblock 203.0.113.7",))
def unblock(call: Call, addresses: Addresses) -> None:
    """Take back `block`.

    Removes sources from the lists operator-block and operator-block-timed, ends bans by limits, and says what
    was removed. Says so if another list still blocks them.
    """
    call.show(_post(call, "unblock", addresses), render.change)


@command(app, examples=("neurowall unallow 192.0.2.10",))
def unallow(call: Call, addresses: Addresses) -> None:
    """Take back `allow`.

    Removes sources from the lists operator-allow and operator-allow-timed, and says what was removed.
    """
    call.show(_post(call, "unallow", addresses), render.change)


@command(
    app,
    examples=(
        "neurowall explain 203.0.113.7",
        "neurowall explain 2001:db8::1 -o yaml",
        "neurowall explain 'tcp 203.0.113.7:4711 -> 192.0.2.10:443 via wan0'",
    ),
)
def explain(
    call: Call,
    what: Annotated[
        str, typer.Argument(metavar="ADDRESS|PACKET", help="A source address, or a packet in quotes.")
    ],
) -> None:
    """Say what a source's packets get, or what becomes of one packet, and why.

    Of an address: the lists that hold it, the entry of each, which of them only count it, when that ends, and
    what the kernel holds now. Of a packet: every step from its arrival to its verdict, with the list, rule or
    default that decides; and what the program of its interface says of it now, limits, bans and flows
    included. Its ports, `via` and `to` may be left out where they do not matter. `state`, `hop-limit`, `size`
    and, of TCP, `flags syn,ack`, `sequence` and `acknowledgement` may follow.
    """
    with call.client() as client:
        if " " not in what.strip():
            call.show(client.get("explain", what), render.explanation)
            return
        from neurowall.management.cli import render_packet

        call.show(client.get("explain-packet", packet=what), render_packet.packet)


@command(app)
def reload(call: Call) -> None:
    """Replace the program in the kernel by the one now installed.

    No packet passes unfiltered meanwhile. To read the policy again, send the daemon SIGHUP.
    """
    with call.client() as client, working("replacing the program"):
        answer = client.post("reload")
    call.show(answer, render.reloaded)


@command(app, examples=("sudo neurowall prepare", "sudo neurowall prepare --instance lab --user gateway"))
def prepare(
    call: Call,
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Whose daemon it will be.")
    ] = DEFAULT_USER,
    state_dir: Annotated[
        Path, typer.Option("--state-dir", metavar="DIR", help="Where the intended state is kept.")
    ] = DEFAULT_STATE_DIR,
) -> None:
    """As root, make what a daemon of another user needs: its bpffs and its directories.

    That user then runs `neurowall run` with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON and nothing more, as the
    unit neurowall@.service does. Files of an earlier daemon are given to that user. Undo: `neurowall down`.
    """
    from neurowall.management.daemon.prepare import prepare as make

    call.show(make(call.instance, state_dir, user), render.prepared)


@command(app, examples=("neurowall down --instance lab",))
def down(call: Call) -> None:
    """End enforcement and remove what enforced it.

    Stops the daemon, detaches, and removes what Neurowall made for this instance. The intended state on disk
    stays: the next `neurowall run` enforces it again.
    """
    from neurowall.management.daemon.down import take_down

    call.show(take_down(call.instance), render.taken_down)


app.add_typer(lists_app, name="lists")
app.add_typer(policy_app)
app.add_typer(generations_app, name="generations")
app.add_typer(doctor_app)
app.add_typer(events_app)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
