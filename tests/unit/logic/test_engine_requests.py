# SPDX-License-Identifier: Apache-2.0
"""Blocking and allowing single addresses and prefixes, on a data plane in memory."""

from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.data.state import StateStore
from neurowall.logic.engine import Engine
from neurowall.logic.results import AddressOutcome
from neurowall.model.errors import CapacityError, ListInvalid
from neurowall.model.policy import Capacity, ListSpec
from tests.unit.logic.conftest import StartEngine, policy_of
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.oracle import ADDRESSES, RawList, judge

FEED = ListSpec(name="feed", verdict="block", entries=("203.0.113.7", "198.51.100.0/24"))


class TestBlock:
    def test_adds_and_counts(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """A blocked address is dropped by the kernel, and the answer says what was new."""
        engine = start()
        result = engine.block(["192.0.2.1", "2001:db8::/48"])
        assert (result.generation, result.added, result.unchanged) == (2, 2, 0)
        assert result.addresses[0] == AddressOutcome("192.0.2.1", "added", "drop")
        assert plane.verdict("192.0.2.1") == "drop"
        assert plane.verdict("2001:db8::1") == "drop"
        assert plane.verdict("192.0.2.2") is None

    def test_twice_changes_nothing(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """What is there already is no change, and no new generation."""
        engine = start()
        engine.block(["192.0.2.1"])
        plane.operations.clear()
        result = engine.block(["192.0.2.1", "192.0.2.1/32"])
        assert (result.generation, result.added, result.unchanged) == (2, 0, 1)
        assert plane.operations == []

    def test_host_bits_are_cleared(self, start: StartEngine) -> None:
        """A prefix with host bits is the prefix, and the answer shows it."""
        result = start().block(["192.0.2.77/24"])
        assert [outcome.address for outcome in result.addresses] == ["192.0.2.0/24"]

    def test_inside_an_allow_list_is_shadowed(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """A block of an allowed address is kept, and the answer says that it has no effect."""
        engine = start(ListSpec(name="partners", verdict="allow", entries=("192.0.2.0/24",)))
        result = engine.block(["192.0.2.1"])
        assert result.addresses[0] == AddressOutcome("192.0.2.1", "added", "pass", shadowed_by=("partners",))
        assert plane.verdict("192.0.2.1") == "pass"

    def test_around_an_allowed_host_is_partly_shadowed(
        self, start: StartEngine, plane: FakeDataPlane
    ) -> None:
        """A blocked prefix keeps the hole that an allow list makes, and says so."""
        engine = start(ListSpec(name="partners", verdict="allow", entries=("192.0.2.9",)))
        result = engine.block(["192.0.2.0/24"])
        assert result.addresses[0] == AddressOutcome("192.0.2.0/24", "added", "drop", partly=("partners",))
        assert plane.verdict("192.0.2.9") == "pass"
        assert plane.verdict("192.0.2.8") == "drop"

    @pytest.mark.parametrize("action", ["block", "allow", "unblock", "unallow"])
    def test_garbage_is_refused_whole(self, start: StartEngine, plane: FakeDataPlane, action: str) -> None:
        """One bad address refuses the request; every bad one is named by its position."""
        engine = start()
        plane.operations.clear()
        with pytest.raises(ListInvalid, match=r"nothing was changed: '192\.0\.2\.999': octet") as caught:
            getattr(engine, action)(["192.0.2.1", "192.0.2.999", "::/0"])
        assert [problem.line for problem in caught.value.problems] == [2, 3]
        assert plane.operations == []
        with pytest.raises(ListInvalid, match="no address was given"):
            getattr(engine, action)([])

    def test_capacity_is_checked_before_anything_is_touched(
        self, start: StartEngine, plane: FakeDataPlane
    ) -> None:
        """One host too many is refused by name of the list; kernel and generation stay."""
        engine = start(FEED, capacity=Capacity(hosts4=2, grow=False))
        engine.block(["192.0.2.1"])
        rows = dict(plane.rows)
        with pytest.raises(CapacityError, match="list 'feed' brings hosts4 to 3, the limit is 2"):
            engine.block(["192.0.2.2"])
        assert plane.rows == rows
        assert engine.status().generation == 2


class TestUnblockAndAllow:
    def test_unblock_removes(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """What is unblocked passes again."""
        engine = start()
        engine.block(["192.0.2.1", "192.0.2.2"])
        result = engine.unblock(["192.0.2.1", "192.0.2.9"])
        assert (result.removed, result.unchanged) == (1, 1)
        assert [outcome.outcome for outcome in result.addresses] == ["removed", "unchanged"]
        assert plane.verdict("192.0.2.1") is None
        assert plane.verdict("192.0.2.2") == "drop"

    def test_unblock_says_what_still_blocks(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Another list that covers the address, or a wider block, keeps it blocked."""
        engine = start(FEED)
        engine.block(["203.0.113.7", "203.0.113.0/24"])
        result = engine.unblock(["203.0.113.7"])
        assert result.addresses[0] == AddressOutcome(
            "203.0.113.7", "removed", "drop", still_blocked_by=("operator-block", "feed")
        )
        assert plane.verdict("203.0.113.7") == "drop"

    def test_unblock_of_a_prefix_says_what_is_blocked_inside(self, start: StartEngine) -> None:
        """Entries of other lists inside the prefix stay blocked, and are named."""
        engine = start(FEED)
        engine.block(["203.0.113.0/24"])
        result = engine.unblock(["203.0.113.0/24"])
        assert result.addresses[0] == AddressOutcome("203.0.113.0/24", "removed", None, partly=("feed",))

    def test_allow_opens_and_unallow_closes(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """An allow inside a blocked prefix makes a hole; without it the prefix is closed again."""
        engine = start(FEED)
        assert engine.allow(["198.51.100.9"]).addresses[0].verdict == "pass"
        assert plane.verdict("198.51.100.9") == "pass"
        assert plane.verdict("198.51.100.8") == "drop"
        assert engine.unallow(["198.51.100.9"]).removed == 1
        assert plane.verdict("198.51.100.9") == "drop"

    def test_many_at_once(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """More entries than are read back one by one work the same."""
        engine = start(FEED)
        many = [f"192.0.{i >> 8}.{i & 255}" for i in range(600)]
        assert engine.block(many).added == 600
        assert all(plane.verdict(address) == "drop" for address in many)
        assert engine.unblock(many).removed == 600
        assert plane.verdict(many[0]) is None


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["block", "allow", "unblock", "unallow"]),
        st.lists(
            st.sampled_from([f"203.0.113.{i}/{n}" for i in (0, 4, 5, 8) for n in (24, 29, 30, 31, 32)]),
            min_size=1,
            max_size=3,
        ),
    ),
    max_size=8,
)


class Requests:
    """An engine, and beside it the raw requests made so far, for the oracle."""

    FEED = RawList("feed", "block", ("203.0.113.4/30", "203.0.113.9/32"))
    ADDRESSES = tuple(address for address in ADDRESSES if ":" not in address)

    def __init__(self, directory: Path) -> None:
        self.plane = FakeDataPlane()
        policy = policy_of(ListSpec(name="feed", verdict="block", entries=self.FEED.texts))
        self.engine = Engine(policy, self.plane, StateStore(directory))
        self.engine.start()
        self.blocked: set[str] = set()
        self.allowed: set[str] = set()

    def lists(self) -> list[RawList]:
        """What is requested, as raw lists."""
        return [
            RawList("operator-allow", "allow", tuple(self.allowed)),
            RawList("operator-block", "block", tuple(self.blocked)),
            self.FEED,
        ]

    def make(self, action: str, texts: list[str]) -> None:
        """Make one request; at every step each address has the verdict before or after it."""
        before = {a: judge(self.lists(), a).verdict for a in self.ADDRESSES}
        target = self.blocked if "block" in action else self.allowed
        clean = {str(ip_network(text, strict=False)) for text in texts}
        (target.difference_update if action.startswith("un") else target.update)(clean)
        after = {a: judge(self.lists(), a).verdict for a in self.ADDRESSES}

        def check() -> None:
            for address in self.ADDRESSES:
                assert self.plane.verdict(address) in (before[address], after[address]), address

        self.plane.after_row = check
        getattr(self.engine, action)(texts)

    def check(self) -> None:
        """The kernel and explain say what a linear scan of the raw requests says."""
        for address in self.ADDRESSES:
            truth, explained = judge(self.lists(), address), self.engine.explain(address)
            assert self.plane.verdict(address) == truth.verdict == explained.verdict
            assert explained.list == truth.list
            assert {cover.list for cover in explained.covers} == truth.members
            assert explained.in_kernel


@settings(max_examples=40)
@given(ACTIONS)
def test_any_series_of_requests_means_what_it_says(actions: list[tuple[str, list[str]]]) -> None:
    """After each request, and at every step in between, the kernel does what was asked."""
    with TemporaryDirectory() as directory:
        requests = Requests(Path(directory))
        for action, texts in actions:
            requests.make(action, texts)
            requests.check()
        requests.engine.close()
