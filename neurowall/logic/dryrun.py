# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a packet in words, beside what is said by the policy as it is written.

The program of the interface is asked, with the maps as they are now: so limits, bans and flows count, which
the policy alone does not tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from neurowall.logic.packetverdict import KernelAnswer, Stage, Step, Verdict
from neurowall.model.dryrun import DryRun
from neurowall.model.image import ClassDef
from neurowall.model.limits import LimitBan
from neurowall.model.reasons import Reason

_GUARD: tuple[Stage, ...] = (
    *("arrival", "essential", "spoofing", "martian", "foreign", "bogon", "failsafe"),
    *("source-lists", "destination-lists"),
)
_DROPS = {
    "spoofing": Reason.SPOOFED,
    "martian": Reason.MARTIAN,
    "foreign": Reason.SPOOFED,
    "bogon": Reason.BOGON,
    "source-lists": Reason.BLOCK_LIST,
    "destination-lists": Reason.DESTINATION_BLOCK_LIST,
}
_LATER = (Reason.BANNED, Reason.LIMITED, Reason.OUT_OF_STATE, Reason.BAD_SEQUENCE)
"""Drops of what comes after the lists, of which the policy as it is written says nothing."""


def with_kernel(
    found: Verdict, answer: DryRun, classes: Mapping[int, ClassDef], ban: LimitBan | None
) -> Verdict:
    """The verdict with the kernel's step where XDP has its place; and its drop, if only it knows of one."""
    said = expected(found)
    agrees = _agree(said, answer.reason)
    definition = classes.get(answer.class_id)
    listed = (definition.list if definition else None) or ""
    verdict, until = answer.reason.verdict.label, ban.until if ban else None
    kernel = KernelAnswer(verdict, answer.reason.label, listed, answer.limit, until, agrees)
    step = Step("xdp", "drop" if kernel.verdict == "drop" else "continue", _text(kernel, said), kernel.reason)
    ahead = [each for each in found.steps if each.stage in _GUARD]
    if answer.reason in _LATER and agrees:
        steps = (*ahead, step)
        return replace(
            found, verdict="drop", decided_by="xdp", name=kernel.reason, hook=None, leaves=None, sent=None,
            limits=(), steps=steps, kernel=kernel,
        )  # fmt: skip
    behind = found.steps[len(ahead) :]
    return replace(found, steps=(*ahead, step, *behind), kernel=kernel)


def expected(found: Verdict) -> Reason:
    """The reason under which XDP counts the packet, by the steps that the policy gives it."""
    if found.decided_by in _DROPS:
        return _DROPS[found.decided_by]
    steps = {step.stage: step for step in found.steps}
    if "essential" in steps:
        return _essential(found)
    if "failsafe" in steps:
        return Reason.FAILSAFE
    for stage, reason in (
        ("source-lists", Reason.ALLOW_LIST),
        ("destination-lists", Reason.DESTINATION_ALLOW_LIST),
    ):
        if stage in steps and steps[stage].name:
            return reason
    return _unlisted(found)


def _essential(found: Verdict) -> Reason:
    packet = found.packet
    if packet.protocol == "udp":
        return Reason.DHCP
    is_neighbour = packet.icmp_type is not None and 133 <= packet.icmp_type <= 137
    return Reason.NEIGHBOUR_DISCOVERY if is_neighbour else Reason.MULTICAST_LISTENER


def _unlisted(found: Verdict) -> Reason:
    packet = found.packet
    if packet.protocol in ("gre", "ipip", "ipv6"):
        return Reason.TUNNEL
    if packet.protocol == "icmp" and packet.icmp_type in (3, 4, 5, 11, 12):
        return Reason.ICMP_ERROR
    if packet.protocol == "icmpv6" and packet.icmp_type is not None and packet.icmp_type < 128:
        return Reason.ICMP_ERROR
    return Reason.DEFAULT


def _agree(said: Reason, answer: Reason) -> bool:
    """Whether both reasons can be right; what comes after the lists may add to that of the policy."""
    open_ends: Sequence[Reason] = (
        *(Reason.DEFAULT, Reason.TUNNEL, Reason.ICMP_ERROR),
        *(Reason.ALLOW_LIST, Reason.DESTINATION_ALLOW_LIST),
    )
    if said == answer or (answer in _LATER and said in open_ends):
        return not (answer is Reason.BANNED and said is Reason.ALLOW_LIST)
    return answer is Reason.FLOW and said is Reason.DEFAULT


def _text(kernel: KernelAnswer, said: Reason) -> str:
    does = "drops it" if kernel.verdict == "drop" else "lets it pass"
    text = f"the program in the kernel {does}: {kernel.reason}"
    if kernel.list:
        text += f" ({kernel.list})"
    if kernel.limit:
        text += f", over limit {kernel.limit}"
    if not kernel.agrees:
        text += f"; by the policy it should be {said.label}: the two disagree, a fault of Neurowall's"
    return text
