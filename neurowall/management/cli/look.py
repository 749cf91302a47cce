# SPDX-License-Identifier: Apache-2.0
"""The commands that ask and change nothing: status, limits, flows, rules, nat, explain."""

from typing import Annotated

import typer

from neurowall.management.cli import render, render_policy
from neurowall.management.cli.options import Call, command
from neurowall.management.errors import ExitCode

look_app = typer.Typer(rich_markup_mode=None)


@command(
    look_app,
    examples=(
        "neurowall status",
        "neurowall status -o json | jq .generation",
    ),
)
def status(call: Call) -> None:
    """Show what is enforced: interfaces, lists, timed entries, how full the tables are, packets by reason."""
    with call.client() as client:
        call.show(client.get("status"), render.status)


@command(look_app, examples=("neurowall health", "neurowall health --ready || page-somebody"))
def health(
    call: Call,
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask as a load balancer does: is every packet filtered?")
    ] = False,
) -> None:
    """Say whether all is well, for monitoring. Exit code 1 if something is wrong."""
    with call.client() as client:
        answer = client.get("readiness" if ready else "health")
    call.show(answer, render.health)
    if answer.get("problems"):
        raise typer.Exit(ExitCode.FAILED)


@command(look_app, examples=("neurowall metrics | grep neurowall_packets",))
def metrics(call: Call) -> None:
    """Print what Prometheus would scrape, whatever --output says."""
    with call.client() as client:
        call.say(client.text("metrics"))


@command(look_app, examples=("neurowall limits", "neurowall limits -o json | jq '.limits[].over'"))
def limits(call: Call) -> None:
    """Show the limits: how much each lets through, what was over, and whom they banned.

    What a limit with action monitor would have dropped is counted apart. `neurowall unblock` ends a ban.
    """
    from neurowall.management.api import answers_limits

    with call.client() as client:
        call.show(client.get("limits"), answers_limits.show)


@command(
    look_app,
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


@command(look_app, examples=("neurowall rules", "neurowall rules -o json | jq '.rules[].packets'"))
def rules(call: Call) -> None:
    """Show every rule in its order with what it matched since it is in force.

    An apply keeps the counts of rules that stay. A packet of an established connection meets no rule: what
    counts is the first packet of each connection.
    """
    with call.client() as client:
        call.show(client.get("rules"), render_policy.rules)


@command(
    look_app,
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


@command(look_app, examples=("neurowall nat", "neurowall nat -o json | jq '.nat[].packets'"))
def nat(call: Call) -> None:
    """Show how addresses are translated: masquerade, SNAT, port forwards, 1:1, with what each matched."""
    with call.client() as client:
        call.show(client.get("nat"), render_policy.nat)
