# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.model.listfile import ParsedList, parse_list
from neurowall.model.listscan import MAX_LINE


def texts(parsed: ParsedList) -> list[str]:
    """The entries that were read."""
    return parsed.entries.to_strings()


def problems(parsed: ParsedList) -> list[tuple[int, str]]:
    """Line and text of each refused line."""
    return [(problem.line, problem.text) for problem in parsed.problems]


class TestGoodLines:
    def test_comments_blanks_and_columns(self) -> None:
        """Comments, blank lines and what follows the first token are no entries."""
        parsed = parse_list(
            "# head\n; other head\n\n  \t\n192.0.2.1\n192.0.2.2\t10\n192.0.2.3,7,2\n192.0.2.4 # why\n"
            "192.0.2.5;SBL1\n  192.0.2.6\n198.51.100.0/24 ; SBL2\n2001:db8::1 5\n # indented"
        )
        assert texts(parsed) == [
            "198.51.100.0/24",
            *(f"192.0.2.{i}" for i in range(1, 7)),
            "2001:db8::1",
        ]
        assert not parsed.problems
        assert parsed.duplicates == 0

    def test_crlf_bom_and_no_last_newline(self) -> None:
        """Windows line ends, a byte order mark and a missing last newline change nothing."""
        parsed = parse_list(b"\xef\xbb\xbf192.0.2.1\r\n\r\n2001:db8::/32\r\n192.0.2.2")
        assert texts(parsed) == ["192.0.2.1", "192.0.2.2", "2001:db8::/32"]
        assert not parsed.problems

    def test_duplicates_and_overlaps(self) -> None:
        """Repeated entries are counted, also those that host bits made equal; overlaps are kept."""
        parsed = parse_list("10.0.0.0/8\n10.1.2.3\n10.1.2.3/32\n10.9.9.9/8\n2001:db8::1\n2001:DB8:0::1\n")
        assert texts(parsed) == ["10.0.0.0/8", "10.1.2.3", "2001:db8::1"]
        assert parsed.duplicates == 3
        assert parsed.host_bits == (4,)

    def test_host_bits_are_cleared_and_reported_by_line(self) -> None:
        """Line numbers of both families come in one order."""
        parsed = parse_list("# x\n192.0.2.9/24\n2001:db8::1/64\n198.51.100.1/24\n203.0.113.0/24\n")
        assert parsed.host_bits == (2, 3, 4)
        assert texts(parsed) == ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/64"]

    @pytest.mark.parametrize("text", ["", "\n", "\n\n\n", "# only\n", b"", b"\xef\xbb\xbf"])
    def test_nothing(self, text: str | bytes) -> None:
        """A text without entries is an empty list without problems."""
        parsed = parse_list(text)
        assert len(parsed.entries) == 0
        assert not parsed.problems

    def test_a_second_column_may_be_a_number_or_a_word(self) -> None:
        """Counts, dates, scores and names in further columns are not looked at."""
        parsed = parse_list("192.0.2.1 2024-01-31 0.95 spam.example\n192.0.2.2,,x\n2001:db8::1 12:30\n")
        assert len(parsed.entries) == 3
        assert not parsed.problems


class TestGarbage:
    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("192.0.2.01", "leading zero"),
            ("192.0.2.256", "above 255"),
            ("192.0.2", "short"),
            ("0xc0.0.2.1", "hexadecimal"),
            ("192.0.2.1/33", "above 32"),
            ("192.0.2.1/0", "covers every address"),
            ("0.0.0.0/0", "covers every address"),
            ("192.0.2.1/", "plain number"),
            ("192.0.2.1/08", "plain number"),
            ("192.0.2.0/255.255.255.0", "netmask"),
            ("192.0.2.1-192.0.2.9", "range"),
            ("192.0.2.1 - 192.0.2.9", "range"),
            ("192.0.2.1 -192.0.2.9", "two addresses"),
            ("192.0.2.1 192.0.2.9", "two addresses"),
            ("192.0.2.0\t192.0.2.255\t24", "two addresses"),
            ("192.0.2.1,2001:db8::1", "two addresses"),
            ("192.0.2.1 2001:db8::1", "two addresses"),
            ("2001:db8::1 192.0.2.1", "two addresses"),
            ("fe80::1%eth0", "zone id"),
            ("::ffff:192.0.2.1", "IPv4-mapped"),
            ("bad.example", "host names"),
            ("192.0.2.1:80", "port"),
            ("192.0.2.1\x00", "characters"),
            ("\x00192.0.2.1", "characters"),
            ("192.0.2.1\x0b", "characters"),
            ("192.0.2.\u0661", "characters"),
            ("-1.2.3.4", "not an IPv4"),
            ("1..2.3.4", "not an IPv4"),
            ("1.2.3.4.5", "short or hexadecimal"),
            ("1.2.3.4/5/6", "plain number"),
            ("1.2.3.4.", "not an IPv4"),
            ("1.2.3.4x", "not an IPv4"),
        ],
    )
    def test_a_bad_line_is_a_problem_with_its_number(self, line: str, why: str) -> None:
        """Between good lines the bad one, and only it, is refused, by number and reason."""
        parsed = parse_list(f"203.0.113.1\n{line}\n203.0.113.2\n")
        assert texts(parsed) == ["203.0.113.1", "203.0.113.2"]
        assert [problem.line for problem in parsed.problems] == [2]
        assert why in parsed.problems[0].why

    def test_a_carriage_return_inside_a_line_hides_nothing(self) -> None:
        """A file with old Macintosh line ends is one bad line, not its first entry."""
        parsed = parse_list(b"192.0.2.1\r192.0.2.2\r")
        assert len(parsed.entries) == 0
        assert problems(parsed) == [(1, "192.0.2.1\\r192.0.2.2")]

    def test_invalid_utf8_is_shown_escaped(self) -> None:
        """Bytes that are no text are refused and shown readably."""
        parsed = parse_list(b"192.0.2.1\n\xff\xfe1\x009\x00\n")
        assert [problem.line for problem in parsed.problems] == [2]
        assert parsed.problems[0].text.startswith("\\xff\\xfe1")
        assert parsed.problems[0].text.isprintable()

    def test_a_huge_line_is_refused_and_cut(self) -> None:
        """A megabyte without a newline costs neither memory nor a long message."""
        parsed = parse_list(b"192.0.2.1\n" + b"1" * 10_000_000 + b"\n192.0.2.2\n")
        assert problems(parsed) == [(2, "1" * 77 + "...")]
        assert f"{MAX_LINE} bytes" in parsed.problems[0].why
        assert len(parsed.entries) == 2

    def test_a_long_tail_is_refused_too(self) -> None:
        """An entry with more than a line's worth behind it is no entry, whatever the tail is made of."""
        assert problems(parse_list(b"192.0.2.1 " + b"1" * MAX_LINE))[0][0] == 1
        assert not parse_list(b"192.0.2.1 # " + b"1" * 80).problems

    def test_line_numbers_across_chunks(self) -> None:
        """Numbers stay exact in a list that is read in many parts."""
        lines = [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}" for i in range(200_000)]
        bad = (0, 65_535, 65_536, 131_071, 131_072, 199_999)
        for number in bad:
            lines[number] = f"bad{number}"
        lines[70_000] += "/31"
        lines[70_001] += "/31"
        parsed = parse_list("\n".join(lines))
        assert problems(parsed) == [(number + 1, f"bad{number}") for number in bad]
        assert parsed.host_bits == (70_002,)
        assert parsed.duplicates == 1
        assert len(parsed.entries) == 200_000 - len(bad) - 1


def expected(line: str) -> str | None:
    """What one token is to be read as, None if it is refused: by the standard library, not by ours."""
    address, slash, length = line.partition("/")
    try:
        parsed = ip_address(address)
        if "%" in address or (parsed.version == 6 and parsed.ipv4_mapped is not None):
            return None
        if slash and (not length.isdigit() or not length.isascii() or str(int(length)) != length):
            return None
        network = ip_interface(line).network
    except ValueError:
        return None
    if network.prefixlen == 0:
        return None
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


OCTET = st.integers(0, 260).map(str) | st.sampled_from(["00", "010", "007", "", "0x1", "1e1"])
QUAD = st.lists(OCTET, min_size=3, max_size=5).map(".".join)
LENGTH = st.sampled_from(
    ["", "", "", "/", "/0", "/1", "/8", "/24", "/31", "/32", "/33", "/024", "/128", "/ 8"]
)
COLONS = st.lists(
    st.sampled_from(["", "0", "1", "ffff", "2001", "db8", "12345", "g"]), min_size=2, max_size=9
).map(":".join)
TOKEN = st.builds(str.__add__, QUAD | COLONS, LENGTH) | st.text(
    alphabet="0123456789./: abcdefx-", max_size=20
)
LINE = st.builds(str.__add__, TOKEN, st.sampled_from(["", "", "\r", " # note", "\t12", ";x", "  "]))


@given(st.lists(LINE, max_size=40))
def test_reads_what_the_standard_library_reads(lines: list[str]) -> None:
    """Line by line, the same entries are read and the same lines refused as with ipaddress."""
    wanted, refused = [], []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].partition(";")[0].replace("\t", " ").rstrip("\r").split(" ")
        words = [word for word in words if word]
        if not words:
            continue
        others = [word for word in words[1:] if expected(word.lstrip("-")) is not None or word == "-"]
        entry = expected(words[0])
        if entry is None or others:
            refused.append(number)
        else:
            wanted.append(entry)
    parsed = parse_list("\n".join(lines))
    assert [problem.line for problem in parsed.problems] == refused
    assert set(texts(parsed)) == set(wanted)
    assert parsed.duplicates == len(wanted) - len(set(wanted))
