# SPDX-License-Identifier: Apache-2.0
import pytest

from neurowall.model.shown import one_line, shown

BAD = [
    ("\x1b[2J", r"\x1b[2J"),
    ("a\nb\r\t\0\x7f", r"a\x0ab\x0d\x09\x00\x7f"),
    ("\x9b31m\x85", r"\x9b31m\x85"),
    ("\u202egpj\u2028\ufeff", r"\u202egpj\u2028\ufeff"),
    ("\ud800", r"\ud800"),
    ("\U000e0001", r"\U000e0001"),
]


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_what_a_terminal_would_obey_is_written_out(text: str, expected: str) -> None:
    """Escapes, line ends, C1 controls, and what turns the direction of text."""
    assert shown(text) == expected
    with pytest.raises(ValueError, match="cannot be shown"):
        one_line(text)


@pytest.mark.parametrize("text", ["", "scans ports", "Zürich: 東京, é", "it's \\x1b"])
def test_printable_text_stays(text: str) -> None:
    """Of every language."""
    assert shown(text) == one_line(text) == text
