# SPDX-License-Identifier: Apache-2.0
"""The engine's answers as the API's JSON: every member by name, nothing but plain values."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from neurowall.logic.results import (
    AddressOutcome,
    Counters,
    Cover,
    Explanation,
    ListInfo,
    ListPage,
    Result,
    Status,
)
from neurowall.model.counters import Counter
from neurowall.model.interfaces import InterfaceStatus

Json = dict[str, Any]

SHOWN_LINES = 100  # of skipped lines and cleared host bits; the rest is counted
VERDICTS = {"block": "drop", "allow": "pass"}  # what a list's verdict does to a packet


@dataclass
class About:
    """What the API tells of the daemon itself. zones is by interface name.

    policy_problem is why the policy on disk is not the one in force, None if it is.
    """

    instance: str
    version: str
    zones: Mapping[str, str]
    started: float = field(default_factory=time.time)  # seconds since the epoch
    policy_problem: str | None = None

    def warnings(self, status: Status) -> list[str]:
        """Everything an operator should look at, though packets are filtered as intended."""
        return [*status.warnings, *((self.policy_problem,) if self.policy_problem else ())]


def status(about: About, now: Status, counters: Counters) -> Json:
    """Everything that `neurowall status` shows."""
    return {
        "instance": about.instance,
        "version": about.version,
        "state": state(now),
        "generation": now.generation,
        "engine": now.engine,
        "uptime_seconds": round(time.time() - about.started, 3),
        "problems": list(now.problems),
        "warnings": about.warnings(now),
        "interfaces": [interface(each, about.zones) for each in now.interfaces],
        "lists": lists(now.lists, counters),
        "tables": [
            {"table": name, "entries": usage.used, "capacity": usage.capacity}
            for name, usage in now.usage.items()
        ],
        "packets": [
            {"reason": reason.label, "verdict": reason.verdict.label, **asdict(counter)}
            for reason, counter in counters.reasons.items()
        ],
    }


def state(now: Status) -> str:
    """`ok`, or `degraded` if something is not filtered as intended."""
    return "degraded" if now.problems else "ok"


def interface(status: InterfaceStatus, zones: Mapping[str, str]) -> Json:
    """One interface."""
    return {"name": status.name, "zone": zones.get(status.name), **asdict(status)}


def lists(infos: tuple[ListInfo, ...], counters: Counters) -> list[Json]:
    """Every list with what it decided."""
    return [
        list_info(each) | asdict(counters.lists.get((each.name, VERDICTS[each.verdict]), Counter()))
        for each in infos
    ]


def list_info(info: ListInfo) -> Json:
    """One list without its counters."""
    return {
        "name": info.name,
        "verdict": info.verdict,
        "origin": "policy, replaced at run time" if info.override else info.origin,
        "entries": {"4": info.entries4, "6": info.entries6},
    }


def page(page: ListPage) -> Json:
    """Some entries of a list."""
    return {**list_info(page.info), "items": list(page.entries), "next": page.next}


def change(apply: Callable[[], Result]) -> Json:
    """Make a change and tell what it did, with the seconds that it took."""
    begun = time.perf_counter()
    result = apply()
    seconds = time.perf_counter() - begun
    return {
        "generation": result.generation,
        "added": result.added,
        "removed": result.removed,
        "unchanged": result.unchanged,
        "seconds": round(seconds, 6),
        "addresses": [asdict(each) for each in result.addresses],
        "skipped": [asdict(problem) for problem in result.problems[:SHOWN_LINES]],
        "skipped_count": len(result.problems),
        "duplicates": result.duplicates,
        "host_bits": list(result.host_bits[:SHOWN_LINES]),
        "host_bits_count": len(result.host_bits),
        "notes": _notes(result),
    }


def _notes(result: Result) -> list[str]:
    """What an operator would want to hear beside the counts."""
    notes = [note for each in result.addresses for note in _outcome_notes(each)]
    if result.problems:
        first, skipped = result.problems[0], len(result.problems)
        notes.append(
            f"{skipped:,} lines skipped, the first is line {first.line}: {first.text!r}: {first.why}"
        )
    if result.duplicates:
        notes.append(f"{result.duplicates:,} lines repeat an earlier entry")
    if result.host_bits:
        lines = ", ".join(str(line) for line in result.host_bits[:5])
        more = ", ..." if len(result.host_bits) > 5 else ""
        notes.append(f"host bits cleared in {len(result.host_bits):,} lines: {lines}{more}")
    return notes + list(result.warnings)


def _outcome_notes(outcome: AddressOutcome) -> list[str]:
    notes = []
    if outcome.shadowed_by:
        notes.append(f"{outcome.address} still passes: allow list {_names(outcome.shadowed_by)} holds it")
    if outcome.still_blocked_by:
        notes.append(f"{outcome.address} is still blocked by list {_names(outcome.still_blocked_by)}")
    if outcome.partly:
        notes.append(
            f"{outcome.address}: entries of list {_names(outcome.partly)} inside it go the other way"
        )
    return notes


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def explanation(found: Explanation) -> Json:
    """Why an address gets its verdict, as data and as sentences."""
    return {
        "address": found.address,
        "verdict": found.verdict or "pass",
        "reason": found.reason,
        "list": found.list,
        "entry": found.entry,
        "class_id": found.class_id,
        "covers": [asdict(cover) for cover in found.covers],
        "kernel": {
            "entry": found.kernel_entry,
            "verdict": found.kernel_verdict,
            "as_intended": found.in_kernel,
        },
        "generation": found.generation,
        "steps": _steps(found),
    }


def _steps(found: Explanation) -> list[str]:
    steps = [_cover_step(cover, found.address) for cover in found.covers]
    if not steps:
        steps.append("no list holds it")
    steps.append(_verdict_step(found))
    steps.append(_kernel_step(found))
    return steps


def _cover_step(cover: Cover, address: str) -> str:
    through = "by itself" if cover.entry == address else f"through {cover.entry}"
    return f"{cover.verdict} list {cover.list} holds it {through}"


def _verdict_step(found: Explanation) -> str:
    if found.verdict is None:
        return "so its packets pass on to the stack, unless they are malformed"
    if found.verdict == "drop":
        return f"so its packets are dropped, counted as {found.reason}, named after list {found.list}"
    beaten = any(cover.verdict == "block" for cover in found.covers)
    return f"so its packets pass: list {found.list} allows it" + (", and allow beats block" if beaten else "")


def _kernel_step(found: Explanation) -> str:
    held = f"{found.kernel_entry} ({found.kernel_verdict})" if found.kernel_entry else "nothing for it"
    if found.in_kernel:
        return f"the kernel holds {held}, as intended in generation {found.generation}"
    return f"but the kernel holds {held}: a change is under way, or the kernel differs from what is intended"
