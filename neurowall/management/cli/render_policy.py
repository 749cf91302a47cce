# SPDX-License-Identifier: Apache-2.0
"""Policies, generations and rules drawn for people."""

from typing import TYPE_CHECKING, Any

from neurowall.management.cli.drawing import count, say, table, volume
from neurowall.management.times import duration

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]

_NOUNS = {
    "interfaces": ("interface",),
    "lists": ("list",),
    "list_entries": ("list entry", "list entries"),
    "rules": ("rule",),
    "port_forwards": ("port forward",),
}
SHOWN = 40  # differences of an apply
_STYLES = {"+": "green", "-": "red", "~": "yellow"}


def change(console: "Console", answer: Json, *, confirm: str = "neurowall confirm") -> None:
    """What an apply or a rollback did: its differences, then one line, then what is to be done.

    Of a dry run every difference, for that is what it is for. confirm: the command that confirms.
    """
    differences = answer["differences"]
    shown = len(differences) if answer["dry_run"] else SHOWN
    for each in differences[:shown]:
        name = f" {each['name']}" if each["name"] else ""
        say(console, f"{each['sign']} {each['part']}{name}: {each['text']}", style=_STYLES[each["sign"]])
    if len(differences) > shown:
        say(console, f"... and {count(len(differences) - shown)} more, which -o json has all of")
    say(console, _summary(answer), style="bold")
    for warning in answer["warnings"]:
        say(console, f"warning: {warning}", style="yellow")
    if waits := answer["pending"]:
        back = f"generation {waits['revert_to']} comes back in {duration(waits['seconds'])}"
        say(console, f"{back} unless you confirm: {confirm}", style="bold yellow")


def _summary(answer: Json) -> str:
    entries = f"list entries {count(answer['added'])} added, {count(answer['removed'])} removed"
    what = f"{_many(len(answer['differences']), 'difference')}, {entries}, "
    what += f"{_many(answer['objects'], 'nftables object')}, in {answer['seconds']:.3f} s"
    if answer["dry_run"]:
        return f"dry run, nothing was changed: {what}"
    return f"generation {answer['generation']}: {what}"


def _many(number: int, one: str, several: str | None = None) -> str:
    return f"{count(number)} {one if number == 1 else several or one + 's'}"


def confirmed(console: "Console", answer: Json) -> None:
    """What is kept."""
    stays = (
        "would be confirmed: dry run, nothing was changed" if answer["dry_run"] else "is confirmed and stays"
    )
    say(console, f"generation {answer['generation']} {stays}")


def generations(console: "Console", answer: Json) -> None:
    """Every generation that is kept."""
    table(
        console,
        ("", ">Generation", "When (UTC)", "By", ">Rules", ">Lists", "File", "Note"),
        (
            (
                "*" if each["generation"] == answer["in_force"] else "",
                each["generation"],
                each["when"].replace("T", " ").removesuffix("Z"),
                each["source"],
                count(each["rules"]),
                count(each["lists"]),
                each["file"],
                each["note"],
            )
            for each in answer["generations"]
        ),
    )
    say(console, "* in force" if answer["generations"] else "no policy was in force yet")


def generation(console: "Console", answer: Json) -> None:
    """The policy file of a generation, byte for byte: it may go straight into a file."""
    console.out(answer["text"], highlight=False, end="")


def rules(console: "Console", answer: Json) -> None:
    """Every rule with what it matched."""
    table(
        console,
        ("Rule", "Kind", ">Packets", ">Volume", "What"),
        (
            (
                each["name"],
                each["kind"],
                "-" if each["packets"] is None else count(each["packets"]),
                "-" if each["bytes"] is None else volume(each["bytes"]),
                each["text"],
            )
            for each in answer["rules"]
        ),
    )
    if not answer["filters"]:
        say(console, "nftables filters nothing: the policy has neither rules nor defaults")


def nat(console: "Console", answer: Json) -> None:
    """Every translation with what it matched."""
    table(
        console,
        ("Translation", "Kind", ">Packets", ">Volume", "What"),
        (
            (
                each["name"],
                each["kind"],
                "-" if each["packets"] is None else count(each["packets"]),
                "-" if each["bytes"] is None else volume(each["bytes"]),
                each["text"],
            )
            for each in answer["nat"]
        ),
    )
    if not answer["nat"]:
        say(console, "the policy translates no address")


def validated(console: "Console", answer: Json) -> None:
    """What a valid policy holds, its warnings, and the table where it was asked for."""
    if answer["table"] is not None:
        console.out(answer["table"].rstrip("\n"), highlight=False)
        return
    sizes = [_many(number, *_NOUNS[what]) for what, number in answer["counts"].items()]
    say(console, f"{answer['file']}: valid: {', '.join(sizes)}")
    for warning in answer["warnings"]:
        say(console, f"warning: {warning}", style="yellow")


def policy_status(console: "Console", answer: Json) -> None:
    """The policy and the stateful layer in `neurowall status`."""
    if policy := answer.get("policy"):
        note = f" ({policy['note']})" if policy["note"] else ""
        text = f"policy of generation {policy['generation']}: {policy['file']}{note}"
        say(console, f"{text}, {_stateful(answer['stateful'])}")
    if waits := answer.get("pending"):
        back = f"generation {waits['revert_to']} comes back in {duration(waits['seconds'])}"
        say(console, f"{back} unless you confirm", style="bold yellow")


def _stateful(now: Json) -> str:
    if not now["table"]:
        return "no nftables table"
    filters = now["rules"] is not None
    parts = [_many(now["rules"], "stateful rule") if filters else "nftables filters no connections"]
    if now["fallback"]:
        parts.append(f"the lists of {', '.join(now['fallback'])} in nftables")
    if now["drift_repairs"]:
        parts.append(f"table put right {_many(now['drift_repairs'], 'time')}")
    return ", ".join(parts)


_STATES = {"ok": "green", "note": "cyan", "warning": "yellow", "missing": "bold red"}


def doctor(console: "Console", answer: Json) -> None:
    """Every finding; below those that are not ok, what it costs and how to fix it."""
    for each in answer["findings"]:
        say(console, f"{each['state']:8}", style=_STATES[each["state"]], end="")
        say(console, f"{each['area']}: {each['found']}")
        if each["state"] != "ok":
            say(console, f"{'':8}  costs: {each['costs']}")
            say(console, f"{'':8}  fix: {each['fix']}")
    missing = answer["missing"]
    worst = f"{_many(missing, 'essential thing')} missing" if missing else "nothing essential is missing"
    say(console, worst, style="bold red" if missing else "bold")


def written(console: "Console", answer: Json) -> None:
    """A file that was written, and what to do next."""
    say(console, f"wrote {answer['file']}; read it, then:")
    for each in answer["next"]:
        say(console, f"  {each}")
