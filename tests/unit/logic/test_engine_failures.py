# SPDX-License-Identifier: Apache-2.0
"""Failures half-way, crashes, restarts, and several callers at once."""

import threading
from pathlib import Path

import pytest

from neurowall.data.state import StateStore
from neurowall.logic.engine import Engine
from neurowall.model.errors import ApplyError, KernelError, MapFull, StateError
from neurowall.model.policy import Capacity
from tests.unit.data.faults import fault_at
from tests.unit.logic.conftest import StartEngine, policy_of
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.machine import CHANGES, FEED, MORE, agrees, intent, prepared


class TestKernelFailure:
    def test_map_full_half_way_is_reverted(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path
    ) -> None:
        """Some entries were written already: kernel, state and generation go back to what they were."""
        engine = prepared(start, Capacity(grow=False))
        rows, saved, before = dict(plane.rows), intent(tmp_path), engine.status()
        plane.limits["hosts4"] = 10
        with pytest.raises(
            ApplyError, match=r"kernel map hosts4 is full at 10.*nothing was changed"
        ) as caught:
            engine.load_list("bad", "block", MORE)
        assert caught.value.reverted
        assert isinstance(caught.value.__cause__, MapFull)
        assert plane.rows == rows
        assert intent(tmp_path) == saved
        assert engine.status() == before
        assert engine.block(["192.0.2.1"]).generation == before.generation + 1

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize(
        "operation",
        [
            "set_classes",
            "put",
            "delete",
            "grace",
            "lookup",
            "contents",
            "put_expiries",
            "delete_expiries",
        ],
    )
    def test_any_failing_operation_is_reverted(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path, change: str, operation: str
    ) -> None:
        """Whichever call fails once, everything is as before, and the change can be made again."""
        engine = prepared(start)
        rows, ends, saved = dict(plane.rows), dict(plane.ends), intent(tmp_path)
        failed: list[str] = []

        def once(name: str) -> None:
            if name == operation and not failed:
                failed.append(name)
                raise KernelError(f"{name} failed")

        plane.before = once
        reverted = None
        try:
            CHANGES[change](engine)
        except ApplyError as error:
            reverted = error.reverted
        plane.before = lambda _: None
        assert reverted == (True if failed else None)
        if failed:
            assert plane.rows == rows
            assert plane.ends == ends
            assert intent(tmp_path) == saved
            CHANGES[change](engine)
        assert agrees(engine, plane)

    def test_a_failed_revert_is_said_and_repaired_by_the_next_change(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path
    ) -> None:
        """With the kernel refusing everything the intent is still the old one; later all is repaired."""
        engine = prepared(start)
        saved = intent(tmp_path)

        def refuse(name: str) -> None:
            if name in ("grace", "delete"):
                raise KernelError(f"{name} failed")

        plane.before = refuse
        with pytest.raises(ApplyError, match="could not be reverted") as caught:
            engine.load_list("bad", "block", MORE)
        assert not caught.value.reverted
        assert plane.rows[4, 32, 0xC0000203], "the kernel must be left with what the change put"
        assert intent(tmp_path) == saved
        assert any("could not be reverted" in problem for problem in engine.status().problems)
        plane.before = lambda _: None
        engine.block(["192.0.2.200"])
        assert engine.status().problems == ()
        assert agrees(engine, plane)
        assert plane.verdict("192.0.2.3") is None

    def test_a_lost_update_is_written_again(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """A kernel that forgets an update once, as old LPM tries did, is corrected after the read back."""
        engine = prepared(start)
        lost = {(4, 32, 0xC0000203)}

        def lose(key: tuple[int, int, int]) -> bool:
            gone = key in lost
            lost.discard(key)
            return gone

        plane.lose_put = lose
        engine.load_list("bad", "block", MORE)
        assert not lost
        assert plane.verdict("192.0.2.3") == "drop"

    def test_an_update_lost_for_good_is_reverted(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """A kernel that does not hold what was written is an error, for large and for small changes."""
        engine = prepared(start)
        rows = dict(plane.rows)
        plane.lose_put = lambda key: key == (4, 32, 0xC0000203)
        with pytest.raises(ApplyError, match="something else"):
            engine.load_list("bad", "block", MORE)
        with pytest.raises(ApplyError, match=r"read back of 192\.0\.2\.3"):
            engine.block(["192.0.2.3"])
        assert plane.rows == rows


class TestDiskFailure:
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_full_disk_changes_nothing(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path, change: str
    ) -> None:
        """If the intent cannot be saved the kernel is not touched, and a restart finds the old intent."""
        engine = prepared(start)
        rows, saved = dict(plane.rows), intent(tmp_path)
        for number in range(50):
            plane.operations.clear()
            try:
                with fault_at(number, lambda: OSError(28, "No space left on device")):
                    CHANGES[change](engine)
            except StateError:
                assert plane.written == []
                assert plane.rows == rows
                assert intent(tmp_path) == saved
            else:
                break
        assert number >= 4
        assert agrees(engine, plane)

    def test_a_state_that_cannot_be_reverted_is_said(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path
    ) -> None:
        """Kernel and disk failing together leave the kernel as it was, and say what a restart will do."""
        engine = prepared(start)
        rows = dict(plane.rows)
        directory = tmp_path / "state"

        def disk_goes_too(name: str) -> None:
            if name == "put" and directory.exists():
                directory.rename(tmp_path / "gone")
                raise KernelError("put failed")

        plane.before = disk_goes_too
        with pytest.raises(ApplyError, match="saved state could not be reverted") as caught:
            engine.block(["192.0.2.1"])
        assert not caught.value.reverted
        assert plane.rows == rows


class TestConcurrency:
    def test_changes_are_made_one_at_a_time(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """Many callers: every request takes effect, every generation is given once."""
        engine = start(FEED)
        inside, overlaps, errors = [0], list[str](), list[Exception]()
        generations: list[int] = []

        def enter(name: str) -> None:
            if name in ("put", "delete", "grace"):
                inside[0] += 1
                if inside[0] > 1:
                    overlaps.append(name)
                threading.Event().wait(0.0005)
                inside[0] -= 1

        plane.before = enter

        def work(caller: int) -> None:
            try:
                blocks = (engine.block([f"192.0.{caller}.{number}"]) for number in range(6))
                generations.extend(result.generation for result in blocks)
                generations.append(engine.unblock([f"192.0.{caller}.0"]).generation)
                generations.append(engine.load_list(f"l{caller}", "block", f"192.0.{caller}.99").generation)
            except Exception as error:  # noqa: BLE001 - a thread's exception would be lost
                errors.append(error)

        threads = [threading.Thread(target=work, args=(caller,)) for caller in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert not overlaps
        assert sorted(generations) == list(range(2, 42))
        assert agrees(engine, plane)
        assert len(engine.show_list("operator-block").entries) == 25

    def test_questions_do_not_wait_for_a_change(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """While a change is under way, status, lists and explain answer from the last complete one."""
        engine = start(FEED)
        under_way, go_on = threading.Event(), threading.Event()

        def hold(name: str) -> None:
            if name == "grace":
                under_way.set()
                go_on.wait(10)

        plane.before = hold
        change = threading.Thread(target=lambda: engine.block(["192.0.2.1"]))
        change.start()
        assert under_way.wait(10)
        assert engine.status().generation == 1
        assert engine.show_list("operator-block").entries == ()
        assert engine.explain("203.0.113.7").verdict == "drop"
        go_on.set()
        change.join()
        assert engine.status().generation == 2


def test_nothing_works_before_the_start(plane: FakeDataPlane, tmp_path: Path) -> None:
    """An engine that was not started is a mistake of the program."""
    with pytest.raises(RuntimeError, match="not been started"):
        Engine(policy_of(FEED), plane, StateStore(tmp_path)).block(["192.0.2.1"])
