# SPDX-License-Identifier: Apache-2.0
"""The order in which the engine really writes, whatever the difference says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings

from neurowall.data.state import StateStore
from neurowall.logic.engine import Engine
from neurowall.model.policy import ListSpec
from tests.unit.logic.conftest import StartEngine, policy_of
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.oracle import ADDRESSES, RawList, judge, raw_lists

BLOCK = ListSpec(name="bad", verdict="block", entries=("203.0.113.0/24",))


@contextmanager
def running(lists: list[RawList], plane: FakeDataPlane) -> Iterator[Engine]:
    """An engine with these lists, loaded at run time: their texts may have host bits."""
    with TemporaryDirectory() as directory:
        engine = Engine(policy_of(), plane, StateStore(Path(directory)))
        engine.start()
        for raw in lists:
            engine.load_list(raw.name, raw.verdict, "\n".join(raw.texts), monitor=raw.monitor)
        yield engine
        engine.close()


@settings(max_examples=60)
@given(raw_lists(max_lists=2), raw_lists(max_lists=2))
def test_replacing_lists_gives_old_or_new_verdicts_at_every_row(
    old: list[RawList], new: list[RawList]
) -> None:
    """While a list is replaced, every single entry written leaves each address its old or its new verdict."""
    plane = FakeDataPlane()
    with running(old, plane) as engine:
        current = list(old)
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            wanted = [*current]
            wanted[index] = before._replace(texts=after.texts)
            allowed = {a: {judge(current, a).verdict, judge(wanted, a).verdict} for a in ADDRESSES}

            def check(allowed: dict[str, set[str | None]] = allowed) -> None:
                for address, verdicts in allowed.items():
                    assert plane.verdict(address) in verdicts, address

            plane.after_row = check
            engine.replace_list(before.name, "\n".join(after.texts))
            plane.after_row = lambda: None
            current = wanted
            assert all(plane.verdict(a) == judge(current, a).verdict for a in ADDRESSES)


class TestGracePeriods:
    def test_a_new_hole_comes_before_its_block(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Both new in one change: host, grace period, prefix, grace period."""
        engine = start()
        plane.operations.clear()
        hole = ListSpec(name="good", verdict="allow", entries=("203.0.113.1",))
        engine.reload_policy(policy_of(BLOCK, hole))
        assert _writes(plane) == ["put", "grace", "put", "grace"]

    def test_between_putting_and_deleting(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Nothing old goes before every packet sees what is new."""
        engine = start()
        engine.load_list("bad", "block", "203.0.113.0/24")
        plane.operations.clear()
        engine.replace_list("bad", "192.0.2.1")
        assert _writes(plane) == ["put", "grace", "delete", "grace"]

    def test_a_block_is_answered_after_a_grace_period(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """When the answer comes no packet is under way that has not seen the block."""
        engine = start()
        plane.operations.clear()
        engine.block(["192.0.2.1"])
        assert _writes(plane) == ["put", "grace"]


def _writes(plane: FakeDataPlane) -> list[str]:
    return [name for name in plane.operations if name in ("put", "delete", "grace")]
