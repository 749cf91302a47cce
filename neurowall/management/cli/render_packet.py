# SPDX-License-Identifier: Apache-2.0
"""What becomes of one packet: as JSON, as one sentence, and drawn for people."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from neurowall.logic.packetverdict import Verdict
from neurowall.model.shown import shown

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]

_STYLES = {"accept": "green", "drop": "red", "reject": "red", "translate": "cyan", "count": "yellow"}
_DOES = {"accept": "accepted", "drop": "dropped", "reject": "rejected"}


def packet_answer(found: Verdict) -> Json:
    """The API's answer; `steps` are in the order of the packet."""
    return {
        "packet": str(found.packet),
        "verdict": found.verdict,
        "decided_by": found.decided_by,
        "name": found.name,
        "hook": found.hook,
        "arrives": found.arrives,
        "leaves": found.leaves,
        "sent": str(found.sent) if found.sent else None,
        "limits": list(found.limits),
        "summary": sentence(found),
        "xdp": asdict(found.kernel) if found.kernel else None,
        "steps": [asdict(step) for step in found.steps],
    }


def sentence(found: Verdict) -> str:
    """The verdict and what decided it, in one sentence."""
    text = f"{found.packet} is {_DOES[found.verdict]} by {_decider(found)}"
    if found.limits:
        text += f" {' and '.join(found.limits)}"
    if found.sent and found.sent.ends != found.packet.ends:
        text += f", and goes on as {found.sent.ends}"
    return text


def _decider(found: Verdict) -> str:
    kinds = {
        "rules": f"rule {found.name}",
        "port-forward": f"port forward {found.name}",
        "source-lists": f"list {found.name}, which holds its source",
        "destination-lists": f"list {found.name}, which holds its destination",
        "spoofing": f"the spoofing check of {found.name}",
        **dict.fromkeys(("martian", "foreign", "bogon"), f"the origin checks of {found.name}"),
        "state": f"its state, {found.name}",
        "route": "the kernel, which has no way for it",
        "unfiltered": "default: the policy has neither rules nor defaults",
        "failsafe": "failsafe",
        "xdp": f"the program in the kernel: {found.name}",
    }
    return kinds.get(found.decided_by, str(found.name))


def packet(console: "Console", answer: Json) -> None:
    """Every step, then the verdict."""
    width = max(len(step["stage"]) for step in answer["steps"])
    for step in answer["steps"]:
        console.print(f"{shown(step['stage']):<{width}}  ", end="", markup=False, highlight=False)
        _line(console, step["text"], _STYLES.get(step["does"], ""))
    _line(console, answer["summary"], f"bold {_STYLES[answer['verdict']]}")


def _line(console: "Console", text: str, style: str) -> None:
    """Text of the policy is printed as it is: never read as markup, never wrapped."""
    console.print(shown(text), style=style, markup=False, highlight=False, soft_wrap=True)
