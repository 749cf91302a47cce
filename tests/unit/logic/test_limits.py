# SPDX-License-Identifier: Apache-2.0
"""Limits of two policies at once, and an operator who ends bans."""

from dataclasses import replace

from neurowall.logic.guards import between
from neurowall.logic.limits import lifted, limit_infos, limits_between
from neurowall.logic.results import AddressOutcome, Result
from neurowall.model.counters import Counter
from neurowall.model.guards import guards_of
from neurowall.model.limits import Limit, LimitBan, LimitCounters, LimitGuard
from neurowall.model.policy import load_policy
from tests.unit.logic.fake import FakeLimiter

OLD = Limit(name="syn", key="source", match="tcp-syn", packets_per_second=100, burst=50)


def guard(limit: Limit, *interfaces: str) -> LimitGuard:
    """A limit of these interfaces."""
    return LimitGuard(limit, interfaces or ("wan0",))


def test_of_one_that_changes_its_rate_the_stricter_of_both_holds() -> None:
    """Rate, burst, action and place each by itself; in one slot, so that nobody gets a new burst."""
    new = OLD.model_copy(update={"packets_per_second": 200, "burst": 20, "action": "monitor"})
    (merged,) = limits_between([guard(OLD)], [guard(new, "wan1")])
    assert (merged.limit.rate, merged.limit.burst_size, merged.limit.action) == (100, 20, "drop")
    assert merged.interfaces == ("wan1", "wan0")
    assert merged.shape == guard(OLD).shape == guard(new).shape


def test_a_ban_lasts_as_long_as_the_longer_one() -> None:
    """A ban is stricter than a drop, and has a time."""
    short, long = (OLD.model_copy(update={"action": "ban", "ban_ttl": ttl}) for ttl in ("1m", "1h"))
    assert limits_between([guard(long)], [guard(short)])[0].limit.ban_ttl == "1h"
    (merged,) = limits_between([guard(short)], [guard(OLD)])
    assert (merged.limit.action, merged.limit.ban_ttl) == ("ban", "1m")


def test_one_of_another_shape_is_another_limit() -> None:
    """Both are asked: the budgets of one say nothing of the other's."""
    for change in ({"key": "global"}, {"match": "udp"}, {"ports": (443,)}, {"new_only": True}):
        new = OLD.model_copy(update=change)
        assert limits_between([guard(OLD)], [guard(new)]) == (guard(new), guard(OLD))
    bytes_ = Limit(name="syn", key="source", match="tcp-syn", bytes_per_second=10_000)
    assert len(limits_between([guard(OLD)], [guard(bytes_)])) == 2


def test_what_comes_and_goes_holds_meanwhile() -> None:
    """Limits of both policies are in the guards between them, at most twice as many as a policy may have."""
    head = "interfaces: [{name: wan0, zone: external}, {name: lan0, zone: internal}]\n"
    one, other = (
        load_policy(
            f"{head}limits: [{{name: {name}, zones: {zone}, key: source, packets_per_second: 5}}]\n", "p.yaml"
        )
        for name, zone in (("a", "external"), ("b", "internal"))
    )
    middle = between(guards_of(one), guards_of(other))
    assert {(each.limit.name, each.interfaces) for each in middle.limits} == {
        ("a", ("wan0",)),
        ("b", ("lan0",)),
    }


def test_default_bursts() -> None:
    """One second's worth, in bytes at least one packet."""
    assert Limit(name="a", key="global", packets_per_second=7).burst_size == 7
    assert Limit(name="a", key="global", bytes_per_second=100_000).burst_size == 100_000
    assert Limit(name="a", key="global", bytes_per_second=1000).burst_size == 1514


def test_infos_name_interfaces_that_nothing_guards() -> None:
    """Those whose lists nftables holds; counters of a limit that counted nothing yet are zero."""
    limiter = FakeLimiter()
    limiter.counted = {"syn": LimitCounters(dropped=Counter(3, 180))}
    guards = replace(guards_of(load_policy("interfaces: [{name: wan0, zone: external}]\n", "p.yaml")))
    guards = replace(guards, limits=(guard(OLD, "wan0", "wan1"), guard(OLD.model_copy(update={"name": "b"}))))
    first, second = limit_infos(guards, frozenset({"wan1"}), limiter)
    assert (first.interfaces, first.unguarded) == (("wan0",), ("wan1",))
    assert (first.counters.dropped.packets, second.counters) == (3, LimitCounters())


def test_unblock_ends_bans_of_hosts_and_within_prefixes() -> None:
    """What was not in a list counts as removed then, with the end that the ban had."""
    limiter = FakeLimiter()
    for number, address in enumerate(("203.0.113.7", "198.51.100.9", "2001:db8::9")):
        limiter.banned[address] = LimitBan(address, 1000.0 + number, "syn")
    texts = ("203.0.113.7", "198.51.100.0/24", "192.0.2.1", "2001:db8::/64")
    outcomes = tuple(AddressOutcome(text, "unchanged", None) for text in texts)
    answer = lifted(Result(5, unchanged=4, addresses=outcomes), limiter)
    assert [each.outcome for each in answer.addresses] == ["removed", "removed", "unchanged", "removed"]
    assert [each.expires for each in answer.addresses] == [1000.0, 1001.0, None, 1002.0]
    assert (answer.removed, answer.unchanged, limiter.banned) == (3, 1, {})


def test_unblock_of_what_a_list_held_too_counts_once() -> None:
    """The list's own end is what is told."""
    limiter = FakeLimiter()
    limiter.banned["203.0.113.7"] = LimitBan("203.0.113.7", 1000.0, "syn")
    held = AddressOutcome("203.0.113.7", "removed", None, expires=50.0)
    answer = lifted(Result(5, removed=1, addresses=(held,)), limiter)
    assert (answer.removed, answer.addresses, limiter.banned) == (1, (held,), {})
