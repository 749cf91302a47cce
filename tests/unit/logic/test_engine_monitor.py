# SPDX-License-Identifier: Apache-2.0
"""Lists that only count, and what each list matched."""

from functools import partial
from itertools import permutations

import pytest

from neurowall.logic.engine import Engine
from neurowall.logic.results import ListInfo
from neurowall.model.counters import Counter
from neurowall.model.errors import ListConflict, ListMissing
from neurowall.model.policy import Capacity, ListSpec
from tests.unit.logic.conftest import StartEngine, policy_of
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.machine import Change, agrees, raw_of
from tests.unit.logic.oracle import judge

TRIAL = ListSpec(name="trial", verdict="block", entries=("203.0.113.0/24", "198.51.100.1"), monitor=True)
FEED = ListSpec(name="feed", verdict="block", entries=("203.0.113.7",))


class TestMonitor:
    def test_counts_and_decides_nothing(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """What only a monitor list holds goes on like an unlisted packet, and is counted under its class."""
        engine = start(TRIAL, FEED)
        assert plane.verdict("203.0.113.1") is None
        assert plane.decides("203.0.113.1")
        assert plane.verdict("203.0.113.7") == "drop"
        found = engine.explain("203.0.113.1")
        assert (found.verdict, found.reason, found.list, found.monitored_by) == (
            None,
            "default",
            None,
            ("trial",),
        )
        assert (found.kernel_verdict, found.in_kernel) == ("none", True)
        assert [cover.list for cover in found.covers] == ["trial"]
        both = engine.explain("203.0.113.7")
        assert (both.verdict, both.list, both.monitored_by) == ("drop", "feed", ("trial",))

    @pytest.mark.parametrize("verdict", ["block", "allow"])
    def test_loaded_at_run_time(self, start: StartEngine, plane: FakeDataPlane, verdict: str) -> None:
        """Blocking or allowing, it does neither; a restart keeps it so."""
        engine = start(FEED)
        engine.load_list("trial", verdict, "203.0.113.7\n192.0.2.1\n", monitor=True)
        for each in (engine, start(FEED)):
            assert plane.verdict("203.0.113.7") == "drop"
            assert plane.verdict("192.0.2.1") is None
            assert [info.monitor for info in each.lists() if info.name == "trial"] == [True]

    def test_is_switched_without_a_third_verdict(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Every address has its old or its new verdict all the while, those of other lists theirs."""
        engine = start(TRIAL, FEED)
        seen: dict[str, set[str | None]] = {"203.0.113.1": set(), "203.0.113.7": set()}

        def look() -> None:
            for address, verdicts in seen.items():
                verdicts.add(plane.verdict(address))

        plane.after_row = look
        generation = engine.status().generation
        result = engine.set_monitor("trial", monitor=False)
        assert (result.generation, result.unchanged) == (generation + 1, 2)
        assert plane.verdict("203.0.113.1") == "drop"
        assert seen == {"203.0.113.1": {None, "drop"}, "203.0.113.7": {"drop"}}
        assert engine.set_monitor("trial", monitor=False).generation == generation + 1
        engine.set_monitor("trial", monitor=True)
        assert plane.verdict("203.0.113.1") is None

    def test_what_cannot_be_switched(self, start: StartEngine) -> None:
        """Built-in lists are what the operator decides; a list that is not there is an error."""
        engine = start(FEED)
        for name in ("operator-block", "operator-allow", "operator-block-timed", "operator-allow-timed"):
            with pytest.raises(ListConflict, match="is built in"):
                engine.set_monitor(name, monitor=True)
        with pytest.raises(ListMissing):
            engine.set_monitor("gone", monitor=True)

    def test_a_declared_list_keeps_it_until_the_policy_says_otherwise(self, start: StartEngine) -> None:
        """Over reloads and restarts, whatever happens to its entries."""
        engine = start(TRIAL)
        engine.set_monitor("trial", monitor=False)
        engine.replace_list("trial", "192.0.2.1")
        engine.reload_policy(policy_of(TRIAL.model_copy(update={"entries": ("192.0.2.9",)}), FEED))
        assert not info(engine.lists(), "trial").monitor
        assert engine.show_list("trial").entries == ("192.0.2.9",)
        engine = start(TRIAL, FEED)
        assert not info(engine.lists(), "trial").monitor
        assert "trial" not in "".join(engine.status().warnings)

    def test_a_policy_that_says_something_else_wins(self, start: StartEngine) -> None:
        """Also over what was switched to and fro before."""
        enforced = TRIAL.model_copy(update={"monitor": False})
        engine = start(enforced)
        engine.set_monitor("trial", monitor=True)
        engine.set_monitor("trial", monitor=False)
        engine.reload_policy(policy_of(TRIAL))
        assert info(engine.lists(), "trial").monitor
        engine = start(enforced)
        assert not info(engine.lists(), "trial").monitor

    def test_an_answer_names_no_monitor_list(self, start: StartEngine) -> None:
        """A block is not shadowed, and an address not still blocked, by a list that only counts."""
        allowing = ListSpec(name="maybe", verdict="allow", entries=("192.0.2.0/24",), monitor=True)
        engine = start(TRIAL, allowing)
        blocked = engine.block(["192.0.2.1", "203.0.113.0/25"])
        assert [(o.verdict, o.shadowed_by, o.partly) for o in blocked.addresses] == [("drop", (), ())] * 2
        released = engine.unblock(["203.0.113.0/25"]).addresses[0]
        assert (released.verdict, released.still_blocked_by, released.partly) == (None, (), ())


class TestMembership:
    """One entry in every kind of list: whichever goes, the others keep theirs."""

    KINDS: dict[str, Change] = {  # noqa: RUF012 - a table
        "monitor": lambda engine: engine.load_list(
            "monitor", "block", "192.0.2.1\n192.0.2.0/28\n", monitor=True
        ),
        "feed": lambda engine: engine.load_list("feed", "block", "192.0.2.1\n192.0.2.0/25\n"),
        "allow": lambda engine: engine.load_list("allow", "allow", "192.0.2.1\n"),
        "timed": lambda engine: engine.block(["192.0.2.1", "192.0.2.0/26"], ttl=3600),
        "timed allow": lambda engine: engine.allow(["192.0.2.1"], ttl=3600),
        "operator": lambda engine: engine.block(["192.0.2.1"]),
    }
    REMOVALS: dict[str, Change] = {  # noqa: RUF012 - a table
        "monitor": lambda engine: engine.remove_list("monitor"),
        "feed": lambda engine: engine.remove_list("feed"),
        "allow": lambda engine: engine.remove_list("allow"),
        "timed": lambda engine: engine.unblock(["192.0.2.1", "192.0.2.0/26"]),
        "timed allow": lambda engine: engine.unallow(["192.0.2.1"]),
        "operator": lambda engine: engine.unblock(["192.0.2.1"]),
    }
    ADDRESSES = ("192.0.2.1", "192.0.2.2", "192.0.2.20", "192.0.2.40", "192.0.2.100")

    @pytest.mark.parametrize("order", list(permutations(["monitor", "feed", "allow", "timed"])))
    def test_one_after_the_other_goes(
        self, start: StartEngine, plane: FakeDataPlane, order: tuple[str, ...]
    ) -> None:
        """In any order: at every step each address has the verdict of the lists before or after it."""
        engine = start()
        for kind in order:
            self.KINDS[kind](engine)
        for kind in order:
            before = self.truth(engine, plane)
            seen: list[dict[str, str | None]] = []
            plane.after_row = partial(self.look, plane, seen)
            self.REMOVALS[kind](engine)
            plane.after_row = lambda: None
            after = self.truth(engine, plane)
            assert all(state[a] in (before[a], after[a]) for state in seen for a in self.ADDRESSES)
            assert {a: plane.verdict(a) for a in self.ADDRESSES} == after
            assert agrees(engine, plane)
        assert (plane.rows, plane.ends) == ({}, {})

    def test_a_timed_allow_in_a_timed_block_in_a_monitor_list(
        self, start: StartEngine, plane: FakeDataPlane
    ) -> None:
        """Three classes after each other; each end, or removal, uncovers the next."""
        engine = start()
        for kind in ("monitor", "timed", "timed allow"):
            self.KINDS[kind](engine)
        assert plane.verdict("192.0.2.1") == "pass"
        self.REMOVALS["timed allow"](engine)
        assert plane.verdict("192.0.2.1") == "drop"
        self.REMOVALS["timed"](engine)
        assert (plane.verdict("192.0.2.1"), engine.explain("192.0.2.1").monitored_by) == (None, ("monitor",))

    def look(self, plane: FakeDataPlane, seen: list[dict[str, str | None]]) -> None:
        """Note what every address gets now."""
        seen.append({address: plane.verdict(address) for address in self.ADDRESSES})

    def truth(self, engine: Engine, plane: FakeDataPlane) -> dict[str, str | None]:
        """What a scan of all lists says now."""
        lists = [raw_of(engine, each) for each in engine.lists()]
        return {a: judge(lists, a, plane.clock()).verdict for a in self.ADDRESSES}


class TestCounters:
    def test_matched_is_by_member(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """A packet counts once for the list that decides, and once for every list that covers its source."""
        engine = start(TRIAL, FEED)
        engine.allow(["203.0.113.9"])
        for address, count in (
            ("203.0.113.1", 1),
            ("203.0.113.7", 10),
            ("203.0.113.9", 100),
            ("198.51.100.1", 1000),
        ):
            decides = plane.decides(address)
            assert decides
            plane.counted[decides.id] = plane.counted.get(decides.id, Counter()) + Counter(count, 60 * count)
        counters = engine.counters()
        assert counters.matched == {
            "trial": Counter(1111, 66_660), "feed": Counter(10, 600), "operator-allow": Counter(100, 6000),
        }  # fmt: skip
        assert counters.lists == {
            ("feed", "drop"): Counter(10, 600), ("operator-allow", "pass"): Counter(100, 6000),
        }  # fmt: skip

    def test_what_ended_counts_for_what_comes_after(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """The class that is used at the end of the chain is the one that is counted."""
        now = [1000.0]
        plane.clock = lambda: now[0]
        engine = start(TRIAL)
        engine.block(["203.0.113.1"], ttl=60)
        blocked = plane.decides("203.0.113.1")
        now[0] += 60
        watched = plane.decides("203.0.113.1")
        assert blocked
        assert watched
        plane.counted = {blocked.id: Counter(3, 180), watched.id: Counter(5, 300)}
        counters = engine.counters()
        assert counters.lists == {("operator-block-timed", "drop"): Counter(3, 180)}
        assert counters.matched == {"operator-block-timed": Counter(3, 180), "trial": Counter(8, 480)}
        engine.expire()
        assert engine.counters() == counters

    def test_matched_outlives_reused_ids(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """What an id counted under an old meaning stays with all lists of that."""
        engine = start(TRIAL, capacity=Capacity(classes=16))
        for number in range(20):
            engine.load_list(f"l{number}", "block", "203.0.113.1")
            decides = plane.decides("203.0.113.1")
            assert decides
            plane.counted[decides.id] = plane.counted.get(decides.id, Counter()) + Counter(1, 60)
            engine.remove_list(f"l{number}")
        assert engine.counters().matched == {"trial": Counter(20, 1200)} | {
            f"l{i}": Counter(1, 60) for i in range(20)
        }


def info(lists: tuple[ListInfo, ...], name: str) -> ListInfo:
    """One list of several."""
    return next(each for each in lists if each.name == name)
