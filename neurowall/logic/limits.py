# SPDX-License-Identifier: Apache-2.0
"""Limits: what is in force while a policy changes, what they counted, and bans that an operator ends."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

from neurowall.logic.dataplane import LimitPlane
from neurowall.logic.results import AddressOutcome, LimitInfo, Result
from neurowall.model.guards import Guards
from neurowall.model.limits import LimitAction, LimitBan, LimitCounters, LimitGuard

_STRICTNESS: tuple[LimitAction, ...] = ("monitor", "drop", "ban")


def limits_between(old: Sequence[LimitGuard], new: Sequence[LimitGuard]) -> tuple[LimitGuard, ...]:
    """Those of both. Of one that only changed its rate, burst, action or zones: the stricter of each."""
    before = {guard.shape: guard for guard in old}
    merged = [_strictest(before.pop(guard.shape, guard), guard) for guard in new]
    return (*merged, *before.values())


def _strictest(old: LimitGuard, new: LimitGuard) -> LimitGuard:
    if old == new:
        return new
    a, b = old.limit, new.limit
    action = max(a.action, b.action, key=_STRICTNESS.index)
    bans = [each for each in (a, b) if each.action == action]
    limit = b.model_copy(
        update={
            "bytes_per_second" if b.counts_bytes else "packets_per_second": min(a.rate, b.rate),
            "burst": min(a.burst_size, b.burst_size),
            "action": action,
            "ban_ttl": max(bans, key=lambda each: each.ban_seconds).ban_ttl,
        }
    )
    return LimitGuard(limit, tuple(dict.fromkeys((*new.interfaces, *old.interfaces))))


def limit_infos(guards: Guards, fallback: Collection[str], plane: LimitPlane) -> tuple[LimitInfo, ...]:
    """Each limit with its counters; nothing asks it on the interfaces of *fallback*."""
    counted = plane.counters() if guards.limits else {}
    return tuple(
        LimitInfo(
            each.limit,
            tuple(name for name in each.interfaces if name not in fallback),
            tuple(name for name in each.interfaces if name in fallback),
            counted.get(each.limit.name, LimitCounters()),
        )
        for each in guards.limits
    )


def lifted(result: Result, plane: LimitPlane) -> Result:
    """The answer to an unblock, with the bans that it ends too: of hosts, and all within prefixes.

    One of a dry run tells of them and ends none.
    """
    if not plane.ban_count():
        return result
    bans = plane.bans()
    lift = plane.ban if result.dry_run else plane.lift
    outcomes = tuple(_lifted(each, bans, lift) for each in result.addresses)
    ended = sum(new.outcome != old.outcome for new, old in zip(outcomes, result.addresses, strict=True))
    return replace(
        result, addresses=outcomes, removed=result.removed + ended, unchanged=result.unchanged - ended
    )


def _lifted(
    outcome: AddressOutcome, bans: Sequence[LimitBan], lift: Callable[[str], object]
) -> AddressOutcome:
    network = ip_network(outcome.address)
    inside = [ban for ban in bans if ip_address(ban.address) in network]
    ended = [ban for ban in inside if lift(ban.address)]
    if not ended or outcome.outcome == "removed":
        return outcome
    return replace(outcome, outcome="removed", expires=max(ban.until for ban in ended))
