# SPDX-License-Identifier: Apache-2.0
"""The /64 around one IPv6 host: its holder may use any address in it, so that banning one bans nothing."""

from neurowall.model.address import BITS, Entry, InvalidEntry, format_entry, parse_entry

SITE = 64
_GLOBAL = (0b001, 3)  # 2000::/3, all that is given out as global unicast
_TEREDO = (0x2001_0000, 32)  # RFC 4380: the /64 there is one server's clients all over the world


def whole_site(text: str) -> str | None:
    """The /64 that one customer holds if *text* is a host in it, else None.

    None for what is no IPv6 host, and where a /64 holds strangers: link-local addresses, NAT64, Teredo.
    """
    if ":" not in text:  # spares the many IPv4 addresses of a large request the parsing
        return None
    try:
        entry = parse_entry(text)
    except InvalidEntry:
        return None
    if entry.length != BITS[6] or not _within(entry, *_GLOBAL) or _within(entry, *_TEREDO):
        return None
    return format_entry(6, entry.value >> SITE << SITE, SITE)


def _within(entry: Entry, prefix: int, length: int) -> bool:
    return entry.value >> (BITS[6] - length) == prefix
