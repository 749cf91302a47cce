# SPDX-License-Identifier: Apache-2.0
"""Answers about policies, generations, rules and single packets."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, RootModel

from neurowall.management.api.openapi.common import (
    Answer,
    Count,
    Difference,
    Generation,
    Moment,
    Pending,
    Seconds,
)

Text = str


class PolicyGeneration(Answer):
    """A policy that was in force. source: what put it there; file: the name that it came under."""

    generation: Generation
    when: Moment
    source: Literal["start", "apply", "rollback", "reload", "unconfirmed"]
    file: str
    note: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    rules: Count
    lists: Count


class GenerationWithText(PolicyGeneration):
    """The same with the policy file, byte for byte."""

    text: str


class Generations(Answer):
    """Policies that were in force, newest first. next: the `after` of the older ones, null at the end.

    oldest_kept: those from it on can come back. history: whether the database could be asked for older ones.
    """

    generations: list[PolicyGeneration]
    next: Generation | None
    in_force: Generation
    oldest_kept: Generation | None
    history: Literal["ok", "unavailable"]


class GenerationDiff(Answer):
    """What differs between two generations: in words, and as a unified diff of their files."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "from": 12,
                    "to": 14,
                    "differences": [
                        {
                            "sign": "+",
                            "part": "rules",
                            "name": "web",
                            "text": "accept tcp 443",
                        }
                    ],
                    "text_diff": "--- generation 12\n+++ generation 14\n@@ -4,0 +5,1 @@\n+...",
                }
            ]
        }
    )

    from_: Generation = Field(alias="from")
    to: Generation
    differences: list[Difference]
    text_diff: str


class PolicyNow(GenerationWithText):
    """The policy in force. confirmed: false while it waits for that."""

    confirmed: bool
    pending: Pending | None
    warnings: list[str]


class Confirmed(PolicyGeneration):
    """The policy that is confirmed now, or with dry_run would be."""

    dry_run: bool
    confirmed: Literal[True]
    pending: None
    warnings: list[str]


class PolicyChange(Answer):
    """What a change of the policy did, or with dry_run would do. objects: of the nftables table."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "generation": 19,
                    "dry_run": False,
                    "differences": [
                        {
                            "sign": "+",
                            "part": "rules",
                            "name": "web",
                            "text": "accept tcp 443",
                        }
                    ],
                    "added": 0,
                    "removed": 0,
                    "objects": 2,
                    "seconds": 0.051,
                    "pending": {"seconds": 60.0, "generation": 19, "revert_to": 18},
                    "warnings": [],
                }
            ]
        }
    )

    generation: Generation
    dry_run: bool
    differences: list[Difference]
    added: Count
    removed: Count
    objects: Count
    seconds: Seconds
    pending: Pending | None
    warnings: list[str]


class PolicySchema(RootModel[dict[str, Any]]):
    """The JSON Schema of policy files."""


class RuleRow(Answer):
    """A rule, port forward, default or built-in rule; counts are null where there is no counter."""

    kind: Literal["rule", "port-forward", "default", "built-in"]
    name: str
    action: Literal["accept", "drop", "reject"] | None
    monitor: bool
    enabled: bool
    packets: Count | None
    bytes: Count | None
    text: str


class Rules(Answer):
    """Rules in their order. filters: whether nftables filters at all."""

    filters: bool
    rules: list[RuleRow]


class NatRow(Answer):
    """One translation. what: all that the policy says of it, by the policy's names.

    packets, bytes: of the first packets of connections by a port forward; null of the other kinds.
    """

    kind: Literal["port-forward", "one-to-one", "source", "masquerade"]
    name: str
    text: str
    what: dict[str, Any]
    packets: Count | None
    bytes: Count | None


class NatTable(Answer):
    """Address translation: destinations in the order in which they are asked, then sources."""

    nat: list[NatRow]


class XdpSays(Answer):
    """What the program of the interface makes of the packet, with its maps as they are."""

    verdict: str
    reason: str
    list_: str = Field(alias="list")
    limit: str
    banned_until: float | None
    agrees: bool


class PacketStep(Answer):
    """What happened to the packet at one stage."""

    stage: str
    does: Literal["accept", "drop", "reject", "continue", "translate", "count"]
    text: str
    name: str | None


class PacketExplanation(Answer):
    """What becomes of a packet. hook: where nftables saw it; sent: as it goes on, null unless accepted."""

    packet: str
    verdict: Literal["accept", "drop", "reject"]
    decided_by: str
    name: str | None
    hook: Literal["input", "forward", "output"] | None
    arrives: str | None
    leaves: str | None
    sent: str | None
    limits: list[str]
    summary: str
    xdp: XdpSays | None
    steps: list[PacketStep]
