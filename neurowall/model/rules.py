# SPDX-License-Identifier: Apache-2.0
"""The stateful half of a policy: zones, address sets, rules and NAT. nftables enforces it."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from neurowall.model.fields import (
    AddressText,
    EntryText,
    ItemName,
    OneOrMore,
    Ports,
    RateText,
    SourceText,
    Strict,
    ZoneName,
)

ZoneKind = Literal["external", "internal"]
Protocol = Literal["tcp", "udp", "sctp", "icmp", "icmpv6", "gre", "esp", "ah", "ipip", "ipv6"]
PORT_PROTOCOLS = ("tcp", "udp", "sctp")
State = Literal["new", "established", "related", "invalid", "untracked"]
Action = Literal["accept", "drop", "reject"]
FamilyName = Literal["ipv4", "ipv6"]

Zones = Annotated[tuple[str, ...], Field(strict=False, min_length=1), OneOrMore]
Addresses = Annotated[tuple[SourceText, ...], Field(strict=False), OneOrMore]
PortList = Annotated[tuple[Ports, ...], Field(strict=False), OneOrMore]
Protocols = Annotated[tuple[Protocol, ...], Field(strict=False), OneOrMore]
PortProtocols = Annotated[
    tuple[Literal["tcp", "udp", "sctp"], ...], Field(strict=False, min_length=1), OneOrMore
]
IcmpTypes = Annotated[tuple[str, ...], Field(strict=False), OneOrMore]
States = Annotated[tuple[State, ...], Field(strict=False, min_length=1), OneOrMore]
Families = Annotated[tuple[FamilyName, ...], Field(strict=False, min_length=1), OneOrMore]


class Zone(Strict):
    """A set of interfaces that are treated alike. `external` and `internal` are built in."""

    name: ZoneName
    kind: ZoneKind


class AddressSet(Strict):
    """Named addresses for rules, used as `@name`."""

    name: ItemName
    entries: tuple[EntryText, ...] = Field(default=(), strict=False)


class Rate(Strict):
    """The rule matches at most this many packets over time, of all or of each source; then it does not."""

    at_most: RateText
    burst: int = Field(default=5, ge=1, le=1_000_000)
    per: Literal["rule", "source"] = "rule"


class ConnectionLimit(Strict):
    """The rule matches while there are at most this many connections, of all or of each source."""

    at_most: int = Field(ge=1, le=1_000_000)
    per: Literal["rule", "source"] = "source"


class Log(Strict):
    """Write matches to the kernel log, or to an nfnetlink_log *group*; never more than *rate*."""

    prefix: str | None = Field(default=None, max_length=60, pattern=r"^[\x20-\x7e]*$")
    rate: RateText = "10/second"
    burst: int = Field(default=5, ge=1, le=1_000_000)
    group: int | None = Field(default=None, ge=0, le=65535)


def _kind_of_log(value: Any) -> str | None:
    if isinstance(value, bool):
        return "(switch)"
    return "(settings)" if isinstance(value, dict | Log) else None


LogField = Annotated[
    Annotated[bool, Tag("(switch)")] | Annotated[Log, Tag("(settings)")], Discriminator(_kind_of_log)
]
"""True for the usual settings, or settings."""


class Rule(Strict):
    """One stateful rule; the first that matches decides.

    from, to: zones, `gateway` (the gateway itself) or `any`. Empty fields match everything. Addresses of both
    families may be given; each is compared with packets of its own. ports: destination ports. Rules see new
    connections: what belongs to an established or related one is accepted, invalid packets are dropped; a
    rule with another *state* is asked before that. monitor: matches are counted and logged, and decide
    nothing.
    """

    name: ItemName
    from_: Zones = Field(alias="from")
    to: Zones
    source: Addresses = ()
    destination: Addresses = ()
    protocol: Protocols = ()
    ports: PortList = ()
    source_ports: PortList = ()
    icmp_types: IcmpTypes = ()
    state: States = ("new",)
    connection_limit: ConnectionLimit | None = None
    rate: Rate | None = None
    log: LogField = False
    action: Action
    monitor: bool = False
    enabled: bool = True


class Defaults(Strict):
    """What becomes of new connections that no rule matches. log: of those that are not accepted."""

    input: Action = "drop"
    forward: Action = "drop"
    output: Action = "accept"
    log: LogField = False


class Masquerade(Strict):
    """Source NAT to the address of the interface that a connection leaves by."""

    from_: Zones = Field(alias="from")
    to: Zones
    source: Addresses = ()
    families: Families = ("ipv4",)


class SourceNat(Strict):
    """Source NAT to a fixed address."""

    from_: Zones = Field(alias="from")
    to: Zones
    source: Addresses = ()
    address: AddressText


class PortForward(Strict):
    """Destination NAT of ports of the gateway's own address to a host inside; such connections are accepted.

    from: the zones whose clients may use it. address: the gateway's own; without it any address of the
    interface where a packet arrives. to_ports: as many as *ports*; without it the same. hairpin: also for
    clients in the target's own zone (and in every other internal one), whose source becomes the gateway.
    """

    name: ItemName
    from_: Zones = Field(alias="from")
    address: AddressText | None = None
    protocol: PortProtocols
    ports: Ports
    to: AddressText
    to_ports: Ports | None = None
    source: Addresses = ()
    hairpin: bool = False
    log: LogField = False


class OneToOne(Strict):
    """Static NAT both ways between *outside* and *inside*, hosts or prefixes of one length.

    Only the addresses are changed: rules, which see the inside address, say who may talk to it.
    """

    name: ItemName
    zone: str
    outside: EntryText
    inside: EntryText


class Nat(Strict):
    """Address translation. Of several that match, destination: port forwards first; source: in this order."""

    one_to_one: tuple[OneToOne, ...] = Field(default=(), strict=False)
    port_forwards: tuple[PortForward, ...] = Field(default=(), strict=False)
    source: tuple[SourceNat, ...] = Field(default=(), strict=False)
    masquerade: tuple[Masquerade, ...] = Field(default=(), strict=False)
