# SPDX-License-Identifier: Apache-2.0
import random
from dataclasses import replace
from typing import Any

from neurowall.kernel.nftjson import CHUNK, INTERVALS, Held, Steps, changes, deletion, replacement
from neurowall.model.counters import Counter
from neurowall.model.ruleset import Chain, Hook, Ruleset, Set, text_of
from tests.unit.kernel.nft_model import Refused, Table, random_ruleset

PAIRS = [(random_ruleset(seed), random_ruleset(seed + 400)) for seed in range(400)]


def every(steps: Steps) -> list[dict[str, Any]]:
    """The commands of both transactions."""
    return [*steps.change, *steps.sweep]


def table_of(ruleset: Ruleset) -> Table:
    """A table that was made from nothing."""
    table = Table()
    table.run(changes(Ruleset(), ruleset).change)
    return table


def held_of(ruleset: Ruleset) -> Held:
    """What a listing of it would say, in other words for some of its rules."""
    listed = {each.name: tuple(rule.replace("80", "080") for rule in each.rules) for each in ruleset.chains}
    chains = tuple(replace(chain, rules=listed[chain.name]) for chain in ruleset.chains)
    return Held(exists=bool(ruleset), ruleset=replace(ruleset, chains=chains))


def kinds_in(commands: list[dict[str, Any]]) -> list[str]:
    """Such as `add rule`, in order."""
    return [f"{verb} {noun}" for command in commands for verb, what in command.items() for noun in what]


def addresses(count: int, start: int = 0) -> frozenset[str]:
    """So many different elements."""
    return frozenset(text_of(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(start, start + count))


LOOK = text_of(
    [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@hosts"}}]
)


def filtering(*sets: Set, policy: str = "accept", rule: str = LOOK) -> Ruleset:
    """One base chain with one rule, and these sets."""
    return Ruleset(("all",), sets, (Chain("forward", (rule,), Hook("filter", "forward", 0, policy)),))


class TestDifference:
    def test_leads_from_any_ruleset_to_any_other(self) -> None:
        """The kernel takes every command in its turn, and then holds what it would after a fresh start."""
        for old, new in PAIRS:
            table = table_of(old)
            table.run(every(changes(old, new)))
            assert table.contents() == table_of(new).contents()

    def test_replaces_whatever_is_there_in_place(self) -> None:
        """With what the kernel holds unknown the same comes out."""
        for old, new in PAIRS:
            table = table_of(old)
            table.run(every(replacement(held_of(old), new)))
            assert table.contents() == table_of(new).contents()

    def test_the_model_refuses_a_wrong_order(self) -> None:
        """The tests above can fail: most shuffled transactions are refused."""
        refused = 0
        for seed in range(50):
            commands = changes(Ruleset(), random_ruleset(seed)).change[2:]
            random.Random(seed).shuffle(commands)
            try:
                Table(exists=True).run(commands)
            except (Refused, KeyError):
                refused += 1
        assert refused > 40

    def test_equal_rulesets_need_no_command(self) -> None:
        """Nothing is sent where nothing differs."""
        assert all(changes(random_ruleset(seed), random_ruleset(seed)) == Steps() for seed in range(50))

    def test_counters_of_both_count_on(self) -> None:
        """A counter that stays keeps its count, also where the table is made anew."""
        for old, new in PAIRS:
            table = table_of(old)
            table.counters = {name: 100 + index for index, name in enumerate(old.counters)}
            before = dict(table.counters)
            counts = {name: Counter(packets, 0) for name, packets in before.items()}
            table.run(every(changes(old, new, counts)))
            for name in set(old.counters) & set(new.counters):
                if old and new:
                    assert table.counters[name] == before[name]

    def test_one_element_more_is_one_command(self) -> None:
        """A set is neither emptied nor filled again for one element."""
        old = filtering(Set("hosts", ("ipv4_addr",), addresses(10_000)))
        new = filtering(Set("hosts", ("ipv4_addr",), addresses(10_001)))
        commands = every(changes(old, new))
        assert kinds_in(commands) == ["add table", "add element"]
        assert commands[1]["add"]["element"]["elem"] == ["10.0.39.16"]

    def test_one_rule_other_refills_its_chain_only(self) -> None:
        """Chains that are as they were are not touched."""
        leaves = tuple(Chain(f"leaf-{n}", (text_of([{"accept": None}]),)) for n in range(100))
        old = Ruleset((), (), leaves)
        new = replace(old, chains=(*leaves[:-1], Chain("leaf-99", (text_of([{"drop": None}]),))))
        assert kinds_in(every(changes(old, new))) == ["add table", "flush chain", "add rule"]

    def test_a_policy_changes_in_place(self) -> None:
        """A base chain stays attached when only its policy differs."""
        hosts = Set("hosts", ("ipv4_addr",), addresses(1))
        commands = every(changes(filtering(hosts), filtering(hosts, policy="drop")))
        assert kinds_in(commands) == ["add table", "add chain"]

    def test_elements_come_in_chunks(self) -> None:
        """No command has more elements than CHUNK, and none is lost between two."""
        commands = changes(
            Ruleset(), filtering(Set("hosts", ("ipv4_addr",), addresses(2 * CHUNK + 1)))
        ).change
        sizes = [len(each["add"]["element"]["elem"]) for each in commands if "element" in each.get("add", {})]
        assert sizes == [CHUNK, CHUNK, 1]

    def test_many_intervals_that_go_replace_their_set(self) -> None:
        """Each interval deleted costs time in proportion to all: beyond some the set is made anew."""
        all_of_them = addresses(1_000)
        old = filtering(Set("hosts", ("ipv4_addr",), all_of_them, interval=True))
        few = filtering(Set("hosts", ("ipv4_addr",), addresses(1_000 - INTERVALS), interval=True))
        many = filtering(Set("hosts", ("ipv4_addr",), addresses(999 - INTERVALS), interval=True))
        assert kinds_in(every(changes(old, few))) == ["add table", "delete element"]
        assert kinds_in(every(changes(old, many))) == [
            "add table",
            "flush chain",
            "delete set",
            "add set",
            "add element",
            "add rule",
        ]

    def test_an_element_with_an_end_is_never_deleted_by_name(self) -> None:
        """It may have ended, and deleting what is not there would fail the whole transaction."""
        timed = frozenset({text_of({"elem": {"val": "192.0.2.1", "timeout": 60}})})
        old = filtering(Set("hosts", ("ipv4_addr",), timed, timeout=True))
        new = filtering(Set("hosts", ("ipv4_addr",), timeout=True))
        assert "delete element" not in kinds_in(every(changes(old, new)))
        assert "delete set" in kinds_in(every(changes(old, new)))

    def test_what_packets_add_is_neither_written_nor_deleted(self) -> None:
        """A set that packets fill stays as it is while rules around it change."""
        limits = Set("hosts", ("ipv4_addr",), dynamic=True, timeout=True, size=100)
        commands = every(changes(filtering(limits), filtering(limits, rule=text_of([{"drop": None}]))))
        assert kinds_in(commands) == ["add table", "flush chain", "add rule"]
        assert kinds_in(every(replacement(held_of(filtering(limits)), filtering(limits)))) == ["add table"]

    def test_without_chains_the_table_goes(self) -> None:
        """Nothing to enforce leaves no table; where there is none, nothing is done."""
        ruleset = filtering(Set("hosts", ("ipv4_addr",)))
        assert changes(ruleset, Ruleset()) == Steps(deletion())
        assert replacement(held_of(ruleset), Ruleset()) == Steps(deletion())
        assert replacement(Held(), Ruleset()) == Steps()

    def test_another_hook_rebuilds_the_table_with_its_counts(self) -> None:
        """The kernel moves no base chain; then counters start from what they were."""
        old = filtering(Set("hosts", ("ipv4_addr",)))
        new = replace(old, chains=(replace(old.chains[0], hook=Hook("filter", "input", 0, "accept")),))
        table = table_of(old)
        table.run(changes(old, new, {"all": Counter(7, 700)}).change)
        assert table.made == 2
        assert table.counters == {"all": 7}

    def test_what_another_tool_put_there_rebuilds_the_table(self) -> None:
        """Things of unknown kind go with the table, and counters start from what they were."""
        ruleset = filtering(Set("hosts", ("ipv4_addr",)))
        table = table_of(ruleset)
        held = replace(held_of(ruleset), changeable=False)
        table.run(replacement(held, ruleset, {"all": Counter(7, 700)}).change)
        assert table.made == 2
        assert table.counters == {"all": 7}

    def test_maps_of_the_old_rules_outlive_them(self) -> None:
        """A packet in the old rules still finds what they look into: it goes in a transaction of its own."""
        old = filtering(Set("hosts", ("ipv4_addr",), addresses(3)))
        new = filtering(rule=text_of([{"drop": None}]))
        steps = changes(old, new)
        assert kinds_in(steps.change) == ["add table", "flush chain", "add rule"]
        assert kinds_in(steps.sweep) == ["delete set"]
        table = table_of(old)
        table.run(steps.change)
        assert "hosts" in table.sets

    def test_a_meter_moves_to_another_chain(self) -> None:
        """Its name is free in the same transaction in which another rule takes it."""
        meter = {"name": "rate", "key": {"meta": {"key": "mark"}}, "stmt": {"accept": None}}
        hooked = filtering(rule=text_of([{"accept": None}])).chains
        old = Ruleset((), (), (*hooked, Chain("a", (text_of([{"meter": meter}]),))))
        new = Ruleset((), (), (*hooked, Chain("b", (text_of([{"meter": meter}]),))))
        steps = changes(old, new)
        assert kinds_in(steps.change) == ["add table", "add chain", "flush chain", "add rule"]
