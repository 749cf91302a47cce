# SPDX-License-Identifier: Apache-2.0
"""One address or prefix as text: strict reading with a reason for every refusal, and writing."""

import ipaddress
import re
from typing import NamedTuple

BITS = {4: 32, 6: 128}

_DOTTED = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_NUMBERS = re.compile(r"(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]+|\d+))*", re.ASCII | re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.ASCII | re.IGNORECASE)
_LENGTH = re.compile(r"0|[1-9]\d{0,2}", re.ASCII)
_V6_CHARACTERS = re.compile(r"[0-9a-f:.]+", re.ASCII | re.IGNORECASE)
_MAPPED = 0xFFFF  # the upper 96 bits of ::ffff:0:0/96


class InvalidEntry(ValueError):
    """A text that is no entry; the message says why and what to write instead."""


class Entry(NamedTuple):
    """An address and its length. value is the address as an integer, host bits zero.

    host_bits is true if the text had bits set beyond the length.
    """

    family: int
    value: int
    length: int
    host_bits: bool = False

    @property
    def packed(self) -> bytes:
        """The address in network order, 4 or 16 bytes."""
        return self.value.to_bytes(BITS[self.family] // 8, "big")

    def __str__(self) -> str:
        return format_entry(self.family, self.value, self.length)


def parse_entry(text: str) -> Entry:
    """Read an IPv4 or IPv6 address or prefix; host bits are cleared and reported. Raise InvalidEntry.

    Refused because programs disagree on their meaning: octal, short and hexadecimal IPv4, ranges, zone ids,
    netmasks and IPv4-mapped IPv6. Refused because a list cannot mean it: a length of 0.
    """
    address, slash, length_text = text.partition("/")
    family, value = _parse_address(address, text)
    length = _parse_length(length_text, family) if slash else BITS[family]
    kept = value >> (BITS[family] - length) << (BITS[family] - length)
    return Entry(family, kept, length, kept != value)


def parse_address(text: str) -> Entry:
    """Read a single address, a full-length prefix included. Raise InvalidEntry."""
    entry = parse_entry(text)
    if entry.length != BITS[entry.family]:
        raise InvalidEntry("a prefix: give one address")
    return entry


def format_entry(family: int, value: int, length: int) -> str:
    """`192.0.2.1` for a host, `192.0.2.0/24` for a prefix."""
    address = ipaddress.IPv4Address(value) if family == 4 else ipaddress.IPv6Address(value)
    return str(address) if length == BITS[family] else f"{address}/{length}"


def _parse_address(address: str, text: str) -> tuple[int, int]:
    dotted = _DOTTED.fullmatch(address)
    if dotted:
        return 4, _dotted_value(dotted.groups())
    if ":" not in address or not _V6_CHARACTERS.fullmatch(address):
        raise InvalidEntry(_diagnose(address, text))
    value = _colon_value(address)
    if value is None:
        raise InvalidEntry(_diagnose(address, text))
    if value >> 32 == _MAPPED:
        raise InvalidEntry("IPv4-mapped IPv6, which never appears on the wire: write the IPv4 address")
    return 6, value


def _dotted_value(octets: tuple[str, ...]) -> int:
    value = 0
    for octet in octets:
        if len(octet) > 1 and octet[0] == "0":
            raise InvalidEntry(f"octet '{octet}' has a leading zero, octal to some programs: remove it")
        if int(octet) > 255:
            raise InvalidEntry(f"octet '{octet}' is above 255")
        value = value << 8 | int(octet)
    return value


def _colon_value(address: str) -> int | None:
    """The value of IPv6 text, None if it is none. ipaddress would be far slower; it reads the rare forms."""
    if "." in address:
        try:
            return int(ipaddress.IPv6Address(address))
        except ValueError:
            return None
    head, gap, tail = address.partition("::")
    left = head.split(":") if head else []
    right = tail.split(":") if tail else []
    missing = 8 - len(left) - len(right)
    sizes = [len(group) for group in left + right]
    if missing < 0 or bool(gap) != (missing > 0) or (sizes and not 1 <= min(sizes) <= max(sizes) <= 4):
        return None
    digits = [group.zfill(4) for group in left] + ["0000"] * missing + [group.zfill(4) for group in right]
    return int("".join(digits), 16)


def _parse_length(text: str, family: int) -> int:
    if not _LENGTH.fullmatch(text):
        if _DOTTED.fullmatch(text):
            raise InvalidEntry("a netmask: write the prefix length")
        raise InvalidEntry(f"prefix length '{text[:20]}' is not a plain number")
    length = int(text)
    if length == 0:
        raise InvalidEntry("a length of 0 covers every address: narrow it")
    if length > BITS[family]:
        raise InvalidEntry(f"prefix length {length} is above {BITS[family]}")
    return length


def _diagnose(address: str, text: str) -> str:
    """Why *address*, the part of *text* before a slash, is neither dotted quad nor IPv6."""
    dotted = bool(_DOTTED.match(text))
    causes = (
        (not text.isascii() or not text.isprintable(), "holds characters that no address has"),
        ("%" in address, "a zone id is a name on this machine only: remove it"),
        ("-" in text and dotted, "a range: write it as prefixes"),
        (address.startswith("["), "brackets: write the bare address"),
        (":" in address and dotted, "an address with a port: write the bare address"),
        (
            bool(_NUMBERS.fullmatch(address)),
            "a short or hexadecimal form of IPv4, ambiguous: write four decimal octets",
        ),
        (
            bool(_NAME.fullmatch(address)) and address[0].isalpha(),
            "not an address; host names are not resolved",
        ),
    )
    return next((why for applies, why in causes if applies), "not an IPv4 or IPv6 address or prefix")
