# SPDX-License-Identifier: Apache-2.0
"""Text lists of addresses and prefixes, one entry a line: what feeds publish and operators keep.

The first token of a line counts; blanks, tabs and commas separate. `#` and `;` begin a comment. Whatever is
not understood is a problem with its line number, never skipped in silence. That holds for a second address
in a line too: such a file has ranges ("first,last"), and reading half of one would be wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neurowall.model.address import Entry, InvalidEntry, parse_entry
from neurowall.model.entries import DTYPE, Array, Entries, EntrySet
from neurowall.model.errors import TEXT_LIMIT, Problem
from neurowall.model.listscan import MAX_LINE, Lines, scan

MAX_LIST = 64 << 20  # bytes; a list of a million entries has about 15 MB

_UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ParsedList:
    """What a text holds.

    problems is ordered by line. duplicates counts lines that repeat an earlier entry. host_bits has the
    numbers of the lines whose host bits were cleared.
    """

    entries: EntrySet
    problems: tuple[Problem, ...]
    duplicates: int
    host_bits: tuple[int, ...]


def parse_list(text: str | bytes) -> ParsedList:
    """Read a whole list. Never raises for what the text holds: that is in `problems`."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    lines = scan(data.removeprefix(_UTF8_BOM))
    rest = _Rest(lines)
    for index in lines.unread.tolist():
        rest.read(index)
    v4 = Entries.make(4, *_columns(4, rest.entries, lines.address4, lines.length4))
    v6 = Entries.make(6, *_columns(6, rest.entries, lines.address6, lines.length6))
    read = len(lines.address4) + len(lines.address6) + len(rest.entries)
    return ParsedList(
        entries=EntrySet(v4, v6),
        problems=tuple(rest.problems),
        duplicates=read - len(v4) - len(v6),
        host_bits=tuple(sorted([*lines.host_bits.tolist(), *rest.host_bits])),
    )


def _columns(family: int, entries: list[Entry], address: Array, length: Array) -> tuple[Array, Array]:
    """Addresses and lengths of the entries of one family, after those given."""
    chosen = [entry for entry in entries if entry.family == family]
    value: Callable[[Entry], int | bytes] = (lambda e: e.value) if family == 4 else (lambda e: e.packed)
    more_addresses = np.array([value(entry) for entry in chosen], dtype=DTYPE[family])
    more_lengths = np.array([entry.length for entry in chosen], dtype=np.uint8)
    return np.concatenate((address, more_addresses)), np.concatenate((length, more_lengths))


class _Rest:
    """The lines that the scan left: everything that is odd or wrong."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.entries: list[Entry] = []
        self.problems: list[Problem] = []
        self.host_bits: list[int] = []

    def read(self, index: int) -> None:
        """Read line *index* (from 0) as an entry, a problem or nothing."""
        raw = self._lines.raw(index, MAX_LINE + 2)
        content = raw.removesuffix(b"\n").removesuffix(b"\r")
        if len(content) > MAX_LINE:
            self._refuse(index, content, f"the line is longer than {MAX_LINE} bytes")
            return
        words = _words(content)
        if not words:
            return
        try:
            entry = parse_entry(words[0])
            _check_others(content, words)
        except InvalidEntry as error:
            self._refuse(index, content, str(error))
            return
        self.entries.append(entry)
        if entry.host_bits:
            self.host_bits.append(index + 1)

    def _refuse(self, index: int, content: bytes, why: str) -> None:
        shown = content[: 4 * TEXT_LIMIT].decode("utf-8", "backslashreplace").strip()
        printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
        if len(printable) > TEXT_LIMIT:
            printable = printable[: TEXT_LIMIT - 3] + "..."
        self.problems.append(Problem(index + 1, printable, why))


def _words(content: bytes) -> list[str]:
    """The tokens before any comment."""
    entry = content.partition(b"#")[0].partition(b";")[0]
    text = entry.decode("utf-8", "surrogateescape")
    return [word for word in text.replace(",", " ").replace("\t", " ").split(" ") if word]


def _check_others(content: bytes, words: list[str]) -> None:
    """Refuse a line whose other words make it something else than one entry."""
    if b"\r" in content:
        raise InvalidEntry("a carriage return inside the line: use LF or CRLF line ends")
    for word in words[1:]:
        if word == "-":
            raise InvalidEntry("a range: write it as prefixes")
        try:
            parse_entry(word.lstrip("-"))
        except InvalidEntry:
            continue
        raise InvalidEntry("two addresses in one line: write one entry a line, ranges as prefixes")
