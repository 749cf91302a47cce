# SPDX-License-Identifier: Apache-2.0
"""The API's answers drawn for people. Each function takes a console and the JSON as it came."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
Cell = object

_BYTE_STEPS = ("B", "kB", "MB", "GB", "TB", "PB")


def status(console: "Console", answer: Json) -> None:
    """The whole picture: instance, interfaces, lists, capacity, packets."""
    uptime = duration(answer["uptime_seconds"])
    _say(
        console,
        f"instance {answer['instance']}: {answer['state']}, generation {answer['generation']}, ",
        end="",
    )
    _say(console, f"up {uptime}, engine {answer['engine']}, neurowall {answer['version']}")
    for problem in answer["problems"]:
        _say(console, f"problem: {problem}", style="bold red")
    for warning in answer["warnings"]:
        _say(console, f"warning: {warning}", style="yellow")
    _table(
        console,
        ("Interface", "Zone", "Mode", "Attached", "Why this mode", "Problem"),
        (
            (each["name"], each["zone"], each["mode"], yes(each["attached"]), each["why"], each["problem"])
            for each in answer["interfaces"]
        ),
    )
    lists(console, answer)
    _table(
        console,
        ("Kernel table", ">Entries", ">Capacity", ">Used"),
        (
            (each["table"], count(each["entries"]), count(each["capacity"]), share(**each))
            for each in answer["tables"]
        ),
    )
    packets = [each for each in answer["packets"] if each["packets"]]
    _table(
        console,
        ("Reason", "Verdict", ">Packets", ">Volume"),
        (
            (each["reason"], each["verdict"], count(each["packets"]), volume(each["bytes"]))
            for each in packets
        ),
    )
    if not packets:
        _say(console, "no packet seen yet")


def lists(console: "Console", answer: Json) -> None:
    """Every list with its size and what it stopped or let pass."""
    _table(
        console,
        ("List", "Verdict", ">IPv4", ">IPv6", ">Packets", ">Volume", "Origin"),
        (
            (
                each["name"],
                each["verdict"],
                count(each["entries"]["4"]),
                count(each["entries"]["6"]),
                count(each["packets"]),
                volume(each["bytes"]),
                each["origin"],
            )
            for each in answer["lists"]
        ),
    )


def entries(console: "Console", answer: Json) -> None:
    """One list's entries, one a line, under a comment: the output is itself a list."""
    size = answer["entries"]
    _say(
        console,
        f"# list {answer['name']}: {answer['verdict']}, {count(size['4'])} IPv4, {count(size['6'])} IPv6, "
        f"origin {answer['origin']}",
    )
    for entry in answer["items"]:
        _say(console, entry)
    if answer["next"]:
        _say(console, f"# more follow: --after {answer['next']}")


def change(console: "Console", answer: Json) -> None:
    """What an apply did."""
    sizes = ", ".join(f"{count(answer[what])} {what}" for what in ("added", "removed", "unchanged"))
    _say(console, f"generation {answer['generation']}: {sizes}, in {answer['seconds']:.3f} s")
    for note in answer["notes"]:
        _say(console, f"note: {note}", style="yellow")


def explanation(console: "Console", answer: Json) -> None:
    """The verdict and the steps that lead to it."""
    _say(console, f"{answer['address']}: {answer['verdict']}", style="bold")
    for number, step in enumerate(answer["steps"], 1):
        _say(console, f"  {number}. {step}")


def reloaded(console: "Console", answer: Json) -> None:
    """The program's replacement."""
    for each in answer["interfaces"]:
        _say(
            console, f"{each['name']}: {each['mode']}, {'attached' if each['attached'] else each['problem']}"
        )


def taken_down(console: "Console", answer: Json) -> None:
    """What `down` did."""
    for each in answer["done"]:
        _say(console, each)
    if not answer["done"]:
        _say(console, f"nothing was up for instance {answer['instance']}")


def count(number: int) -> str:
    """1234567 as `1,234,567`."""
    return f"{number:,}"


def volume(size: int) -> str:
    """Bytes with a decimal unit: 1234567 as `1.23 MB`."""
    value, unit = float(size), _BYTE_STEPS[0]
    for unit in _BYTE_STEPS:
        if value < 1000 or unit == _BYTE_STEPS[-1]:
            break
        value /= 1000
    return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """93784 as `1 d 2 h 3 min`; below a minute in seconds."""
    whole = int(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or f"{whole} s"


def share(entries: int, capacity: int, **_rest: object) -> str:
    """Entries of capacity in percent."""
    return f"{100 * entries / capacity:.0f} %" if capacity else "-"


def yes(value: bool) -> str:  # noqa: FBT001 - a cell of a table
    """A truth value as a word."""
    return "yes" if value else "no"


def _say(console: "Console", text: str, **style: Any) -> None:
    """Print a line of text whole: the terminal wraps it, so that it can be copied and piped."""
    console.print(text, soft_wrap=True, **style)


def _table(console: "Console", columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Draw rows under headings; a heading that begins with > is a number's, aligned right.

    A column without any content is left out, and so is a table without rows.
    """
    from rich import box
    from rich.table import Table

    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    used = [index for index in range(len(columns)) if any(row[index] for row in cells)]
    if not cells:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index in used:
        numeric = columns[index].startswith(">")
        table.add_column(columns[index].lstrip(">"), justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(row[index] for index in used))
    console.print(table)
    console.print()
