# SPDX-License-Identifier: Apache-2.0
"""What can be done with a firewall in operation, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from bench.sut.base import Rules, System

if TYPE_CHECKING:
    from bench.operations.https import Remote
    from bench.rulebook import Rulebook
    from bench.testbed.base import Chain

Verb = Literal["block", "unblock"]
KINDS = ("hosts4", "prefixes4", "hosts6", "prefixes6")
COMMAND_SECONDS = 300.0
"""Longest time that a command of an operator may take."""


@dataclass(frozen=True, eq=False)
class Room(Rules):
    """Rules for a system that is to hold more of them later: `counts` are those to make room for."""

    room: Mapping[str, int]

    @property
    def counts(self) -> dict[str, int]:
        """The larger of what is there and what will come, by kind."""
        return {kind: max(count, self.room.get(kind, 0)) for kind, count in super().counts.items()}


@runtime_checkable
class Policed(Protocol):
    """A system whose stateful rules its operator can put in place of those in force."""

    has_command: bool
    """Whether there is a command for it besides."""

    def written(self, book: Rulebook) -> str:
        """These rules as the operator writes them down."""

    def send(self, text: str) -> None:
        """Hand them over; on return they are in force, or SutError says why not."""

    def put(self, book: Rulebook) -> None:
        """Both."""

    def command(self, book: Rulebook) -> None:
        """The same from a file, by the operator's command."""


@runtime_checkable
class Remoted(Protocol):
    """A system whose API operators elsewhere use too."""

    def listen(self) -> None:
        """Serve them; to be called before `load`."""

    def remote(self) -> Remote:
        """One of them, who connects with the first request; SutError if nobody listens. To be closed."""

    def open_files(self) -> tuple[str, ...]:
        """Names of the files that its daemon has open."""


class Operated(Protocol):
    """A system and its operator. One serves one chain; errors are SutError with what the system said."""

    name: str
    notes: tuple[str, ...]

    @property
    def system(self) -> System:
        """What is operated, for gates and counters."""

    @property
    def socket(self) -> Path | None:
        """The unix socket of its HTTP API, if it has one."""

    def load(self, chain: Chain, rules: Rules, room: int) -> float:
        """Bring it up and load a list, with room for so many addresses more.

        Answers when the operator's command was given (time.monotonic); the list is in force on return, or
        RulesetRejected says why it is not.
        """

    def stage(self, rules: Rules) -> Path:
        """Write the file by which the operator would put this list in place of the one loaded."""

    def replace(self, staged: Path) -> None:
        """Put a staged list in place of the one loaded."""

    def change(self, verb: Verb, addresses: Sequence[str]) -> None:
        """Block or unblock addresses in one go; they are none of the list."""

    def kernel_mib(self) -> float | str:
        """Kernel memory of its rules in MiB, or why that cannot be told."""

    def process_mib(self) -> float | str:
        """Memory of its processes in MiB, map mappings apart, or why there is none."""

    def close(self) -> None:
        """Take it off; safe to call twice."""
