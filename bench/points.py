# SPDX-License-Identifier: Apache-2.0
"""What a scenario sends, and its points: sizes of the rule set, and what differs there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, get_args

from pydantic import Field

from bench.bars import Model
from bench.classes import TURNS, TrafficClass
from bench.defence import Features, Limit
from bench.rulebook import SMALLEST, Size

SystemName = Literal[
    "none",
    "xdp-null",
    "xdp-touch",
    "neurowall",
    "neurowall-classic",
    "neurowall-lists",
    "xdp-lru-limiter",
    "xdp-lru-flows",
    "nft-set",
    "nft-limit",
    "nft-linear",
    "ipset",
]
ProfileName = Literal["ci", "quick", "standard", "rfc"]
Family = Literal[4, 6]
Sources = Literal["listed", "near-listed", "fixed-set", "accepted", "classes"]
Position = Literal["uniform", "first", "last", "miss"]
Connections = Literal["known", "opened"]
"""What packets of accepted sources are to connection tracking.

`known`: packets of `set_size` connections that it has entries of. They go one way only, and until a reply is
seen it calls each of them new: every packet asks the rules, and hardly anything else is paid for. `opened`:
the first packets of `source_count` connections, after each of which it holds one more; its table is emptied
before and after, and a trial ends at the latest when every source was used once.
"""
PROFILES: tuple[ProfileName, ...] = get_args(ProfileName)


class Traffic(Model):
    """What the generator sends.

    `listed`: uniform over the point's entries, one source for each, prefixes by a random member.
    `near-listed`: half from /24s (IPv6: /64s) that hold an entry, half from elsewhere, none listed itself.
    `fixed-set`: `set_size` sources drawn once from the entries that all points of the same shape have, so
    that these points are measured with the very same packets.
    `accepted`: sources that the stateful rules of all points accept; see Connections for how many.
    `classes`: several classes of packets mixed, each with sources of its own. A flood of them is what limits
    must drop, all but a hundredth of it; of clean ones the receiver's counts by class are what is judged.
    """

    kind: Literal["flood", "clean"]
    family: Family = 4
    frame: int = Field(60, ge=60, le=1514, description="frame size in bytes, without FCS")
    sources: Sources
    source_count: int = Field(
        262_144,
        ge=1,
        le=4_194_304,
        description="distinct near-listed sources; listed ones come from the list",
    )
    set_size: int = Field(1000, ge=1, le=1_000_000, description="sources of a fixed-set")
    connections: Connections = Field(
        "known", description="accepted sources: packets of known connections, or the first of new ones"
    )
    position: Position = Field(
        "uniform",
        description="which entries listed sources hit: all, the first or last 1 % in list order, or none "
        "(miss: near-listed sources, which must all arrive; of a fixed-set, sources that no point lists)",
    )
    ipv6_share: float = Field(
        0.0, ge=0, le=0.5, description="share of IPv6 packets among those of IPv4, of the same kind"
    )
    load: float | None = Field(
        None,
        gt=0,
        le=4,
        description="offered rate as a share of what the control system does flat out; default flat out",
    )
    pps: int | None = Field(None, ge=1, description="offered rate in packets a second; default flat out")
    classes: tuple[TrafficClass, ...] = Field((), description="of sources `classes`")
    generators: Literal[1, 2] = Field(1, description="two: the same from two CPUs at once")

    @property
    def dropped(self) -> bool:
        """Whether a firewall must drop these packets; otherwise every one must reach the server."""
        return self.kind == "flood" and self.position != "miss"

    @property
    def paced(self) -> bool:
        """Whether it is sent at a rate, not flat out."""
        return self.load is not None or self.pps is not None

    @property
    def null_verdict(self) -> Literal["drop", "pass"]:
        """What `xdp-null`, the empty system, must do with this traffic to be its control."""
        return "drop" if self.dropped else "pass"

    @property
    def ipv6_every(self) -> int:
        """Every how many packets one is IPv6; 0: none."""
        return round(1 / self.ipv6_share) if self.ipv6_share else 0

    def problem(self) -> str | None:
        """What in it contradicts itself, in words."""
        placed = ("listed", "fixed-set") if self.position == "miss" else ("listed",)
        if self.position != "uniform" and (self.sources not in placed or self.kind != "flood"):
            return f"position {self.position} is of a flood of {' or '.join(placed)} sources"
        if self.ipv6_share and self.family != 4:
            return "ipv6_share mixes IPv6 into IPv4 traffic, not into IPv6"
        if self.sources == "accepted" and (self.kind, self.family, self.load) != ("clean", 4, None):
            return "accepted sources are of clean IPv4 traffic, flat out"
        if self.sources == "accepted" and self.ipv6_share:
            return "accepted sources are of clean IPv4 traffic, without IPv6"
        if self.connections != "known" and self.sources != "accepted":
            return "connections are opened by accepted sources only"
        return next(self._problems_of_classes(), None)

    def _problems_of_classes(self) -> Iterator[str]:
        if self.load is not None and self.pps is not None:
            yield "a rate is a load or packets a second, not both"
        if (self.sources == "classes") != bool(self.classes):
            yield "sources `classes` go with classes, and these with them"
        if self.classes and (self.family != 4 or self.ipv6_share):
            yield "classes are of IPv4 packets"
        if len({one.name for one in self.classes}) < len(self.classes):
            yield "two classes have the same name"
        if sum(one.share for one in self.classes) > TURNS:
            yield f"shares of classes make more than {TURNS} together"
        if self.load is not None and self.load > 1 and not self.classes:
            yield "a load above 1 is of classes only: what of them is not sent counts as lost"
        if self.generators == 2 and not (self.classes and self.load is None):
            yield "two generators send classes, at no load"
        yield from (why for one in self.classes if (why := one.problem()))

    @property
    def accepted_count(self) -> int:
        """How many sources of the kind `accepted` there are."""
        return self.source_count if self.connections == "opened" else self.set_size


Count = Annotated[int, Field(ge=0, le=4_000_000)]


class Point(Model):
    """One size of the rule set, and what differs there from the rest of the scenario."""

    hosts4: Count = 0
    prefixes4: Count = 0
    hosts6: Count = 0
    prefixes6: Count = 0
    rules: int | None = Field(
        None, ge=0, le=10_000, description=f"stateful rules besides: none, or {SMALLEST} and more"
    )
    rules_mixed: bool = Field(False, description="stateful rules in random order instead of sections")
    connections: Connections | None = Field(None, description="instead of the scenario's")
    family: Family | None = Field(None, description="traffic of this family instead of the scenario's")
    sources: Sources | None = Field(None, description="such sources instead of the scenario's")
    position: Position | None = Field(None, description="this position instead of the scenario's")
    ipv6_share: float | None = Field(None, ge=0, le=0.5, description="instead of the scenario's")
    load: float | None = Field(None, gt=0, le=4, description="instead of the scenario's")
    pps: int | None = Field(None, ge=1, description="instead of the scenario's")
    classes: tuple[TrafficClass, ...] | None = Field(None, description="instead of the scenario's")
    generators: Literal[1, 2] | None = Field(None, description="instead of the scenario's")
    features: Features = None
    limits: tuple[Limit, ...] | None = Field(None, description="instead of those of the scenario's `defence`")
    systems: tuple[SystemName, ...] | None = Field(None, description="only these systems (default: all)")
    systems_in: dict[ProfileName, tuple[SystemName, ...]] = Field(
        {}, description="by profile: of those only these"
    )
    share: float = Field(
        1.0, gt=0, le=1, description="share of the profile's blocks in which it is measured, two at least"
    )
    profiles: tuple[ProfileName, ...] = Field(PROFILES, description="only in these profiles (default: all)")

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """(hosts4, prefixes4, hosts6, prefixes6); points of equal counts share their configuration."""
        return self.hosts4, self.prefixes4, self.hosts6, self.prefixes6

    @property
    def shape(self) -> tuple[bool, ...]:
        """Which kinds of entries there are; the lists of one shape differ in size only, and are nested."""
        return tuple(count > 0 for count in self.counts)

    @property
    def size(self) -> Size | None:
        """Which stateful rules there are; None where the point says nothing of them."""
        return None if self.rules is None else Size(self.rules, self.rules_mixed)

    @property
    def kind(self) -> tuple[object, ...]:
        """Shape and order of stateful rules: points of one kind differ in the number of rules only."""
        return (*self.shape, self.rules is not None, self.rules_mixed)

    @property
    def rules_text(self) -> str:
        """What is configured, in words."""
        counted = zip(("hosts4", "prefixes4", "hosts6", "prefixes6"), self.counts, strict=True)
        texts = [f"{count:,} {kind}" for kind, count in counted if count]
        if self.rules is not None:
            texts.append(f"{self.rules:,} stateful{' (mixed)' if self.rules_mixed else ''}")
        return ", ".join(texts)

    @property
    def total(self) -> int:
        """Entries and stateful rules."""
        return sum(self.counts) + (self.rules or 0)

    def entries_of(self, family: int) -> int:
        """Number of entries of that family."""
        return self.hosts4 + self.prefixes4 if family == 4 else self.hosts6 + self.prefixes6
