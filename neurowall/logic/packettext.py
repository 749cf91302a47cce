# SPDX-License-Identifier: Apache-2.0
"""One packet as an operator writes it: `tcp 203.0.113.7:4711 -> 192.0.2.10:443 via wan0`."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

from neurowall.model.address import InvalidEntry, parse_address
from neurowall.model.errors import NeurowallError
from neurowall.model.icmp import TYPES, IcmpProtocol, icmp_type_number
from neurowall.model.rules import PORT_PROTOCOLS, Protocol, State

PROTOCOLS: tuple[str, ...] = get_args(Protocol)
STATES: tuple[str, ...] = get_args(State)
EPHEMERAL = 50_000  # the source port where none is given: clients take such ones
FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg")
MAX_SIZE = 1500  # bytes of an IP packet in one frame
EXAMPLE = "tcp 203.0.113.7:4711 -> 192.0.2.10:443 via wan0"

ND_TYPES = range(133, 138)
MLD_TYPES = (130, 131, 132, 143)

# What conntrack takes for the start of a connection, and what it never tracks: nf_conntrack_proto_icmp.c and
# nf_conntrack_proto_icmpv6.c. Everything else without a connection is invalid.
_STARTS = {"icmp": (8, 13, 15, 17), "icmpv6": (128, 139)}
_UNTRACKED = (130, 131, 132, 133, 134, 135, 136, 143)


class PacketInvalid(NeurowallError):
    """A text that describes no packet; the message says why and what to write."""


@dataclass(frozen=True)
class Packet:
    """One packet. Addresses are text in their usual form. Raises PacketInvalid for what cannot be.

    Ports are None where the protocol has none, icmp_type is None unless it is icmp or icmpv6. via: the
    interface where it arrives, None: found by the route back, or sent by the gateway itself. to: the
    interface that it leaves by, None: found by the route. state: what conntrack says of it. hop_limit: TTL in
    IPv4. flags, sequence and acknowledgement are those of TCP. size: bytes of the IP packet at least.
    """

    protocol: str
    source: str
    destination: str
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    via: str | None = None
    to: str | None = None
    state: State = "new"
    hop_limit: int = 64
    flags: tuple[str, ...] | None = None
    sequence: int = 0
    acknowledgement: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        for name in ("source", "destination"):
            object.__setattr__(self, name, _address(getattr(self, name)))
        if self.family != parse_address(self.destination).family:
            raise PacketInvalid(f"{self.source} and {self.destination} are of different families")
        wanted = {"icmp": 4, "icmpv6": 6}.get(self.protocol, self.family)
        if self.family != wanted:
            other = "icmpv6" if self.protocol == "icmp" else "icmp"
            raise PacketInvalid(f"{self.protocol} is IPv{wanted} only, {self.source} is not: write {other}")
        if self.has_ports != (self.source_port is not None and self.destination_port is not None):
            raise PacketInvalid(f"{self.protocol} needs ports on both ends, or has none")
        if (self.protocol in TYPES) != (self.icmp_type is not None):
            raise PacketInvalid("a type belongs to icmp and icmpv6, and they need one")
        if self.protocol != "tcp" and (self.flags is not None or self.sequence or self.acknowledgement):
            raise PacketInvalid(f"flags, sequence and acknowledgement are of tcp, not of {self.protocol}")

    @property
    def tcp_flags(self) -> tuple[str, ...]:
        """Those that are given, else what such a packet usually has: what begins a connection is a SYN."""
        return self.flags if self.flags is not None else ("syn",) if self.state == "new" else ("ack",)

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.source else 4

    @property
    def has_ports(self) -> bool:
        """Whether the protocol has ports."""
        return self.protocol in PORT_PROTOCOLS

    @property
    def type_name(self) -> str:
        """The name of the ICMP type, its number if it has none, "" for other protocols."""
        if self.icmp_type is None:
            return ""
        names = TYPES["icmpv6" if self.family == 6 else "icmp"].items()
        return next((name for name, number in names if number == self.icmp_type), str(self.icmp_type))

    @property
    def ends(self) -> str:
        """Both ends as text: `203.0.113.7:4711 -> 192.0.2.10:443`."""
        source = endpoint(self.source, self.source_port)
        return f"{source} -> {endpoint(self.destination, self.destination_port)}"

    def __str__(self) -> str:
        words = [self.protocol, self.type_name, self.ends]
        words += [f"via {self.via}" if self.via else "", f"to {self.to}" if self.to else ""]
        if self.state != state_alone(self.protocol, self.icmp_type):
            words.append(f"state {self.state}")
        if self.hop_limit != _usual_hop_limit(self.protocol, self.icmp_type):
            words.append(f"hop-limit {self.hop_limit}")
        words += [f"flags {','.join(self.flags) or 'none'}"] if self.flags is not None else []
        numbers = {"sequence": self.sequence, "acknowledgement": self.acknowledgement, "size": self.size}
        words += [f"{name} {number}" for name, number in numbers.items() if number]
        return " ".join(word for word in words if word)


def endpoint(address: str, port: int | None) -> str:
    """`192.0.2.10:443`, `[2001:db8::1]:443`, or the bare address without a port."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def icmp_protocol(protocol: str) -> IcmpProtocol | None:
    """The protocol if its messages have types, else None."""
    return "icmp" if protocol == "icmp" else "icmpv6" if protocol == "icmpv6" else None


def state_alone(protocol: str, icmp_type: int | None) -> State:
    """What conntrack says of such a packet that belongs to no connection."""
    if protocol not in TYPES:
        return "new"
    if protocol == "icmpv6" and icmp_type in _UNTRACKED:
        return "untracked"
    return "new" if icmp_type in _STARTS[protocol] else "invalid"


def read_packet(text: str) -> Packet:
    """Read `PROTOCOL [ICMP-TYPE] SOURCE[:PORT] -> DESTINATION[:PORT]` and, in any order, what follows it.

    That is `via INTERFACE` (where it arrives), `to INTERFACE` (where it leaves), `state STATE`, `hop-limit
    NUMBER`, `size BYTES` and, of TCP, `flags syn,ack`, `sequence NUMBER` and `acknowledgement NUMBER`. IPv6
    with a port is written in brackets. Raises PacketInvalid.
    """
    before, arrow, after = text.replace("→", "->").partition("->")
    if not arrow:
        raise _refused(f"'{_short(text)}' has no '->' between source and destination")
    head, tail = before.lower().split(), after.split()
    if len(head) < 2:
        raise _refused("protocol or source is missing before '->'")
    if not tail:
        raise _refused("the destination is missing after '->'")
    protocol = _choice("protocol", head[0], PROTOCOLS)
    icmp_type = _icmp_type(protocol, head[1:-1])
    source, source_port = _read_end(head[-1], protocol)
    destination, destination_port = _read_end(tail[0].lower(), protocol)
    if protocol in PORT_PROTOCOLS and destination_port is None:
        raise _refused(
            f"{protocol} needs the port it goes to: write {endpoint(destination, 443)}, for instance"
        )
    options = _options(tail[1:])
    if protocol in PORT_PROTOCOLS and source_port is None:
        source_port = EPHEMERAL
    state = options.get("state") or state_alone(protocol, icmp_type)
    return Packet(
        protocol=protocol,
        source=source,
        destination=destination,
        source_port=source_port,
        destination_port=destination_port,
        icmp_type=icmp_type,
        via=options.get("via"),
        to=options.get("to"),
        state=cast("State", _choice("state", state, STATES)),
        hop_limit=_hop_limit(options.get("hop-limit"), protocol, icmp_type),
        flags=_flags(options.get("flags")),
        sequence=_upto(options, "sequence", 2**32 - 1),
        acknowledgement=_upto(options, "acknowledgement", 2**32 - 1),
        size=_upto(options, "size", MAX_SIZE),
    )


def _icmp_type(protocol: str, words: Sequence[str]) -> int | None:
    """The type between protocol and source; echo-request unless it is given."""
    named = icmp_protocol(protocol)
    if named is None:
        if words:
            raise _refused(f"'{_short(' '.join(words))}' between {protocol} and the source")
        return None
    if len(words) > 1:
        raise _refused(f"'{_short(' '.join(words))}' is more than one {protocol} type")
    text = words[0] if words else "echo-request"
    number = icmp_type_number(named, text)
    return TYPES[named][_choice(f"{named} type", text, TYPES[named])] if number is None else number


def _read_end(text: str, protocol: str) -> tuple[str, int | None]:
    address, port = _split_port(text)
    if port is None:
        return _address(address), None
    if protocol not in PORT_PROTOCOLS:
        raise _refused(f"'{_short(text)}': {protocol} has no ports: write the bare address")
    number = _number(port, 65535)
    if number is None:
        raise _refused(f"'{_short(text)}': expected a port from 1 to 65535")
    return _address(address), number


def _split_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _refused(f"'{_short(text)}': expected [address]:port")
        return address, rest[1:] if rest else None
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, port
    return text, None


def _options(words: Sequence[str]) -> dict[str, str]:
    """What follows the destination, as pairs of words."""
    known = ("via", "to", "state", "hop-limit", "flags", "sequence", "acknowledgement", "size")
    options: dict[str, str] = {}
    for position in range(0, len(words), 2):
        word = words[position].lower()
        key = _choice("word", "hop-limit" if word == "ttl" else word, known)
        if position + 1 == len(words):
            raise _refused(f"nothing follows '{key}'")
        if key in options:
            raise _refused(f"'{key}' is given twice")
        value = words[position + 1]
        options[key] = value.lower() if key in ("state", "flags") else value
    return options


def _usual_hop_limit(protocol: str, icmp_type: int | None) -> int:
    """Neighbour discovery is always sent with 255, MLD with 1; of others 64 is as good as any."""
    if protocol != "icmpv6":
        return 64
    return 255 if icmp_type in ND_TYPES else 1 if icmp_type in MLD_TYPES else 64


def _hop_limit(text: str | None, protocol: str, icmp_type: int | None) -> int:
    if text is None:
        return _usual_hop_limit(protocol, icmp_type)
    number = _number(text, 255)
    if number is None:
        raise _refused(f"hop-limit '{_short(text)}': expected 1 to 255")
    return number


def _flags(text: str | None) -> tuple[str, ...] | None:
    if text is None or text == "none":
        return None if text is None else ()
    return tuple(_choice("TCP flag", each, FLAGS) for each in text.split(","))


def _upto(options: Mapping[str, str], key: str, highest: int) -> int:
    text = options.get(key, "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= highest):
        raise _refused(f"{key} '{_short(text)}': expected a number up to {highest}")
    return int(text)


def _number(text: str, highest: int) -> int | None:
    """A number from 1, None if the text is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        return None
    return int(text) if 1 <= int(text) <= highest else None


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except InvalidEntry as error:
        raise PacketInvalid(f"'{_short(text)}': {error}") from error


def _choice(kind: str, text: str, known: Iterable[str]) -> str:
    names = list(known)
    if text in names:
        return text
    close = difflib.get_close_matches(text, names, 1)
    fix = f"did you mean '{close[0]}'?" if close else f"use {', '.join(names)}"
    raise _refused(f"'{_short(text)}' is no {kind}: {fix}")


def _short(text: str) -> str:
    return text.strip()[:60]


def _refused(why: str) -> PacketInvalid:
    return PacketInvalid(f"{why}; for example: {EXAMPLE}")
