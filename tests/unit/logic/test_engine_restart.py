# SPDX-License-Identifier: Apache-2.0
"""Restarts: adoption, lost kernels and states, declared files."""

from pathlib import Path

import pytest

from neurowall.model.errors import ApplyError, ListError, ListInvalid, StateError
from neurowall.model.image import ClassDef
from neurowall.model.policy import Capacity, ListSpec
from tests.unit.logic.conftest import StartEngine
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.machine import FEED, MORE, agrees, intent, prepared


class TestRestart:
    def test_adoption_writes_nothing(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """A restart with unchanged policy and state adopts what the kernel holds, in the same generation."""
        before = prepared(start).status()
        rows = dict(plane.rows)
        plane.operations.clear()
        after = start(FEED).status()
        assert plane.written == []
        assert plane.rows == rows
        assert (after.generation, after.lists) == (before.generation, before.lists)

    def test_a_lost_kernel_is_filled_again(self, start: StartEngine, plane: FakeDataPlane) -> None:
        """After a reboot the maps are empty; everything that was intended comes back."""
        prepared(start)
        rows, classes = dict(plane.rows), dict(plane.classes)
        plane.rows.clear()
        plane.classes.clear()
        start(FEED)
        assert plane.rows == rows
        assert {i: d for i, d in plane.classes.items() if i in rows.values()} == {
            i: d for i, d in classes.items() if i in rows.values()
        }

    def test_a_lost_state_reuses_no_id_of_the_kernel(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path
    ) -> None:
        """Ids of unknown meaning are left alone while their entries are there, and those go."""
        prepared(start)
        unknown = set(plane.rows.values())
        (tmp_path / "state").rename(tmp_path / "gone")
        meanings = {i: plane.classes[i] for i in unknown}
        seen: list[dict[int, ClassDef]] = []
        plane.after_row = lambda: seen.append(
            {i: plane.classes[i] for i in unknown & set(plane.rows.values())}
        )
        engine = start(FEED)
        assert agrees(engine, plane)
        assert all(state[i] == meanings[i] for state in seen for i in state)
        assert not unknown & set(plane.rows.values())

    def test_an_id_with_another_verdict_in_the_kernel_is_not_trusted(
        self, start: StartEngine, plane: FakeDataPlane
    ) -> None:
        """A state restored from a backup does not change what the kernel's entries mean, not for a moment."""
        engine = start(FEED)
        class_id = engine.explain("203.0.113.7").class_id
        assert class_id
        plane.classes[class_id] = ClassDef(class_id, "pass", "other", frozenset({"other"}))
        plane.rows[4, 32, 0xC0000201] = class_id
        seen = []
        plane.after_row = lambda: seen.append(plane.verdict("192.0.2.1"))
        engine = start(FEED)
        assert set(seen) <= {"pass", None}
        assert agrees(engine, plane)

    def test_a_failing_start_leaves_the_kernel_as_it_was(
        self, start: StartEngine, plane: FakeDataPlane, tmp_path: Path
    ) -> None:
        """What is pinned goes on being enforced, and the saved state is not the one that failed."""
        prepared(start)
        rows, saved = dict(plane.rows), intent(tmp_path)
        plane.limits["hosts4"] = 6
        many = ListSpec(name="many", verdict="block", entries=tuple(MORE.split()))
        with pytest.raises(ApplyError, match="is full"):
            start(FEED, many, capacity=Capacity(grow=False))
        assert plane.rows == rows
        assert intent(tmp_path) == saved


class TestDeclaredFiles:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """A list file."""
        path = tmp_path / "feed.txt"
        path.write_text("192.0.2.1\n")
        return path

    def spec(self, file: Path) -> ListSpec:
        """Its declaration."""
        return ListSpec(name="feed", verdict="block", file=file)

    def test_is_read_at_every_start(self, start: StartEngine, file: Path) -> None:
        """A changed file is in force after a restart."""
        start(self.spec(file))
        file.write_text("192.0.2.2\n")
        assert start(self.spec(file)).show_list("feed").entries == ("192.0.2.2",)

    def test_a_replacement_outlives_restarts_until_the_file_changes(
        self, start: StartEngine, file: Path
    ) -> None:
        """What the operator put in its place stays, until the operator changes the file."""
        start(self.spec(file)).replace_list("feed", "192.0.2.9\n")
        engine = start(self.spec(file))
        assert engine.show_list("feed").entries == ("192.0.2.9",)
        assert engine.lists()[2].override
        file.write_text("192.0.2.2\n")
        engine = start(self.spec(file))
        assert engine.show_list("feed").entries == ("192.0.2.2",)
        assert not engine.lists()[2].override
        assert "its declaration changed" in engine.status().warnings[0]

    def test_an_unreadable_file_keeps_the_last_copy(
        self, start: StartEngine, plane: FakeDataPlane, file: Path
    ) -> None:
        """A file that is gone, or full of garbage, does not unblock anybody."""
        start(self.spec(file))
        file.write_text("<html>\n")
        engine = start(self.spec(file))
        assert plane.verdict("192.0.2.1") == "drop"
        assert "feed.txt:1: not an IPv4" in engine.status().warnings[0]
        assert "<html>" not in engine.status().warnings[0]  # who may read warnings may not read every file
        file.unlink()
        engine = start(self.spec(file))
        assert plane.verdict("192.0.2.1") == "drop"
        assert "No such file" in engine.status().warnings[0]
        assert "last good copy" in engine.status().warnings[0]

    def test_without_a_copy_it_is_an_error(
        self, start: StartEngine, plane: FakeDataPlane, file: Path
    ) -> None:
        """A first start without the declared list is refused, and nothing is touched."""
        file.write_text("192.0.2.1\nnonsense\n")
        with pytest.raises(ListInvalid, match=r"list 'feed': .*feed\.txt:2: 'nonsense'"):
            start(self.spec(file))
        file.unlink()
        with pytest.raises(ListError, match=r"list 'feed': .*cannot be read"):
            start(self.spec(file))
        assert plane.rows == {}

    def test_a_damaged_copy_of_a_declared_list_is_read_again(
        self, start: StartEngine, tmp_path: Path, file: Path
    ) -> None:
        """What can be had from the policy needs no saved copy; what cannot is an error."""
        start(self.spec(file))
        for saved in (tmp_path / "state" / "lists").iterdir():
            saved.unlink()
        with pytest.raises(StateError, match="it holds list 'operator-allow'"):
            start(self.spec(file))

    def test_the_policy_wins_over_a_loaded_list_of_its_name(self, start: StartEngine, file: Path) -> None:
        """A name that was loaded at run time and is declared now is the declared list."""
        start().load_list("feed", "allow", "192.0.2.9\n")
        engine = start(self.spec(file))
        assert engine.show_list("feed").entries == ("192.0.2.1",)
        assert "the policy declares it now" in engine.status().warnings[0]
