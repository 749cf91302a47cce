# SPDX-License-Identifier: Apache-2.0
"""The API's answers drawn for people. Each function takes a console and the JSON as it came."""

from typing import TYPE_CHECKING, Any

from neurowall.management.cli import render_policy
from neurowall.management.cli.drawing import count, say, table, volume
from neurowall.management.times import duration, in_words

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
DRY = "dry run, nothing was changed"
SHOWN_ADDRESSES = 20  # of a change; the rest is counted


def status(console: "Console", answer: Json) -> None:
    """The whole picture: instance, interfaces, lists, capacity, packets."""
    uptime = duration(answer["uptime_seconds"])
    say(
        console,
        f"instance {answer['instance']}: {answer['state']}, generation {answer['generation']}, ",
        end="",
    )
    say(console, f"up {uptime}, engine {answer['engine']}, neurowall {answer['version']}")
    for problem in answer["problems"]:
        say(console, f"problem: {problem}", style="bold red")
    for warning in answer["warnings"]:
        say(console, f"warning: {warning}", style="yellow")
    render_policy.policy_status(console, answer)
    table(
        console,
        ("Interface", "Zone", "Mode", "Attached", "Why this mode", "Problem"),
        (
            (each["name"], each["zone"], each["mode"], yes(each["attached"]), each["why"], each["problem"])
            for each in answer["interfaces"]
        ),
    )
    lists(console, answer)
    _timed(console, answer["timed"])
    table(
        console,
        ("Kernel table", ">Entries", ">Capacity", ">Used", "Growth"),
        (
            (each["table"], count(each["entries"]), count(each["capacity"]), share(**each), growth(**each))
            for each in answer["tables"]
        ),
    )
    packets = [each for each in answer["packets"] if each["packets"]]
    table(
        console,
        ("Reason", "Verdict", ">Packets", ">Volume"),
        (
            (each["reason"], each["verdict"], count(each["packets"]), volume(each["bytes"]))
            for each in packets
        ),
    )
    if not packets:
        say(console, "no packet seen yet")


def health(console: "Console", answer: Json) -> None:
    """Whether all is well."""
    say(console, answer.get("state") or f"ready, generation {answer['generation']}")
    for problem in answer.get("problems", ()):
        say(console, f"problem: {problem}", style="bold red")


def _timed(console: "Console", timed: Json) -> None:
    """One line on the entries that end by themselves, if there are any."""
    if not timed["block"] and not timed["allow"]:
        return
    text = f"timed entries: {count(timed['block'])} block, {count(timed['allow'])} allow"
    if timed["next"]["expires"]:
        text += f"; the next one lasts another {in_words(timed['next'])}"
    say(console, f"{text}\n")


def lists(console: "Console", answer: Json) -> None:
    """Every list with its size, what it decided, and what it matched whoever decided."""
    table(
        console,
        ("List", "Verdict", ">IPv4", ">IPv6", ">Decided", ">Volume", ">Matched", "Origin"),
        (
            (
                each["name"],
                does(each),
                count(each["entries"]["4"]),
                count(each["entries"]["6"]),
                count(each["packets"]),
                volume(each["bytes"]),
                count(each["matched_packets"]),
                each["origin"],
            )
            for each in answer["lists"]
        ),
    )


def entries(console: "Console", answer: Json) -> None:
    """One list's entries, one a line, the rest in comments: the output is itself a list."""
    size = answer["entries"]
    say(
        console,
        f"# list {answer['name']}: {does(answer)}, {count(size['4'])} IPv4, {count(size['6'])} IPv6, "
        f"origin {answer['origin']}",
    )
    ends = {each["entry"]: in_words(each) for each in answer["timed"]}
    for entry in answer["items"]:
        say(console, f"{entry}  # {ends[entry]}" if entry in ends else entry)
    if answer["next"]:
        say(console, f"# more follow: --after {answer['next']}")


def change(console: "Console", answer: Json) -> None:
    """What an apply did."""
    sizes = [f"{count(answer[what])} {what}" for what in ("added", "removed", "unchanged")]
    if answer["extended"]:
        sizes.insert(1, f"{count(answer['extended'])} extended")
    what = DRY if answer["dry_run"] else f"generation {answer['generation']}"
    say(console, f"{what}: {', '.join(sizes)}, in {answer['seconds']:.3f} s")
    for each in answer["addresses"][:SHOWN_ADDRESSES]:
        say(console, f"{each['address']}: {outcome(**each)}")
    if len(answer["addresses"]) > SHOWN_ADDRESSES:
        say(console, f"... and {count(len(answer['addresses']) - SHOWN_ADDRESSES)} more")
    for note in answer["notes"]:
        say(console, f"note: {note}", style="yellow")


def hint(console: "Console", text: str) -> None:
    """What to do next, where that is not obvious."""
    say(console, f"hint: {text}", style="cyan")


def explanation(console: "Console", answer: Json) -> None:
    """The verdict and the steps that lead to it."""
    say(console, f"{answer['address']}: {answer['verdict']}", style="bold")
    for number, step in enumerate(answer["steps"], 1):
        say(console, f"  {number}. {step}")


def reloaded(console: "Console", answer: Json) -> None:
    """The program's replacement."""
    if answer["dry_run"]:
        say(console, f"{DRY}: the program would be replaced on")
    for each in answer["interfaces"]:
        say(console, f"{each['name']}: {each['mode']}, {'attached' if each['attached'] else each['problem']}")


def prepared(console: "Console", answer: Json) -> None:
    """What `prepare` did."""
    for each in answer["done"]:
        say(console, each)
    if not answer["done"]:
        say(console, f"instance {answer['instance']} is prepared for {answer['user']} already")


def taken_down(console: "Console", answer: Json) -> None:
    """What `down` did."""
    for each in answer["done"]:
        say(console, each)
    if not answer["done"]:
        say(console, f"nothing was up for instance {answer['instance']}")


def does(info: Json) -> str:
    """What a list does to its sources: `block`, or `block, monitor` if it only counts them."""
    return f"{info['verdict']}, monitor" if info["monitor"] else str(info["verdict"])


def outcome(outcome: str, **rest: Any) -> str:
    """What became of one address: `added, for 1 h, until 2026-11-22 18:02:35 UTC`."""
    if not rest["expires"]:
        return outcome
    return f"{outcome}, {'it had another' if outcome == 'removed' else 'for'} {in_words(rest)}"


def growth(grown_from: int | None, **_rest: object) -> str:
    """What a table was made for, if it has outgrown that."""
    return f"grown from {count(grown_from)}" if grown_from else ""


def share(entries: int, capacity: int, **_rest: object) -> str:
    """Entries of capacity in percent."""
    return f"{100 * entries / capacity:.0f} %" if capacity else "-"


def yes(value: bool) -> str:
    """A truth value as a word."""
    return "yes" if value else "no"
