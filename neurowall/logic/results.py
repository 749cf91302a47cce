# SPDX-License-Identifier: Apache-2.0
"""What the engine answers. Frozen values; texts are ready to print."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from neurowall.model.counters import Counter
from neurowall.model.errors import Problem
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.limits import Limit, LimitBan, LimitCounters
from neurowall.model.reasons import Reason


@dataclass(frozen=True)
class AddressOutcome:
    """What became of one address or prefix of a block, allow or unblock request.

    outcome: "added", "extended" (it was timed already, or had ended and was remembered), "removed" or
    "unchanged". verdict: of the whole entry now, by lists: "pass", "drop" or None if none decides.
    shadowed_by: after a block, the allow lists that cover it, so that it stays allowed. still_blocked_by:
    after an unblock, the block lists that still drop it. partly: lists of the other verdict that hold entries
    inside a prefix, which therefore go the other way. expires: when the timed entry ends, or would have ended
    if it was removed (Unix time in seconds); None if it is permanent.
    """

    address: str
    outcome: str
    verdict: str | None
    shadowed_by: tuple[str, ...] = ()
    still_blocked_by: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()
    expires: float | None = None


@dataclass(frozen=True)
class Result:
    """The answer to a change. Counts are of entries; generation is the one now in force.

    dry_run: nothing was changed, and this is what would have been; generation is the present one then.
    problems: refused lines that skip_invalid left out. duplicates and host_bits (line numbers) as in
    ParsedList.
    """

    generation: int
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    addresses: tuple[AddressOutcome, ...] = ()
    problems: tuple[Problem, ...] = ()
    duplicates: int = 0
    host_bits: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True)
class ListInfo:
    """One list. origin: "operator", "policy" or "runtime"; override: declared, but replaced at run time.

    monitor: its entries are counted and decide nothing.
    """

    name: str
    verdict: str
    origin: str
    override: bool
    entries4: int
    entries6: int
    monitor: bool = False


@dataclass(frozen=True)
class ListPage:
    """Some entries of a list: IPv4 first, then by length and address. next: the *after* of the next page.

    expires: when each entry ends, Unix time in seconds; None for one that does not.
    """

    info: ListInfo
    entries: tuple[str, ...]
    next: str | None
    expires: tuple[float | None, ...]


@dataclass(frozen=True)
class Usage:
    """How full one kernel map is, in entries."""

    used: int
    capacity: int


@dataclass(frozen=True)
class Status:
    """How the daemon is doing. problems: what is degraded, empty if nothing; warnings: what to look at."""

    generation: int
    engine: str
    lists: tuple[ListInfo, ...]
    interfaces: tuple[InterfaceStatus, ...]
    usage: Mapping[str, Usage]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Counters:
    """What the kernel counted.

    lists: by name of the list that decided, and verdict "pass" or "drop". matched: by list, the packets whose
    source it covers, whoever decided; also for monitor lists, which never do.
    """

    reasons: Mapping[Reason, Counter]
    lists: Mapping[tuple[str, str], Counter]
    matched: Mapping[str, Counter]


@dataclass(frozen=True)
class Cover:
    """An entry of a list that covers the address: the longest one of that list."""

    list: str
    verdict: str
    entry: str


@dataclass(frozen=True)
class Explanation:
    """Why packets from an address get their verdict, as far as lists decide it.

    verdict: "pass", "drop", or None if no list decides. reason: the counter's label. list: the one that
    decides. entry: the longest entry over all lists. class_id: of the class that is counted. covers: every
    list that covers the address, in list order. kernel_entry and kernel_verdict ("none": counted only): what
    the kernel holds now, None if nothing; of nested entries of one class the kernel may name any. in_kernel:
    kernel and intent agree on the class. expires: when the timed entry that decides ends, Unix time in
    seconds. monitored_by: the monitor lists that cover the address. ban: by a limit, which holds unless a
    list allows the address.
    """

    address: str
    verdict: str | None
    reason: str
    list: str | None
    entry: str | None
    class_id: int | None
    covers: tuple[Cover, ...]
    kernel_entry: str | None
    kernel_verdict: str | None
    in_kernel: bool
    generation: int
    expires: float | None = None
    monitored_by: tuple[str, ...] = ()
    ban: LimitBan | None = None


@dataclass(frozen=True)
class LimitInfo:
    """One limit of the policy in force. interfaces: where XDP asks it; unguarded: where nothing does."""

    limit: Limit
    interfaces: tuple[str, ...]
    unguarded: tuple[str, ...]
    counters: LimitCounters


@dataclass(frozen=True)
class StatefulStatus:
    """What nftables enforces.

    table: whether there is one. rules: how many the policy has, None if nftables does not filter. fallback:
    interfaces whose lists it holds. drift_repairs: how often another program's change was taken back.
    """

    table: bool
    rules: int | None
    fallback: tuple[str, ...]
    drift_repairs: int


BanKind = Literal["block", "allow", "limit"]


@dataclass(frozen=True)
class Ban:
    """An entry that an operator blocked or allowed, or a host that a limit banned.

    list: the built-in list that holds it, None of a limit's ban. limit: the one that banned it, None if it is
    gone. expires: Unix time in seconds, None without an end.
    """

    entry: str
    kind: BanKind
    list: str | None
    limit: str | None
    expires: float | None


@dataclass(frozen=True)
class BanPage:
    """Some bans, and the place behind which the next page begins; None at the end."""

    bans: tuple[Ban, ...]
    next: str | None
