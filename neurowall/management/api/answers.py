# SPDX-License-Identifier: Apache-2.0
"""The engine's answers as the API's JSON: every member by name, nothing but plain values."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from neurowall.logic.results import (
    AddressOutcome,
    Counters,
    Cover,
    Explanation,
    ListInfo,
    ListPage,
    Result,
    Status,
    Usage,
)
from neurowall.management.sites import whole_site
from neurowall.management.times import ending, in_words
from neurowall.model.counters import Counter
from neurowall.model.fields import OPERATOR_ALLOW, OPERATOR_BLOCK, TIMED_ALLOW, TIMED_BLOCK
from neurowall.model.history import StorageFacts
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.policy import Policy
from neurowall.model.reasons import Reason

Json = dict[str, Any]

_LOGGED = ("generation", "added", "removed", "seconds")
SHOWN_LINES = 100  # of skipped lines, cleared host bits and notes; the rest is counted
_TAKEN_OUT_OF = {"unblock": (OPERATOR_BLOCK, TIMED_BLOCK), "unallow": (OPERATOR_ALLOW, TIMED_ALLOW)}
VERDICTS = {"block": "drop", "allow": "pass"}  # what a list's verdict does to a packet

log = logging.getLogger(__name__)


@dataclass
class About:
    """What the API tells of the daemon itself. zones is by interface name.

    policy_problem is why the policy on disk is not the one in force, None if it is; certificate_problem the
    same of the certificate. housekeeping_problem is why ended entries are not taken out, None if they are.
    capacity is what the policy in force asks for. storage tells of the database.
    """

    instance: str
    version: str
    zones: Mapping[str, str]
    started: float = field(default_factory=time.time)  # seconds since the epoch
    policy_problem: str | None = None
    certificate_problem: str | None = None
    housekeeping_problem: str | None = None
    capacity: Mapping[str, int] = field(default_factory=dict)
    storage: Callable[[], StorageFacts] | None = None

    def of(self, policy: Policy) -> Self:
        """The same daemon with *policy* in force."""
        zones = {interface.name: interface.zone for interface in policy.interfaces}
        return replace(self, zones=zones, capacity=policy.capacity.model_dump(exclude={"grow"}))

    def say_housekeeping(self, problem: str | None) -> None:
        """Note why ended entries are not taken out; None if they are."""
        self.housekeeping_problem = problem

    def problems(self, status: Status) -> list[str]:
        """What is wrong, with the packets or with the daemon."""
        return [*status.problems, *((self.housekeeping_problem,) if self.housekeeping_problem else ())]

    def warnings(self, status: Status) -> list[str]:
        """Everything an operator should look at, though packets are filtered as intended."""
        storage = self.storage().problem if self.storage else None
        return [*status.warnings, *filter(None, (self.policy_problem, self.certificate_problem, storage))]


def status(about: About, now: Status, counters: Counters, next_expiry: float | None) -> Json:
    """Everything that `neurowall status` shows."""
    return {
        "instance": about.instance,
        "version": about.version,
        "state": state(about, now),
        "generation": now.generation,
        "engine": now.engine,
        "uptime_seconds": round(time.time() - about.started, 3),
        "problems": about.problems(now),
        "warnings": about.warnings(now),
        "interfaces": [interface(each, about.zones) for each in now.interfaces],
        "lists": lists(now.lists, counters),
        "storage": _storage(about.storage()) if about.storage else None,
        "timed": {**timed_entries(now.lists), "next": ending(next_expiry)},
        "tables": [_table(about, name, usage) for name, usage in now.usage.items()],
        "packets": [
            {"reason": reason.label, "verdict": reason.verdict.label, **asdict(counter)}
            for reason, counter in counters.reasons.items()
        ],
    }


def _storage(facts: StorageFacts) -> Json:
    """The database: bytes is None until it was asked, problem None while it works."""
    return {
        "backend": facts.backend,
        "problem": facts.problem,
        "bytes": facts.size,
        "audit_queued": facts.audit_queued,
        "waiting": facts.waiting,
        "lost": facts.lost,
    }


def state(about: About, now: Status) -> str:
    """`ok`, or `degraded` if something is wrong."""
    return "degraded" if about.problems(now) else "ok"


def timed_entries(infos: tuple[ListInfo, ...]) -> dict[str, int]:
    """How many timed blocks and allows there are."""
    sizes = {each.name: each.entries4 + each.entries6 for each in infos}
    return {"block": sizes.get(TIMED_BLOCK, 0), "allow": sizes.get(TIMED_ALLOW, 0)}


def _table(about: About, name: str, usage: Usage) -> Json:
    """One kernel table; grown_from is the policy's capacity if the table outgrew it, else None."""
    declared = about.capacity.get(name, usage.capacity)
    return {
        "table": name,
        "entries": usage.used,
        "capacity": usage.capacity,
        "grown_from": declared if usage.capacity > declared else None,
    }


def interface(status: InterfaceStatus, zones: Mapping[str, str]) -> Json:
    """One interface."""
    return {"name": status.name, "zone": zones.get(status.name), **asdict(status)}


def lists(infos: tuple[ListInfo, ...], counters: Counters) -> list[Json]:
    """Every list with what it decided and, whoever decided, what it matched."""
    return [list_info(each) | _counted(each, counters) for each in infos]


def _counted(info: ListInfo, counters: Counters) -> Json:
    decided = counters.lists.get((info.name, VERDICTS[info.verdict]), Counter())
    matched = counters.matched.get(info.name, Counter())
    return {
        **asdict(decided),
        "matched_packets": matched.packets,
        "matched_bytes": matched.bytes,
    }


def list_info(info: ListInfo) -> Json:
    """One list without its counters."""
    return {
        "name": info.name,
        "verdict": info.verdict,
        "monitor": info.monitor,
        "origin": "policy, replaced at run time" if info.override else info.origin,
        "entries": {"4": info.entries4, "6": info.entries6},
    }


def page(page: ListPage) -> Json:
    """Some entries of a list; timed has those of them that end by themselves."""
    timed = [
        {"entry": entry, **ending(expires)}
        for entry, expires in zip(page.entries, page.expires, strict=True)
        if expires is not None
    ]
    return {**list_info(page.info), "items": list(page.entries), "timed": timed, "next": page.next}


def change(apply: Callable[[], Result], verb: str = "", *, timed: bool = False) -> Json:
    """Make a change and tell what it did, with the seconds that it took.

    *verb* is the change of single addresses that it is, if it is one; *timed*: it was asked for a time.
    """
    begun = time.perf_counter()
    result = apply()
    seconds = time.perf_counter() - begun
    return {
        "generation": result.generation,
        "dry_run": result.dry_run,
        "added": result.added,
        "extended": sum(each.outcome == "extended" for each in result.addresses),
        "removed": result.removed,
        "unchanged": result.unchanged,
        "seconds": round(seconds, 6),
        "addresses": [_outcome(each) for each in result.addresses],
        "skipped": [asdict(problem) for problem in result.problems[:SHOWN_LINES]],
        "skipped_count": len(result.problems),
        "duplicates": result.duplicates,
        "host_bits": list(result.host_bits[:SHOWN_LINES]),
        "host_bits_count": len(result.host_bits),
        "notes": _address_notes(result, verb, timed=timed) + _list_notes(result),
    }


def logged_change(what: str, apply: Callable[[], Result], verb: str = "", *, timed: bool = False) -> Json:
    """Make a change as `change` does, and log it as *what* unless it was a dry run."""
    answer = change(apply, verb, timed=timed)
    if not answer["dry_run"]:
        log.info("%s: generation %d, %d added, %d removed, %.3f s", what, *map(answer.get, _LOGGED))
    return answer


def _outcome(outcome: AddressOutcome) -> Json:
    """One address; whole_64 is the prefix to ban instead of a host that may take another address there."""
    banned = outcome.outcome != "removed" and outcome.verdict == "drop"
    return {
        **asdict(outcome),
        **ending(outcome.expires),
        "whole_64": whole_site(outcome.address) if banned else None,
    }


def _address_notes(result: Result, verb: str, *, timed: bool) -> list[str]:
    """What an operator would want to hear of single addresses."""
    notes = []
    for each in result.addresses:
        if each.outcome == "unchanged":
            notes += _unchanged_note(each, verb, timed=timed)
        notes += _outcome_notes(each)
    more = len(notes) - SHOWN_LINES
    return [*notes[:SHOWN_LINES], f"and {more:,} more"] if more > 0 else notes


def _unchanged_note(outcome: AddressOutcome, verb: str, *, timed: bool) -> list[str]:
    """Why nothing happened, where that is not what was asked for."""
    if verb in _TAKEN_OUT_OF:
        permanent, other = _TAKEN_OUT_OF[verb]
        return [f"{outcome.address} itself is in neither {permanent} nor {other}: nothing was removed"]
    if timed and outcome.expires is None:
        return [
            f"{outcome.address} is listed without an end already and stays so: take it out to give it one"
        ]
    return []


def _list_notes(result: Result) -> list[str]:
    """What an operator would want to hear of lines that were not taken as they are."""
    notes = []
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
        "verdict": _packets_get(found),
        "reason": Reason.BANNED.label if _is_banned(found) else found.reason,
        "list": found.list,
        "entry": found.entry,
        **ending(found.expires),
        "ban": {"limit": found.ban.limit or None, **ending(found.ban.until)} if found.ban else None,
        "monitored_by": list(found.monitored_by),
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


def _packets_get(found: Explanation) -> str:
    """`drop` or `pass`; of a source that no list, or only monitor lists hold, the lists decide nothing."""
    return "drop" if found.verdict == "drop" or _is_banned(found) else "pass"


def _is_banned(found: Explanation) -> bool:
    """Whether a limit's ban is what decides: lists are asked first, and one that allows is not overruled."""
    return found.ban is not None and found.verdict is None


def _steps(found: Explanation) -> list[str]:
    steps = [_cover_step(cover, found) for cover in found.covers]
    if not steps:
        steps.append("no list holds it")
    steps.append(_verdict_step(found))
    if found.expires is not None:
        steps.append(f"that lasts another {in_words(ending(found.expires))}")
    steps.append(_kernel_step(found))
    return steps


def _cover_step(cover: Cover, found: Explanation) -> str:
    through = "by itself" if cover.entry == found.address else f"through {cover.entry}"
    monitored = " and only counts it: it is a monitor list" if cover.list in found.monitored_by else ""
    return f"{cover.verdict} list {cover.list} holds it {through}{monitored}"


def _verdict_step(found: Explanation) -> str:
    if found.verdict == "drop":
        return f"so its packets are dropped, counted as {found.reason}, named after list {found.list}"
    if found.ban and _is_banned(found):
        by = f"limit {found.ban.limit}" if found.ban.limit else "a limit that is gone"
        return f"{by} banned it for another {in_words(ending(found.ban.until))}, so its packets are dropped"
    if found.verdict != "pass":
        return "so its packets pass on to the stack, unless they are malformed"
    beaten = any(cover.verdict == "block" and cover.list not in found.monitored_by for cover in found.covers)
    return f"so its packets pass: list {found.list} allows it" + (", and allow beats block" if beaten else "")


def _kernel_step(found: Explanation) -> str:
    does = {"none": "decides nothing", None: "of unknown meaning"}.get(
        found.kernel_verdict, found.kernel_verdict
    )
    held = f"{found.kernel_entry} ({does})" if found.kernel_entry else "nothing for it"
    if found.in_kernel:
        return f"the kernel holds {held}, as intended in generation {found.generation}"
    return f"but the kernel holds {held}: a change is under way, or the kernel differs from what is intended"
