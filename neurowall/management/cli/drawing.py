# SPDX-License-Identifier: Apache-2.0
"""Lines, tables and numbers in the terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from neurowall.model.shown import shown

if TYPE_CHECKING:
    from rich.console import Console

Cell = object

_BYTE_STEPS = ("B", "kB", "MB", "GB", "TB", "PB")
_RATE_STEPS = ("", "k", "M", "G", "T")


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


def rate(per_second: float, unit: str = "/s") -> str:
    """1234567.8 as `1.23 M/s`; what is small keeps its first digits: 0.25 as `0.25 /s`."""
    value, step = per_second, ""
    for step in _RATE_STEPS:
        if value < 999.5 or step == _RATE_STEPS[-1]:
            break
        value /= 1000
    return f"{value:.3g} {step}{unit}"


def moment(text: str | None) -> str:
    """An RFC 3339 moment of the API for people: `2026-11-22 18:02:35`; it is UTC, as the heading says."""
    return (text or "").replace("T", " ").removesuffix("Z").partition(".")[0]


def say(console: "Console", text: str, **style: Any) -> None:
    """Print a line of text whole: the terminal wraps it, so that it can be copied and piped.

    Line ends behind it stay; whatever else is not printable is written out.
    """
    line = text.rstrip("\n")
    console.print(shown(line) + text[len(line) :], soft_wrap=True, **style)


def table(console: "Console", columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Draw rows under headings; a heading that begins with > is a number's, aligned right.

    A column without any content is left out, and so is a table without rows.
    """
    from rich import box
    from rich.table import Table

    cells = [["" if cell is None else shown(str(cell)) for cell in row] for row in rows]
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
