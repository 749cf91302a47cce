# SPDX-License-Identifier: Apache-2.0
"""Loading, replacing, removing and showing lists, and questions to the engine."""

from pathlib import Path

import pytest

from neurowall.model.counters import Counter
from neurowall.model.errors import ListConflict, ListError, ListInvalid, ListMissing, PolicyError
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.policy import Capacity, ListSpec
from neurowall.model.reasons import Reason
from tests.unit.logic.conftest import StartEngine, policy_of
from tests.unit.logic.fake import FakeDataPlane, broken

FEED = ListSpec(name="feed", verdict="block", entries=("203.0.113.7", "198.51.100.0/24"))


class TestLoad:
    def test_a_new_list_is_enforced(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Entries are counted, and so is what the text had besides."""
        engine = start()
        result = engine.load_list("bad", "block", "# x\n192.0.2.1\n192.0.2.1\n198.51.100.9/24\n")
        assert (result.added, result.duplicates, result.host_bits) == (2, 1, (4,))
        assert plane.verdict("192.0.2.1") == "drop"
        assert engine.load_list("good", "allow", b"192.0.2.1").added == 1
        assert plane.verdict("192.0.2.1") == "pass"

    def test_an_existing_name_is_a_conflict(self, start: StartEngine) -> None:
        """A list is loaded once; after that it is replaced."""
        engine = start(FEED)
        engine.load_list("bad", "block", "192.0.2.1")
        for name in ("bad", "feed", "operator-block"):
            with pytest.raises(ListConflict, match=name):
                engine.load_list(name, "block", "192.0.2.1")

    @pytest.mark.parametrize(
        ("name", "verdict"), [("Bad", "block"), ("", "block"), ("a" * 41, "block"), ("bad", "deny")]
    )
    def test_bad_names_and_verdicts(self, start: StartEngine, name: str, verdict: str) -> None:
        """Names and verdicts are those that a policy may have."""
        with pytest.raises(ListError, match=r"expected|use 1 to 40"):
            start().load_list(name, verdict, "192.0.2.1")

    def test_garbage_is_refused_by_line_unless_skipped(
        self, start: StartEngine, plane: FakeDataPlane
    ) -> None:
        """Every bad line is reported; skipping is a decision, and still reports them."""
        engine = start()
        plane.operations.clear()
        text = "192.0.2.1\nnonsense\n192.0.2.2\n10.0.0.1/33\n"
        with pytest.raises(ListInvalid, match="2 lines are no entries, the first is 2: 'nonsense'") as caught:
            engine.load_list("bad", "block", text)
        assert [problem.line for problem in caught.value.problems] == [2, 4]
        assert plane.operations == []
        result = engine.load_list("bad", "block", text, skip_invalid=True)
        assert result.added == 2
        assert [problem.line for problem in result.problems] == [2, 4]

    def test_nothing_but_garbage_is_always_refused(self, start: StartEngine) -> None:
        """An error page instead of a feed does not become an empty list."""
        engine = start(FEED)
        with pytest.raises(ListInvalid, match="holds nothing else"):
            engine.load_list("bad", "block", "<html>\n</html>\n", skip_invalid=True)
        with pytest.raises(ListInvalid, match="holds nothing else"):
            engine.replace_list("feed", "<html>\n", skip_invalid=True)


class TestReplaceAndRemove:
    def test_replace_is_a_difference(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Common entries are not touched."""
        engine = start(FEED)
        touched: list[dict[tuple[int, int, int], int]] = []
        common = (4, 32, 0xCB007107)
        plane.after_row = lambda: touched.append(dict(plane.rows))
        result = engine.replace_list("feed", "203.0.113.7\n192.0.2.1\n")
        assert (result.added, result.removed, result.unchanged) == (1, 1, 1)
        assert all(common in rows for rows in touched)
        assert plane.written[-2:] == ["put", "delete"]
        assert plane.verdict("198.51.100.1") is None

    def test_the_same_content_is_no_change_for_a_loaded_list(
        self, start: StartEngine, plane: FakeDataPlane
    ) -> None:
        """Replacing a list by itself writes nothing and makes no generation."""
        engine = start()
        before = engine.load_list("bad", "block", "192.0.2.1")
        plane.operations.clear()
        result = engine.replace_list("bad", "192.0.2.1\n")
        assert (result.generation, result.unchanged) == (before.generation, 1)
        assert plane.operations == []

    def test_built_in_lists_can_be_replaced(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """What was blocked by hand can be replaced as a whole, and stays the built-in list."""
        engine = start()
        engine.block(["192.0.2.1"])
        engine.replace_list("operator-block", "192.0.2.2\n")
        assert plane.verdict("192.0.2.1") is None
        assert engine.unblock(["192.0.2.2"]).removed == 1

    def test_a_missing_list(self, start: StartEngine) -> None:
        """The message says which lists there are."""
        engine = start(FEED)
        for ask in (
            lambda: engine.replace_list("gone", "192.0.2.1"),
            lambda: engine.remove_list("gone"),
            lambda: engine.show_list("gone"),
        ):
            with pytest.raises(
                ListMissing, match="there is no list 'gone'; there are operator-allow, operator"
            ):
                ask()

    def test_removing_one_of_two_lists_that_share_an_address(
        self, start: StartEngine, plane: FakeDataPlane
    ) -> None:
        """The address stays blocked under the other list's name, and never passes in between."""
        engine = start()
        engine.load_list("one", "block", "192.0.2.1\n192.0.2.2\n")
        engine.load_list("two", "block", "192.0.2.1\n")
        assert engine.explain("192.0.2.1").list == "one"
        seen: set[str | None] = set()
        plane.after_row = lambda: seen.add(plane.verdict("192.0.2.1"))
        result = engine.remove_list("one")
        assert result.removed == 2
        assert seen == {"drop"}
        assert engine.explain("192.0.2.1").list == "two"
        assert plane.verdict("192.0.2.2") is None

    def test_declared_and_built_in_lists_are_not_removed(self, start: StartEngine) -> None:
        """What the policy declares is removed in the policy."""
        engine = start(FEED)
        with pytest.raises(ListConflict, match="declared in the policy: remove it there"):
            engine.remove_list("feed")
        with pytest.raises(ListConflict, match="built in"):
            engine.remove_list("operator-allow")

    def test_a_full_set_replaced_by_another_needs_no_more_room(
        self, start: StartEngine, plane: FakeDataPlane
    ) -> None:
        """A list that fills the maps can be replaced by as many others: stale hosts go first."""
        engine = start(capacity=Capacity(hosts4=4))
        plane.limits["hosts4"] = 4
        engine.load_list("bad", "block", "".join(f"192.0.2.{i}\n" for i in range(4)))
        engine.replace_list("bad", "".join(f"192.0.2.{i}\n" for i in range(3, 7)))
        assert [plane.verdict(f"192.0.2.{i}") for i in range(7)] == [None] * 3 + ["drop"] * 4


class TestReload:
    def test_lists_follow_the_policy(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Declared lists come, change and go; what was done at run time stays."""
        engine = start(FEED)
        engine.block(["192.0.2.1"])
        engine.load_list("bad", "block", "192.0.2.2")
        new = ListSpec(name="new", verdict="block", entries=("192.0.2.3",))
        result = engine.reload_policy(policy_of(new))
        assert (result.added, result.removed) == (1, 2)
        assert [plane.verdict(f"192.0.2.{i}") for i in (1, 2, 3)] == ["drop"] * 3
        assert plane.verdict("203.0.113.7") is None
        assert [info.name for info in engine.lists()] == [
            "operator-allow", "operator-block", "new", "bad", "operator-allow-timed", "operator-block-timed",
        ]  # fmt: skip

    def test_the_same_policy_changes_nothing(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """A reload without a change makes no generation."""
        engine = start(FEED)
        before, operations = engine.status().generation, len(plane.operations)
        assert engine.reload_policy(policy_of(FEED)).generation == before
        assert len(plane.operations) == operations

    def test_a_list_may_change_its_verdict(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Block becomes allow with the same entries; the class gets a new id: nothing in between."""
        engine = start(FEED)
        seen: set[str | None] = set()
        plane.after_row = lambda: seen.add(plane.verdict("203.0.113.7"))
        engine.reload_policy(policy_of(FEED.model_copy(update={"verdict": "allow"})))
        assert seen == {"drop", "pass"}
        assert engine.explain("203.0.113.7").verdict == "pass"

    def test_more_than_lists_needs_a_restart(self, start: StartEngine) -> None:
        """What the kernel was set up with is not half changed."""
        engine = start(FEED)
        with pytest.raises(PolicyError, match="engine changed: restart the daemon"):
            engine.reload_policy(policy_of(FEED).model_copy(update={"engine": "classic"}))


class TestShow:
    def test_pages(self, start: StartEngine) -> None:
        """Pages follow each other by the last entry shown, IPv4 first."""
        entries = ["10.0.0.0/8", "192.0.2.0/24", "192.0.2.1", "192.0.2.2", "2001:db8::/32", "2001:db8::1"]
        engine = start(ListSpec(name="mix", verdict="block", entries=tuple(reversed(entries))))
        for size in range(1, 8):
            found: list[str] = []
            after = None
            while True:
                page = engine.show_list("mix", size, after)
                assert len(page.entries) <= size
                found += page.entries
                after = page.next
                if after is None:
                    break
            assert found == entries

    def test_after_need_not_be_there(self, start: StartEngine) -> None:
        """An entry removed between two pages does not end the paging."""
        engine = start(ListSpec(name="a", verdict="block", entries=("192.0.2.1", "192.0.2.9", "2001:db8::1")))
        assert engine.show_list("a", 10, "192.0.2.5").entries == ("192.0.2.9", "2001:db8::1")
        assert engine.show_list("a", 10, "2001:db8::1").entries == ()
        with pytest.raises(ListInvalid, match="after 'x'"):
            engine.show_list("a", 10, "x")
        with pytest.raises(ListInvalid, match="limit 0"):
            engine.show_list("a", 0)


class TestQuestions:
    def test_explain_names_every_list(self, start: StartEngine) -> None:
        """All lists that cover the address, with the entry of each; the deciding one; the kernel's view."""
        engine = start(FEED, ListSpec(name="wide", verdict="block", entries=("198.51.0.0/16",)))
        engine.allow(["198.51.100.7"])
        found = engine.explain("198.51.100.7")
        assert (found.verdict, found.reason, found.list) == ("pass", "allow-list", "operator-allow")
        assert [(cover.list, cover.entry) for cover in found.covers] == [
            ("operator-allow", "198.51.100.7"),
            ("feed", "198.51.100.0/24"),
            ("wide", "198.51.0.0/16"),
        ]
        assert (found.kernel_entry, found.kernel_verdict, found.in_kernel) == ("198.51.100.7", "pass", True)
        other = engine.explain("198.51.100.8")
        assert (other.verdict, other.reason, other.list, other.entry) == (
            "drop", "block-list", "feed", "198.51.100.0/24",
        )  # fmt: skip

    def test_explain_an_address_that_is_not_listed(self, start: StartEngine) -> None:
        """Nothing covers it, and the kernel agrees."""
        found = start(FEED).explain("192.0.2.1")
        assert (found.verdict, found.reason, found.list, found.covers) == (None, "default", None, ())
        assert found.in_kernel

    def test_explain_shows_that_the_kernel_differs(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """An entry that somebody took out of the kernel is seen."""
        engine = start(FEED)
        plane.rows.clear()
        found = engine.explain("203.0.113.7")
        assert (found.verdict, found.kernel_verdict, found.in_kernel) == ("drop", None, False)

    @pytest.mark.parametrize("text", ["192.0.2.0/24", "x", "", "fe80::1%eth0"])
    def test_explain_takes_one_address(self, start: StartEngine, text: str) -> None:
        """Anything else is refused."""
        with pytest.raises(ListInvalid):
            start().explain(text)

    def test_status(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Lists, usage and interfaces; what is wrong with an interface is a problem."""
        engine = start(FEED, capacity=Capacity(hosts4=10))
        engine.block(["2001:db8::1"])
        plane.states = [InterfaceStatus("wan0", None, "none", "", attached=False, problem="does not exist")]
        status = engine.status()
        assert status.problems == ("wan0: does not exist",)
        assert {name: usage.used for name, usage in status.usage.items()} == {
            "hosts4": 1, "prefixes4": 1, "hosts6": 1, "prefixes6": 0, "classes": 2,
        }  # fmt: skip
        assert status.usage["hosts4"].capacity == 10
        feed = status.lists[2]
        assert (feed.name, feed.origin, feed.entries4, feed.entries6) == ("feed", "policy", 2, 0)
        plane.before = broken("interfaces")
        assert "interfaces cannot be read" in engine.status().problems[0]

    def test_counters_add_up_by_list(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Several classes of one list are one counter; a list's packets stay its own when the list goes."""
        engine = start(FEED)
        engine.load_list("two", "block", "203.0.113.7\n192.0.2.1\n")
        plane.counted = {i: Counter(10, 600) for i in plane.classes}
        assert engine.counters().reasons[Reason.BLOCK_LIST] == Counter(3, 180)
        before = engine.counters().lists
        assert before["feed", "drop"] == Counter(20, 1200)
        assert before["two", "drop"] == Counter(10, 600)
        engine.remove_list("two")
        assert engine.counters().lists == before

    def test_reused_class_ids_keep_counts_apart(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """When ids run out and one is reused, what it counted before stays with the old list."""
        engine = start(capacity=Capacity(classes=16))
        for number in range(20):
            engine.load_list(f"l{number}", "block", "192.0.2.1")
            used = next(iter(set(plane.rows.values())))
            plane.counted[used] = plane.counted.get(used, Counter()) + Counter(1, 60)
            engine.remove_list(f"l{number}")
        assert engine.counters().lists == {(f"l{i}", "drop"): Counter(1, 60) for i in range(20)}

    def test_program_and_life(self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path) -> None:
        """Reload, detach and close reach the data plane."""
        engine = start()
        plane.operations.clear()
        engine.reload_program()
        engine.detach()
        engine.close()
        assert plane.operations == ["reload_program", "detach", "close"]
