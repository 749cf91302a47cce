# SPDX-License-Identifier: Apache-2.0
"""Text of others as a terminal or a log may have it: nothing in it moves the cursor or begins a line."""


def shown(text: str) -> str:
    r"""*text* with every character that is not printable written as \x1b or \u202e, line ends too."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """*text* if it is printable. Raises ValueError."""
    if not text.isprintable():
        wrong = next(character for character in text if not character.isprintable())
        raise ValueError(f"holds {shown(wrong)}, which cannot be shown: one line of printable text")
    return text
