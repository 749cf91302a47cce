# SPDX-License-Identifier: Apache-2.0
"""The vectorised reading of lists against parse_entry, one line at a time."""

import random
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neurowall.model.address import InvalidEntry, parse_entry
from neurowall.model.listfile import parse_list
from neurowall.model.listscan import scan


@dataclass
class Expected:
    """What a text is to be read as. why: the reason of each refused line by number."""

    entries: list[str] = field(default_factory=list)
    why: dict[int, str] = field(default_factory=dict)
    host_bits: list[int] = field(default_factory=list)

    def read(self, number: int, line: str) -> None:
        """Add one line, as the module's docstring defines it."""
        content = line.removesuffix("\r")
        words = content.partition("#")[0].partition(";")[0].replace(",", " ").replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words:
            return
        try:
            entry = parse_entry(words[0])
        except InvalidEntry as error:
            self.why[number] = str(error)
            return
        if "\r" in content:
            self.why[number] = "a carriage return inside the line: use LF or CRLF line ends"
        elif other := next((word for word in words[1:] if word == "-" or is_entry(word.lstrip("-"))), None):
            two = "two addresses in one line: write one entry a line, ranges as prefixes"
            self.why[number] = "a range: write it as prefixes" if other == "-" else two
        else:
            self.entries.append(str(entry))
            self.host_bits += [number] if entry.host_bits else []


def is_entry(text: str) -> bool:
    """Whether a word can be read as an address or prefix."""
    try:
        parse_entry(text)
    except InvalidEntry:
        return False
    return True


def check(lines: list[str]) -> None:
    """Read *lines* both ways and compare everything that is told about them."""
    expected = Expected()
    for number, line in enumerate(lines, 1):
        expected.read(number, line)
    parsed = parse_list("\n".join(lines))
    assert {problem.line: problem.why for problem in parsed.problems} == expected.why
    assert sorted(parsed.entries.to_strings()) == sorted(set(expected.entries))
    assert parsed.duplicates == len(expected.entries) - len(set(expected.entries))
    assert list(parsed.host_bits) == expected.host_bits


def spelled6(value: int, gap: slice, *, upper: bool, zeros: bool) -> str:
    """An IPv6 address with the groups of *gap* left out, whether they are zero or not."""
    groups = IPv6Address(value).exploded.split(":")
    groups = groups if zeros else [format(int(group, 16), "x") for group in groups]
    text = (
        ":".join(groups[: gap.start]) + "::" + ":".join(groups[gap.stop :]) if gap.stop else ":".join(groups)
    )
    return text.upper() if upper else text


GAPS = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda pair: slice(min(pair), max(pair)))
PATTERNS = st.sampled_from([0, 0xFFFF << 32, 1, 1 << 127, (1 << 128) - 1]) | st.integers(0, (1 << 128) - 1)
V6 = st.builds(spelled6, PATTERNS, GAPS, upper=st.booleans(), zeros=st.booleans())
GROUP = st.sampled_from(["", "", "0", "1", "ffff", "FFFF", "2001", "0db8", "12345", "00001", "g", "1.2.3.4"])
COLONS = st.lists(GROUP, min_size=2, max_size=10).map(":".join)
V4 = st.integers(0, (1 << 32) - 1).map(lambda value: str(IPv4Address(value)))
LENGTH = st.sampled_from(
    [
        "",
        "",
        "",
        "/0",
        "/1",
        "/24",
        "/32",
        "/33",
        "/48",
        "/64",
        "/127",
        "/128",
        "/129",
        "/999",
        "/",
        "/064",
        "/6 4",
        "/a",
    ]
)
TAIL = st.sampled_from(
    [
        *(
            "",
            "",
            "",
            "\r",
            "\r\r",
            " # note",
            ";SBL1",
            "\t12",
            ",malware,2024-01-31",
            " -",
            " - x",
            "-",
            " --",
        ),
        *(
            " -1.2.3.4",
            " 1.2.3.4",
            " ::1",
            " --::",
            " 12:30",
            " x.example",
            " a\rb",
            " # a\rb",
            "\x00",
            " \xff",
            "%eth0",
        ),
        *(" /24", " \u0661", ",", " ,,", "  -\r", " -;", "\x0b"),
    ]
)
HEAD = st.sampled_from(["", "", "", "", " ", "\t", ",", "-", "[", "#", "\r"])
LINE = st.builds("".join, st.tuples(HEAD, V4 | V6 | COLONS, LENGTH, TAIL))


@given(st.lists(LINE, max_size=30))
@example(["::", "::1", "1::", ":::", "1:::2", "::1::", ":", ":1", "1:", "::1:2:3:4:5:6:7", "1:2:3:4:5:6:7::"])
@example(["1::2:", ":1::2", "1:2::3:", ":1:2:3:4:5:6:7", "1:2:3:4:5:6:7:", "1::2::3", "::1:", ":1::"])
@example(["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2:3:4:5:6:7:8", "::2:3:4:5:6:7:8:9"])
@example(
    ["::ffff:1:2", "0:0:0:0:0:ffff:1:2", "::ffff:0:0:0", "1::ffff:1:2", "::FFFF:c000:201/128", "::1:ffff:1:2"]
)
@settings(deadline=None, max_examples=400)
def test_every_line_is_read_as_parse_entry_reads_it(lines: list[str]) -> None:
    """Entries, reasons by line, duplicates and cleared host bits are the same."""
    check(lines)


def feed(rows: int) -> list[str]:
    """A list as they are: comments, hosts and prefixes of both families, columns, and garbage."""
    chance = random.Random(7)
    lines = ["# generated", "; two heads", ""]
    for row in range(rows):
        v4, v6 = IPv4Address(chance.getrandbits(32)), IPv6Address(0x2001 << 112 | chance.getrandbits(112))
        kinds = (
            *(
                f"{v4}",
                f"{v6}",
                f"{v6.exploded}",
                f"{v4}/{chance.randint(1, 32)}",
                f"{v6}/{chance.randint(1, 128)}",
            ),
            *(
                f"{v4} # seen {row}",
                f"{v6};SBL{row}",
                f"{v4},malware,2024-01-31",
                f"{v6}\r",
                f"2001:db8::{row % 9}",
            ),
            *(
                "# note",
                "",
                f"bad{row}.example",
                f"{v4}.1",
                f"{v6}:1",
                f"{v4} - {v4}",
                f"{v4} {v6}",
                f"{v6}/129",
            ),
        )
        lines.append(chance.choice(kinds))
    return lines


def test_a_feed_over_several_chunks() -> None:
    """Numbers and columns stay together where the text is read in parts."""
    check(feed(80_000))


@pytest.mark.parametrize(
    "line",
    [
        *("192.0.2.1", "192.0.2.0/24 # why", "192.0.2.1,malware,2024-01-31,spam"),
        *("2001:db8::1", "2001:db8::/32\r", "::1/128 ; why", "2001:DB8:0:1:2:3:4:5 word"),
    ],
)
def test_plain_lines_are_not_left_to_the_careful_reader(line: str) -> None:
    """That one costs microseconds a line: a million of them would take as many seconds."""
    assert scan(f"{line}\n".encode()).unread.tolist() == []
