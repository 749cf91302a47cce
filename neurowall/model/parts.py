# SPDX-License-Identifier: Apache-2.0
"""The parts of a policy that XDP enforces, and its sizes. The stateful half is in rules.py."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from neurowall.model.duration import parse_duration
from neurowall.model.events import PER_SECOND
from neurowall.model.fields import (
    AddressText,
    DurationText,
    EntryText,
    InterfaceName,
    ListName,
    OneOrMore,
    Strict,
)
from neurowall.model.spans import family_of

XdpMode = Literal["auto", "native", "generic", "offload", "off"]
PacketVerdict = Literal["pass", "drop"]
ListVerdict = Literal["block", "allow"]
FlowModeName = Literal["off", "loose", "strict"]
EngineName = Literal["buckets", "classic"]


class Interface(Strict):
    """One interface to guard.

    xdp: `auto` takes the fastest mode that works, and nftables sets where none does; `off` always these.
    unparsed: verdict of EtherTypes that are not parsed (PPPoE, MPLS ...). networks: the addresses that live
    behind it; packets that come from there with another source are dropped as spoofed. spoofing: verdict of
    sources that cannot come from there: martians, the gateway's own, those of `networks` of other zones.
    bogons: verdict of sources in special-purpose space.
    """

    name: InterfaceName
    zone: str
    xdp: XdpMode = "auto"
    unparsed: PacketVerdict | None = None
    networks: Annotated[tuple[EntryText, ...], Field(strict=False), OneOrMore] = ()
    spoofing: PacketVerdict | None = None
    bogons: PacketVerdict = "pass"


class Failsafe(Strict):
    """The operator's own way in: from *source* to TCP *port* of the gateway's own *address* on *interface*.

    It passes before every list, at most packets_per_second. Never for forwarded packets.
    """

    interface: InterfaceName
    source: EntryText
    port: int = Field(ge=1, le=65535)
    address: AddressText
    packets_per_second: int = Field(default=1000, ge=1, le=1_000_000)
    allow_external: bool = False

    @model_validator(mode="after")
    def _same_family(self) -> Self:
        if family_of(self.source) != family_of(self.address):
            raise ValueError(f"source {self.source} and address {self.address} are of different families")
        return self


class ListSpec(Strict):
    """A declared list: entries from *file* (beside the policy file unless absolute) and from *entries*.

    monitor: its entries are counted and decide nothing.
    """

    name: ListName
    verdict: ListVerdict
    monitor: bool = False
    file: Path | None = Field(default=None, strict=False)
    entries: tuple[EntryText, ...] = Field(default=(), strict=False)

    @field_validator("file")
    @classmethod
    def _beside_the_policy(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        base = (info.context or {}).get("base")
        return base / file if file and base else file


class Capacity(Strict):
    """How many entries kernel maps are first made for. grow: a list that outgrows them gets larger ones."""

    hosts4: int = Field(default=1_000_000, ge=1, le=16_000_000)
    prefixes4: int = Field(default=250_000, ge=1, le=4_000_000)
    hosts6: int = Field(default=100_000, ge=1, le=16_000_000)
    prefixes6: int = Field(default=100_000, ge=1, le=4_000_000)
    classes: int = Field(default=4096, ge=16, le=32767)
    grow: bool = True


class Fallback(Strict):
    """Interfaces where no XDP program attaches. max_entries: of all lists, as many nftables sets take."""

    max_entries: int = Field(default=100_000, ge=1, le=1_000_000)


class Events(Strict):
    """What the kernel tells of while it happens. per_second: of each kind, on each CPU; 0: nothing."""

    per_second: int = Field(default=PER_SECOND, ge=0, le=10_000)


class FlowTimeouts(Strict):
    """How long a flow is known without a packet, by what it is in."""

    tcp_syn_sent: DurationText = "60s"
    tcp_syn_received: DurationText = "60s"
    tcp_established: DurationText = "5d"
    tcp_half_closed: DurationText = "10m"
    tcp_closed: DurationText = "60s"
    tcp_reset: DurationText = "10s"
    udp: DurationText = "30s"
    udp_answered: DurationText = "3m"
    icmp: DurationText = "30s"

    @property
    def seconds(self) -> tuple[float, ...]:
        """By FlowState; what was adopted lasts as if it were established."""
        texts = (
            *(self.tcp_syn_sent, self.tcp_syn_received, self.tcp_established, self.tcp_established),
            *(self.tcp_half_closed, self.tcp_closed, self.tcp_reset),
            *(self.udp, self.udp_answered, self.icmp),
        )
        return tuple(parse_duration(text) for text in texts)


class Flows(Strict):
    """What XDP knows of connections, on external interfaces.

    mode: `strict` drops TCP that is out of state; `loose` only tells known packets from unknown ones. adopt:
    how long after it was switched on what is out of state passes all the same. max: entries, of TCP
    connections, and half as many of what a forged packet can bring about. new_per_second: flows that each CPU
    takes in a second.
    """

    mode: FlowModeName = "off"
    adopt: DurationText = "60s"
    max: int = Field(default=65_536, ge=1024, le=262_144)
    timeouts: FlowTimeouts = FlowTimeouts()
    new_per_second: int = Field(default=50_000, ge=1, le=10_000_000)


class Bans(Strict):
    """What a repeated block with a TTL does.

    The TTL is at least *repeat_factor* times the last one, as long as that is at most *max_ttl*. memory: how
    long after its end a block counts as the last one. per_second: of bans by limits, how many each CPU makes.
    """

    repeat_factor: float = Field(default=2.0, ge=1, le=1000)
    max_ttl: DurationText = "7d"
    memory: DurationText = "1d"
    per_second: int = Field(default=100, ge=1, le=100_000)

    @property
    def max_ttl_seconds(self) -> float:
        """max_ttl in seconds."""
        return parse_duration(self.max_ttl)

    @property
    def memory_seconds(self) -> float:
        """Memory in seconds."""
        return parse_duration(self.memory)
