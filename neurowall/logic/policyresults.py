# SPDX-License-Identifier: Apache-2.0
"""What the engine answers about policies and their generations."""

from dataclasses import dataclass
from typing import Literal

Source = Literal["start", "apply", "rollback", "reload", "unconfirmed"]
Sign = Literal["+", "-", "~"]


@dataclass(frozen=True)
class DiffLine:
    """A difference between two policies. part: such as `rules`; name: which one; text: what differs."""

    sign: Sign
    part: str
    name: str
    text: str


@dataclass(frozen=True)
class GenerationInfo:
    """One policy that was in force.

    when: Unix time in seconds. source: what put it in force. text: the policy file, empty where only a table
    of generations was asked for.
    """

    generation: int
    when: float
    source: Source
    filename: str
    note: str
    sha256: str
    rules: int
    lists: int
    text: str = ""


@dataclass(frozen=True)
class Pending:
    """A policy that is taken back unless confirmed. seconds: how long from now; revert_to: generation."""

    seconds: float
    generation: int
    revert_to: int


@dataclass(frozen=True)
class PolicyInForce:
    """The policy in force. confirmed: False while *pending* runs."""

    info: GenerationInfo
    pending: Pending | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PolicyChange:
    """What a change of the policy did, or with dry_run would do.

    added, removed: list entries. objects: chains, maps and counters of the nftables table
    that change. seconds: what it took.
    """

    generation: int
    dry_run: bool
    differences: tuple[DiffLine, ...]
    added: int
    removed: int
    objects: int
    seconds: float
    pending: Pending | None = None
    warnings: tuple[str, ...] = ()
