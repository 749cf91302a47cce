# SPDX-License-Identifier: Apache-2.0
"""What of XDP's defence a scenario switches on beside the lists, and what limits let through.

The oracle of limits is arithmetic on what the policy says: it shares no code with any limiter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field

from bench.bars import NAME, Model

Feature = Literal["limits", "flows", "events", "spoofing"]
FEATURES: tuple[Feature, ...] = get_args(Feature)
Key = Literal["source", "source-prefix"]
Match = Literal["all", "udp", "tcp-syn"]
Protocol = Literal["udp", "tcp-syn"]

EVENTS = 100
"""Events a second for each reason and CPU, the product's default."""
ADOPT = "0s"
"""Of strict flows: what is out of state is dropped at once, since no connection is there to adopt."""
PREFIX_BITS = 24
"""Prefixes by which limits count here: every class of traffic says how many /24s it comes from."""


class Limit(Model):
    """One limit of a policy, in the policy's own words; it drops."""

    name: str = Field(pattern=f"^{NAME}$")
    key: Key
    match: Match = "all"
    packets_per_second: int = Field(ge=1, le=10_000_000)
    burst: int = Field(ge=1, le=10_000_000)

    def admitted(self, keys: int, seconds: float) -> float:
        """Packets that so many keys get through in a time, each sending more than that from a full bucket."""
        return keys * (self.burst + self.packets_per_second * seconds)

    def covers(self, protocol: Protocol) -> bool:
        """Whether it is asked about such packets."""
        return self.match in ("all", protocol)

    @property
    def refill_seconds(self) -> float:
        """Until an empty bucket is full."""
        return self.burst / self.packets_per_second


class Defence(Model):
    """How each feature is set up where it is on; what is not on is off, whatever the product's default."""

    limits: tuple[Limit, ...] = ()
    flows: Literal["off", "loose", "strict"] = "off"
    events: bool = False
    spoofing: bool = Field(
        False, description="sources inside the server's network, and those that no host can have"
    )

    def only(self, features: Iterable[Feature]) -> Defence:
        """The same with these features alone."""
        kept = set(features)
        return Defence(
            limits=self.limits if "limits" in kept else (),
            flows=self.flows if "flows" in kept else "off",
            events=self.events and "events" in kept,
            spoofing=self.spoofing and "spoofing" in kept,
        )

    @property
    def features(self) -> tuple[Feature, ...]:
        """What is on."""
        on = (bool(self.limits), self.flows != "off", self.events, self.spoofing)
        return tuple(name for name, is_on in zip(FEATURES, on, strict=True) if is_on)

    @property
    def text(self) -> str:
        """What is on, in words."""
        return ", ".join(self.features) or "no feature"

    def refill_seconds(self, protocol: Protocol) -> float:
        """Until every bucket that such packets empty is full again."""
        return max((one.refill_seconds for one in self.limits if one.covers(protocol)), default=0.0)

    def limit(self, key: Key, protocol: Protocol = "udp") -> Limit | None:
        """The strictest in burst that counts such packets by this key."""
        asked = [one for one in self.limits if one.key == key and one.covers(protocol)]
        return min(asked, key=lambda one: one.burst, default=None)

    def admitted(self, protocol: Protocol, sources: int, prefixes: int, seconds: float) -> float | None:
        """Packets that limits let through of sources in so many /24s; None where none is asked."""
        keys = {"source": sources, "source-prefix": prefixes}
        asked = [one.admitted(keys[one.key], seconds) for one in self.limits if one.covers(protocol)]
        return min(asked, default=None)

    def policy(self) -> str:
        """The policy's sections but the interfaces'."""
        sections: dict[str, Any] = {"events": {"per_second": EVENTS if self.events else 0}}
        if self.limits:
            sections["limits"] = [
                one.model_dump() | ({"prefix4": PREFIX_BITS} if one.key == "source-prefix" else {})
                for one in self.limits
            ]
        if self.flows != "off":
            sections["flows"] = {"mode": self.flows, "adopt": ADOPT}
        return yaml.safe_dump(sections, sort_keys=False)


Features = Annotated[
    tuple[Feature, ...] | None,
    Field(description="which features of the scenario's `defence` are on here (default: all of it)"),
]
