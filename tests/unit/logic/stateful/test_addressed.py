# SPDX-License-Identifier: Apache-2.0
"""Names that follow contents: a table beside another, which packets never see half of."""

import json
from dataclasses import replace

import pytest

from neurowall.logic.stateful.addressed import addressed, together
from neurowall.model.ruleset import Chain, Hook, Ruleset, Set, text_of

HOOK = Hook("filter", "forward", 0, "drop")
ACCEPT = text_of([{"accept": None}])


def jump(name: str) -> str:
    """The rule that leads to a chain."""
    return text_of([{"jump": {"target": name}}])


def looks(name: str) -> str:
    """The rule that looks a port up in a map or set."""
    return text_of(
        [{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": f"@{name}"}}]
    )


def leads(port: int, chain: str) -> str:
    """The element of a map that leads to a chain."""
    return text_of([port, {"goto": {"target": chain}}])


def table(last: str = ACCEPT, port: int = 443, counters: tuple[str, ...] = ("kept",)) -> Ruleset:
    """A base chain, a chain, a map and a chain, each of which names the next; beside them what names none."""
    return Ruleset(
        counters=counters,
        sets=(
            Set("ports", ("inet_service",), frozenset({leads(port, "last")}), ("verdict",)),
            Set("alone", ("ipv4_addr",), frozenset({'"192.0.2.1"'})),
            Set("seen", ("ipv4_addr",), dynamic=True, size=16),
        ),
        chains=(
            Chain("forward", (jump("first"), jump("aside")), HOOK),
            Chain("first", (looks("ports"),)),
            Chain("last", (last,)),
            Chain("aside", (text_of([{"set": {"op": "add", "elem": {"payload": 1}, "set": "@seen"}}]),)),
        ),
    )


def names(ruleset: Ruleset) -> dict[str, str]:
    """What each thing is called, by what it was called."""
    things: list[Set | Chain] = [*ruleset.sets, *(chain for chain in ruleset.chains if not chain.hook)]
    return {each.name.rpartition(".")[0] or each.name: each.name for each in things}


def renamed(one: Ruleset, other: Ruleset) -> set[str]:
    """The things that are called otherwise in the other table."""
    first, second = names(one), names(other)
    assert first.keys() == second.keys()
    return {name for name in first if first[name] != second[name]}


def reached(ruleset: Ruleset) -> set[str]:
    """Everything that a packet of the base chains can reach, by its name; each name must be there."""
    held = {f'"target":"{chain.name}"': (chain.name, chain.rules) for chain in ruleset.chains}
    held |= {f'"@{each.name}"': (each.name, tuple(each.elements)) for each in ruleset.sets}
    waiting = [chain.name for chain in ruleset.chains if chain.hook]
    texts = dict(held.values())
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for words, (other, _) in held.items() if any(words in t for t in texts[name])]
    return found


class TestNames:
    def test_equal_contents_equal_names(self) -> None:
        """The same policy gives the same table, so that nothing is done where nothing changes."""
        assert addressed(table()) == addressed(table())

    def test_follow_contents_through_everything(self) -> None:
        """What leads to a changed chain is another chain too, up to the base chain; the rest stays."""
        changed = renamed(addressed(table()), addressed(table(last=text_of([{"drop": None}]))))
        assert changed == {"last", "ports", "first", "forward.rules"}

    def test_follow_elements(self) -> None:
        """So do those of a map whose elements change; not what it leads to."""
        assert renamed(addressed(table()), addressed(table(port=80))) == {"ports", "first", "forward.rules"}

    @pytest.mark.parametrize(
        "other",
        [{"key": ("inet_proto",)}, {"interval": True}, {"timeout": True}, {"size": 64}],
    )
    def test_follow_kinds(self, other: dict[str, object]) -> None:
        """A set of another kind is another set, also with the same elements."""
        before = table()
        alone = replace(before.sets[1], **other)  # type: ignore[arg-type]
        after = replace(before, sets=(before.sets[0], alone, before.sets[2]))
        assert renamed(addressed(before), addressed(after)) == {"alone"}

    def test_base_chains_and_what_packets_fill_keep_theirs(self) -> None:
        """Base chains stay attached; what was seen of senders is not forgotten."""
        made = addressed(table())
        assert [(chain.name, chain.hook) for chain in made.chains if chain.hook] == [("forward", HOOK)]
        assert "seen" in made.by_name
        assert '"@seen"' in "".join(rule for chain in made.chains for rule in chain.rules)

    def test_base_chains_hold_nothing_that_needs_time(self) -> None:
        """Their only rule names no set, named or anonymous."""
        (base,) = (chain for chain in addressed(table()).chains if chain.hook)
        ((only,),) = (json.loads(rule) for rule in base.rules)
        assert list(only) == ["goto"]

    def test_kept_sets_keep_theirs(self) -> None:
        """Sets whose elements come and go one by one, and so whoever looks into them."""
        before = table()
        alone = replace(before.sets[1], elements=frozenset({'"192.0.2.2"'}))
        after = replace(before, sets=(before.sets[0], alone, before.sets[2]))
        assert renamed(addressed(before, ["alone"]), addressed(after, ["alone"])) == set()
        assert names(addressed(before, ["alone"]))["alone"] == "alone"

    def test_names_lead_somewhere(self) -> None:
        """Whatever could be reached before can be reached by its new name."""
        made = addressed(table())
        by_old = {new: old for old, new in names(made).items()}
        found = {by_old.get(name, name) for name in reached(made)}
        assert found == {"forward", "forward.rules", "first", "ports", "last", "aside", "seen"}

    def test_a_name_within_a_text_is_no_reference(self) -> None:
        """Only whole names: `last` is not part of `lastly`, nor a counter's name a chain's."""
        before = replace(table(last=text_of([{"counter": "last"}, {"jump": {"target": "lastly"}}])))
        before = replace(before, chains=(*before.chains, Chain("lastly", (ACCEPT,))))
        made = addressed(before)
        (last,) = (chain for chain in made.chains if chain.name.startswith("last."))
        assert json.loads(last.rules[0])[0] == {"counter": "last"}
        assert json.loads(last.rules[0])[1] == {"jump": {"target": names(made)["lastly"]}}


class TestTogether:
    def test_enforces_what_was_enforced(self) -> None:
        """Base chains, and all that can be reached from them, are those of the old table."""
        old, new = addressed(table()), addressed(table(port=80))
        both = together(old, new)
        assert reached(both) == reached(old)
        assert set(old.sets) <= set(both.sets)
        assert set(old.chains) <= set(both.chains)

    def test_holds_all_that_the_new_one_needs(self) -> None:
        """Only base chains are to be changed then: sets, chains and counters are there."""
        old, new = addressed(table()), addressed(table(port=80, counters=("kept", "fresh")))
        both = together(old, new)
        assert set(new.by_name) <= set(both.by_name)
        assert {chain for chain in new.chains if not chain.hook} <= set(both.chains)
        assert both.counters == ("kept", "fresh")

    def test_names_nothing_twice(self) -> None:
        """What both have is there once."""
        both = together(addressed(table()), addressed(table(port=80)))
        for called in ([each.name for each in both.sets], [each.name for each in both.chains]):
            assert len(called) == len(set(called))

    def test_of_equal_tables_is_that_table(self) -> None:
        """Then there is nothing to do."""
        made = addressed(table())
        assert together(made, made) == made

    def test_new_base_chains_wait(self) -> None:
        """A chain with a hook would be enforced at once."""
        old = addressed(table())
        second = Chain("input", (jump("first"),), replace(HOOK, hook="input"))
        new = addressed(replace(table(), chains=(*table().chains, second)))
        both = together(old, new)
        assert [chain.name for chain in both.chains if chain.hook] == ["forward"]
        assert any(chain.name.startswith("input.rules.") for chain in both.chains)
