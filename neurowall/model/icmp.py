# SPDX-License-Identifier: Apache-2.0
"""Types of ICMP and ICMPv6 messages, by the names that nftables gives them or by number."""

from typing import Literal

IcmpProtocol = Literal["icmp", "icmpv6"]

ICMP_TYPES = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "source-quench": 4,
    "redirect": 5,
    "echo-request": 8,
    "router-advertisement": 9,
    "router-solicitation": 10,
    "time-exceeded": 11,
    "parameter-problem": 12,
    "timestamp-request": 13,
    "timestamp-reply": 14,
    "info-request": 15,
    "info-reply": 16,
    "address-mask-request": 17,
    "address-mask-reply": 18,
}
ICMPV6_TYPES = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "mld-listener-query": 130,
    "mld-listener-report": 131,
    "mld-listener-done": 132,
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "nd-redirect": 137,
    "router-renumbering": 138,
    "ind-neighbor-solicit": 141,
    "ind-neighbor-advert": 142,
    "mld2-listener-report": 143,
}
TYPES: dict[IcmpProtocol, dict[str, int]] = {"icmp": ICMP_TYPES, "icmpv6": ICMPV6_TYPES}


def icmp_type_number(protocol: IcmpProtocol, text: str) -> int | None:
    """The number of a type of that protocol, given by name or as 0 to 255; None if it has no such type."""
    if text.isascii() and text.isdecimal() and len(text) <= 3:
        return int(text) if int(text) <= 255 else None
    return TYPES[protocol].get(text)
