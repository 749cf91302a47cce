# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Iterator
from typing import Any

import pytest

from neurowall.logic.stateful.fallback import Fallback, fallback, packets_by_reason
from neurowall.logic.stateful.fallbackchains import COUNTED, counter_name
from neurowall.model.counters import Counter
from neurowall.model.errors import CapacityError
from neurowall.model.guards import Guard, Guards
from neurowall.model.policy import Failsafe
from neurowall.model.reasons import Reason
from neurowall.model.ruleset import Chain, Hook, Ruleset
from tests.unit.logic.oracle import RawList
from tests.unit.logic.stateful.test_listelements import held


def guard(name: str, *networks: str, external: bool = False) -> Guard:
    """One interface."""
    return Guard(
        name, "auto", external, "drop", networks or None, checks_destination=not external,
        spoofing=external, foreign=("10.0.0.0/8", "10.1.0.0/16") if external else (), bogons=external,
    )  # fmt: skip


def service(interface: str, source: str, address: str, packets: int = 1000) -> Failsafe:
    """A way in to port 22."""
    return Failsafe(interface=interface, source=source, address=address, port=22, packets_per_second=packets)


GUARDS = Guards(
    (
        guard("wan0", external=True),
        guard("lan0", "10.0.0.0/8", "10.1.0.0/16", "2001:db8:1::/48"),
        guard("dmz0", "192.0.2.0/24"),
        guard("lab0"),
    ),
    (
        service("lan0", "10.0.0.0/8", "10.0.0.1", 10),
        service("lan0", "10.2.0.0/16", "10.0.0.1", 30),
        service("lan0", "10.3.0.0/16", "10.0.0.2"),
        service("lan0", "192.0.2.9", "10.0.0.1"),
        service("lan0", "2001:db8:1::/48", "2001:db8:1::1"),
        service("dmz0", "192.0.2.0/24", "192.0.2.1"),
    ),
)
LISTS = (
    RawList("feed", "block", ("198.51.100.0/24", "203.0.113.7", "2001:db8:bad::/48")),
    RawList("friends", "allow", ("198.51.100.9",)),
    RawList("watched", "block", ("192.0.2.77",), monitor=True),
)
ALL = ("wan0", "lan0", "dmz0", "lab0")


def made(*names: str, lists: tuple[RawList, ...] = LISTS, limit: int = 100, now: float = 0.0) -> Fallback:
    """The fallback for some of its interfaces."""
    return fallback(GUARDS, names, [held(raw) for raw in lists], limit, now)


def elements(found: Fallback, name: str) -> set[str]:
    """What one set holds."""
    return set(Ruleset(sets=found.sets).by_name[name].elements)


def rules(found: Fallback, name: str) -> list[Any]:
    """The rules of one chain, [] without one."""
    chain = Ruleset(chains=found.chains).chain(name)
    return [json.loads(rule) for rule in chain.rules] if chain else []


def mentioned(value: Any, key: str) -> Iterator[Any]:
    """Every value of *key* anywhere in an expression."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from mentioned(each, key)


@pytest.mark.parametrize("names", [(), ("eth9",)])
def test_without_such_an_interface_there_is_nothing(names: tuple[str, ...]) -> None:
    """Neither chains nor sets nor counters: the table would cost every packet something."""
    assert made(*names) == Fallback()
    assert not made(*names).into(Ruleset())


def test_each_interface_is_asked_for_what_it_is() -> None:
    """Those named, those with networks, those with destinations checked; no network inside another."""
    found = made("wan0", "lan0", "lab0")
    assert elements(found, "fallback-interfaces") == {'"wan0"', '"lan0"', '"lab0"'}
    assert elements(found, "fallback-checked") == {'"lan0"'}
    assert elements(found, "fallback-internal") == {'"lan0"', '"lab0"'}
    (four,) = map(json.loads, elements(found, "fallback-networks4"))
    assert four == {"concat": ["lan0", {"prefix": {"addr": "10.0.0.0", "len": 8}}]}
    (six,) = map(json.loads, elements(found, "fallback-networks6"))
    assert six == {"concat": ["lan0", {"prefix": {"addr": "2001:db8:1::", "len": 48}}]}


def test_everything_hangs_at_one_hook() -> None:
    """Before connections are tracked; a packet of another interface meets one rule."""
    hooked = [chain for chain in made(*ALL).chains if chain.hook]
    assert hooked == [Chain("fallback", hooked[0].rules, Hook("filter", "prerouting", -310, "accept"))]
    assert len(hooked[0].rules) == 1


def test_entries_of_one_service_share_one_limit() -> None:
    """The largest of theirs; sources that others cover are left out."""
    found = rules(made("lan0"), "fallback-failsafe")
    assert len(found) == 3
    (sources,) = [each["match"]["right"] for each in found[0] if "set" in str(each) and "match" in each]
    assert sources == {"set": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "192.0.2.9"]}
    assert [each for each in found[0] if "limit" in each] == [
        {"limit": {"rate": 1000, "per": "second", "burst": 1000}}
    ]


def test_the_failsafe_of_other_interfaces_is_theirs() -> None:
    """XDP asks for it there."""
    assert not rules(made("wan0", "lab0"), "fallback-failsafe")
    assert next(mentioned(rules(made("dmz0"), "fallback-failsafe"), "right")) == "dmz0"


def test_destinations_are_asked_for_inside_alone() -> None:
    """An external interface alone has no chain for them, nor has a family without lists."""
    names = {chain.name for chain in made("wan0").chains}
    assert not any("destination" in name for name in names)
    only4 = made("lan0", lists=LISTS[1:])
    assert {c.name for c in only4.chains if "destination" in c.name} == {"fallback-destination4"}


def test_everything_that_is_named_is_there() -> None:
    """Counters, sets and chains that rules name, and nothing under a name that others could have."""
    for names in (ALL, ("wan0",), ("lan0",)):
        found = made(*names)
        written = [json.loads(rule) for chain in found.chains for rule in chain.rules]
        assert set(mentioned(written, "counter")) <= set(found.counters)
        assert set(mentioned(written, "target")) == {c.name for c in found.chains if not c.hook}
        sets = {str(each) for each in mentioned(written, "right") if str(each).startswith("@")}
        assert sets == {f"@{each.name}" for each in found.sets}
        assert len(set(found.counters)) == len(found.counters)
        every = (*found.counters, *(each.name for each in found.sets), *(c.name for c in found.chains))
        assert all(name == "fallback" or name.startswith("fallback-") for name in every)


def test_every_rule_that_counts_decides_as_its_reason_says() -> None:
    """One table of reasons for both forms."""
    verdicts = {counter_name(reason): reason.verdict.label for reason in Reason}
    seen = set()
    for chain in made(*ALL).chains:
        for rule in map(json.loads, chain.rules):
            for name in mentioned(rule, "counter"):
                seen.add(name)
                assert rule[-1] == ({"drop": None} if verdicts[name] == "drop" else {"accept": None})
    assert seen == {counter_name(reason) for reason in COUNTED}


def test_a_ban_changes_one_element() -> None:
    """Chains and other sets are the same, so that the difference is small."""
    raw = LISTS[0]
    before = made(*ALL)
    after = made(*ALL, lists=(raw._replace(texts=(*raw.texts, "203.0.113.8")), *LISTS[1:]))
    assert before.chains == after.chains
    changed = {
        b.name: b.elements - a.elements for a, b in zip(before.sets, after.sets, strict=True) if a != b
    }
    assert changed == {"fallback-block4-hosts": {'"203.0.113.8"'}}


def test_too_many_entries_are_refused_by_name() -> None:
    """Before the kernel is touched; without an interface that needs it nobody is refused."""
    with pytest.raises(CapacityError, match="'friends'"):
        made("wan0", limit=3)
    assert made(limit=3) == Fallback()


def test_it_is_merged_after_what_is_there() -> None:
    """Nothing of the ruleset is lost."""
    found = made("wan0")
    merged = found.into(Ruleset(("rule-web",), (), (Chain("input", ()),), ("wan0",)))
    assert merged.counters == ("rule-web", *found.counters)
    assert merged.chains == (Chain("input", ()), *found.chains)
    assert merged.flowtable == ("wan0",)
    assert merged.sets == found.sets


def test_counts_are_found_again_by_reason() -> None:
    """Counters of rules are none of ours."""
    counters = {"fallback-block-list": Counter(3, 99), "rule-web": Counter(5, 5), "fallback-x": Counter(1, 1)}
    assert packets_by_reason(counters) == {Reason.BLOCK_LIST: Counter(3, 99)}
