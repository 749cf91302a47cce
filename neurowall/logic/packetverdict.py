# SPDX-License-Identifier: Apache-2.0
"""What becomes of one packet, and what must be known of the machine to tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from neurowall.logic.packettext import Packet
from neurowall.logic.results import Explanation
from neurowall.model.policy import ListVerdict

Outcome = Literal["accept", "drop", "reject"]
Hook = Literal["input", "forward", "output"]
Stage = Literal[
    "arrival",
    "essential",
    "spoofing",
    "martian",
    "foreign",
    "bogon",
    "failsafe",
    "source-lists",
    "destination-lists",
    "xdp",
    "destination-nat",
    "route",
    "built-in",
    "state",
    "rules",
    "port-forward",
    "defaults",
    "unfiltered",
    "source-nat",
]
"""Steps in the order of the packet. foreign: its source lives elsewhere; built-in: accepted before rules."""


@dataclass(frozen=True)
class Step:
    """One step. does: what happened to the packet there; name: of the rule, list or NAT entry that did it."""

    stage: Stage
    does: Outcome | Literal["continue", "translate", "count"]
    text: str
    name: str | None = None


@dataclass(frozen=True)
class End:
    """What decided over a packet: as in Verdict."""

    verdict: Outcome
    stage: Stage
    name: str | None = None
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class KernelAnswer:
    """What the XDP program of the interface says, with its maps as they are.

    list: that names the class of the packet; limit: that it is over; both "" if there is none. banned_until:
    Unix time, None if no limit banned the source. agrees: with what the policy says as it is written.
    """

    verdict: str
    reason: str
    list: str
    limit: str
    banned_until: float | None
    agrees: bool


@dataclass(frozen=True)
class Verdict:
    """What becomes of *packet*.

    decided_by and name: the stage and the rule, list, port forward or default that decided. hook: where
    nftables saw it, None if it never did. arrives, leaves: zones, None of an interface that the policy does
    not declare. sent: the packet as it goes on, after address translation; None unless it is accepted.
    limits: what the verdict holds for, such as "while under 10/second of each source".
    """

    packet: Packet
    verdict: Outcome
    decided_by: Stage
    name: str | None
    hook: Hook | None
    arrives: str | None
    leaves: str | None
    sent: Packet | None
    limits: tuple[str, ...]
    steps: tuple[Step, ...]
    arrived_by: str | None = None
    kernel: KernelAnswer | None = None


@dataclass(frozen=True)
class Listed:
    """What the lists say of one address now: "allow", "block" or None, by which entry of which list."""

    verdict: ListVerdict | None = None
    list: str | None = None
    entry: str | None = None
    monitored_by: tuple[str, ...] = ()


def listed_of(found: Explanation) -> Listed:
    """The same from the explanation of an address."""
    verdicts: dict[str | None, ListVerdict] = {"pass": "allow", "drop": "block"}
    verdict = verdicts.get(found.verdict)
    entry = found.entry if verdict else None
    return Listed(verdict, found.list, entry, found.monitored_by)


class RouteAnswer(Protocol):
    """What the kernel would do with a packet; neurowall.kernel.routes.Route is the real one."""

    @property
    def kind(self) -> Literal["local", "unicast", "none"]:
        """For the machine itself, out by *interface*, or nowhere."""

    @property
    def interface(self) -> str | None:
        """By which it leaves."""

    @property
    def source(self) -> str | None:
        """The address that the machine itself would take there."""

    @property
    def why(self) -> str:
        """Why it goes nowhere."""


class Routes(Protocol):
    """Routes and addresses of the machine; neurowall.kernel.routes.KernelRoutes is the real one."""

    def interfaces(self) -> Sequence[str]:
        """All interfaces, by name."""

    def addresses(self) -> Mapping[str, frozenset[str]]:
        """The machine's own addresses by interface."""

    def route(self, destination: str, source: str | None = None, arriving: str | None = None) -> RouteAnswer:
        """The route of a packet that arrives by *arriving*, or that the machine itself sends."""
