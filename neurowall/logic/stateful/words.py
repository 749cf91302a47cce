# SPDX-License-Identifier: Apache-2.0
"""The expressions of libnftables-json(5) that the compiler uses."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from neurowall.model.address import BITS, format_entry
from neurowall.model.fields import rate_of
from neurowall.model.ruleset import text_of
from neurowall.model.spans import Span

Expression = Mapping[str, Any]

ACCEPT: Expression = {"accept": None}
DROP: Expression = {"drop": None}
FAMILIES = (4, 6)
FAMILY_WORD = {4: "ipv4", 6: "ipv6"}
HEADER = {4: "ip", 6: "ip6"}
PROTOCOLS = {
    "ipip": 4,
    "tcp": 6,
    "udp": 17,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmp": 1,
    "icmpv6": 58,
    "sctp": 132,
}


def rule(*expressions: Expression) -> str:
    """One rule of a chain."""
    return text_of(list(expressions))


def meta(key: str) -> Expression:
    """`meta KEY`."""
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> Expression:
    """`PROTOCOL FIELD`, of a header."""
    return {"payload": {"protocol": protocol, "field": field}}


def connection(key: str) -> Expression:
    """`ct KEY`."""
    return {"ct": {"key": key}}


def concatenated(parts: Iterable[Any]) -> Any:
    """Several values as one key; a single one stays as it is."""
    joined = list(parts)
    return joined[0] if len(joined) == 1 else {"concat": joined}


def matches(left: Any, right: Any, operator: str = "==") -> Expression:
    """A comparison."""
    return {"match": {"op": operator, "left": left, "right": right}}


def is_one_of(left: Any, values: Iterable[Any]) -> Expression:
    """A comparison with one or several values."""
    several = list(values)
    # A concatenation is compared with sets only.
    return matches(left, several[0] if len(several) == 1 and "concat" not in left else {"set": several})


def family_is(family: int) -> Expression:
    """`meta nfproto ipv4` or `ipv6`."""
    return matches(meta("nfproto"), FAMILY_WORD[family])


def jump(chain: str) -> Expression:
    """Go on with *chain* and come back if it does not decide."""
    return {"jump": {"target": chain}}


def goto(chain: str) -> Expression:
    """Go on with *chain* for good."""
    return {"goto": {"target": chain}}


def verdict_by(key: Any, data: Any) -> Expression:
    """A verdict map: *data* is the name of one, or the pairs of one of its own."""
    return {"vmap": {"key": key, "data": f"@{data}" if isinstance(data, str) else {"set": data}}}


def counted(counter: str) -> Expression:
    """Count under a named counter."""
    return {"counter": counter}


def limited(rate: str, burst: int) -> Expression:
    """Match at most so many packets over time."""
    packets, unit = rate_of(rate)
    return {"limit": {"rate": packets, "per": unit, "burst": burst}}


def address_text(family: int, value: int) -> str:
    """An address as text."""
    return str(IPv4Address(value) if family == 4 else IPv6Address(value))


def addresses(family: int, span: Span) -> Any:
    """A span of addresses as a host, a prefix or a range."""
    first, last = span
    size = last - first + 1
    if first == last:
        return address_text(family, first)
    if size & (size - 1) == 0 and first % size == 0:
        length = BITS[family] + 1 - size.bit_length()
        return {"prefix": {"addr": address_text(family, first), "len": length}}
    return {"range": [address_text(family, first), address_text(family, last)]}


def prefix(family: int, value: int, length: int) -> Any:
    """A prefix, or a host where it is one."""
    host = format_entry(family, value, BITS[family])
    return host if length == BITS[family] else {"prefix": {"addr": host, "len": length}}


def numbers(span: Span) -> Any:
    """A span of ports, protocols or types."""
    return span[0] if span[0] == span[1] else {"range": [span[0], span[1]]}
