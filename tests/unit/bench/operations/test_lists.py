# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bench import lists
from bench.lists import Counts
from bench.operations.base import Room
from bench.operations.lists import Changes, strangers, successor, text4
from bench.operations.rivals import replacement
from bench.operations.site import last_entry
from bench.sut.base import Rules
from bench.traffic.probes import covered
from neurowall.model.entries import EntrySet

COUNTS = Counts(hosts4=2000, prefixes4=200, hosts6=50, prefixes6=20)


@pytest.fixture(scope="module")
def entries() -> EntrySet:
    """Entries of every kind."""
    return lists.generate(COUNTS, 7)


def rng() -> np.random.Generator:
    """The same numbers in every test."""
    return np.random.default_rng(3)


class TestSuccessor:
    def test_it_is_as_large_and_keeps_the_share(self, entries: EntrySet) -> None:
        """So each kind fits where the first list was, and half of it stays."""
        found = successor(entries, 0.5, 1)
        assert Counts.of(found.second.entries) == COUNTS
        kept = found.second.entries.v4.contains(entries.v4).mean()
        assert 0.4 < kept < 0.6

    def test_common_are_all_hosts_in_both_and_nothing_else(self, entries: EntrySet) -> None:
        """One that is missing would hide a leak, one too many would make one up."""
        found = successor(entries, 0.5, 1)
        first = {str(e) for e in found.first.hosts(4).rows()}
        both = first & {str(e) for e in found.second.hosts(4).rows()}
        assert len(both) > 800
        assert {f"{text}" for text in text4(found.common)} == both

    def test_another_seed_keeps_others(self, entries: EntrySet) -> None:
        """Blocks do not repeat one draw."""
        one, other = (successor(entries, 0.5, seed) for seed in (1, 2))
        assert set(one.common.tolist()) != set(other.common.tolist())


class TestStrangers:
    def test_none_is_listed_or_to_be_avoided(self, entries: EntrySet) -> None:
        """Distinct, and some of them neighbours of listed ones."""
        first = strangers(entries, 100, np.empty(0, np.uint32), rng())
        found = strangers(entries, 500, first, rng())
        assert len(set(found.tolist())) == 500
        assert not covered(entries.v4, found).any()
        assert not np.isin(found, first).any()
        near = np.isin(found >> np.uint32(8), entries.v4.address >> np.uint32(8))
        assert near.sum() > 50


class TestChanges:
    def test_each_change_changes_something_and_the_model_follows(self) -> None:
        """No address is blocked twice in a row, and both kinds of changes come."""
        pool = np.arange(100, dtype=np.uint32)
        changes = Changes(pool, 20, rng())
        blocked: set[int] = set()
        verbs = []
        for _ in range(200):
            verb, rows = changes.next()
            chosen = set(rows.tolist())
            assert len(chosen) == 20
            assert not chosen & blocked if verb == "block" else chosen <= blocked
            blocked = blocked | chosen if verb == "block" else blocked - chosen
            changes.done(verb, rows)
            verbs.append(verb)
            assert set(np.flatnonzero(changes.blocked).tolist()) == blocked
        assert changes.made == 4000
        assert 60 < verbs.count("block") < 140

    def test_a_change_that_was_not_made_is_not_in_the_model(self) -> None:
        """`next` only proposes."""
        changes = Changes(np.arange(10, dtype=np.uint32), 2, rng())
        changes.next()
        assert not changes.blocked.any()
        assert changes.made == 0


def test_room_counts_what_is_to_come(entries: EntrySet) -> None:
    """The larger number of each kind, and the text is of what is there."""
    room = Room(entries, {"hosts4": 5000, "prefixes4": 1})
    assert room.counts == {"hosts4": 5000, "prefixes4": 200, "hosts6": 50, "prefixes6": 20}
    assert len(room.texts["hosts4"]) == 2000


def test_the_last_entry_is_that_of_the_files_last_line(entries: EntrySet) -> None:
    """It is what a load waits for."""
    found = last_entry(Rules(entries))
    assert found is not None
    family, address = found
    last = Rules(entries).list_text.splitlines()[-1]
    (only,) = EntrySet.from_strings([last]).family(family).address.tolist()
    assert address.tolist() == [only]
    assert last_entry(Rules(EntrySet.empty())) is None


def test_a_replacement_of_nft_flushes_and_fills_each_set_that_has_entries() -> None:
    """Nothing about sets that are not there: nft would refuse the transaction."""
    rules = Rules(EntrySet.from_strings(["192.88.98.1", "8.8.0.0/16"]))
    assert replacement(rules) == [
        "flush set netdev neurowall_bench hosts4\n",
        "add element netdev neurowall_bench hosts4 { 192.88.98.1 }\n",
        "flush set netdev neurowall_bench prefixes4\n",
        "add element netdev neurowall_bench prefixes4 { 8.8.0.0/16 }\n",
    ]
