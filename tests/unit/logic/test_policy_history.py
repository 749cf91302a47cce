# SPDX-License-Identifier: Apache-2.0
"""Policies over time: confirmed, taken back, rolled back to, started with."""

from pathlib import Path

import pytest

from neurowall.data.generations import GenerationStore
from neurowall.logic.declared import boot
from neurowall.model.errors import (
    KernelError,
    PendingError,
    PolicyError,
    StateError,
)
from neurowall.model.intent import PolicyState
from neurowall.model.ruleset import Ruleset
from tests.unit.logic.policymachine import HEAD, LISTED, SSH, WEB, Machine, as_first_schema, failing_once


class TestConfirm:
    def test_confirmed_stays(self, machine: Machine) -> None:
        """After a confirmation time does nothing."""
        machine.apply(WEB, confirm=60)
        machine.engine.confirm_policy()
        machine.time += 61
        assert not machine.engine.take_back_unconfirmed()
        assert machine.rules == {"web"}

    def test_unconfirmed_goes_back(self, machine: Machine) -> None:
        """Without one the policy before is in force again, as a new generation that says why."""
        machine.apply(SSH)
        machine.apply(WEB, confirm=60)
        machine.time += 59
        assert not machine.engine.take_back_unconfirmed()
        machine.time += 2
        assert machine.engine.take_back_unconfirmed()
        assert machine.rules == {"ssh"}
        assert machine.engine.policy_now().info.source == "unconfirmed"
        assert machine.engine.policy_now().pending is None

    def test_bans_meanwhile_stay(self, machine: Machine) -> None:
        """Going back takes back the policy, not what operators did since."""
        machine.apply(WEB, confirm=60)
        machine.engine.block(["203.0.113.7"])
        machine.time += 61
        machine.engine.take_back_unconfirmed()
        assert machine.plane.verdict("203.0.113.7") == "drop"

    def test_survives_a_restart(self, machine: Machine) -> None:
        """A daemon that starts meanwhile goes on waiting; one that starts later goes back at once."""
        machine.apply(SSH)
        machine.apply(WEB, confirm=60)
        machine.time += 30
        machine.start(HEAD)
        pending = machine.engine.policy_now().pending
        assert pending
        assert pending.seconds == pytest.approx(30)
        assert machine.rules == {"web"}
        machine.time += 31
        machine.start(HEAD)
        assert machine.rules == {"ssh"}

    def test_a_reboot_is_no_confirmation(self, machine: Machine) -> None:
        """A machine that had to be started again was perhaps cut off: back at once."""
        machine.apply(SSH)
        machine.apply(WEB, confirm=3600)
        machine.boot_id = "second"
        machine.start(HEAD)
        assert machine.rules == {"ssh"}

    def test_nothing_else_is_applied_meanwhile(self, machine: Machine) -> None:
        """What would be gone back to must stay clear; going back is always possible."""
        machine.apply(SSH)
        machine.apply(WEB, confirm=60)
        with pytest.raises(PendingError, match="neurowall confirm"):
            machine.apply(HEAD)
        machine.engine.rollback_policy()
        assert machine.rules == {"ssh"}
        with pytest.raises(PendingError):
            machine.engine.confirm_policy()

    @pytest.mark.parametrize("seconds", [0.0, -1.0, 1e9, float("nan")])
    def test_refuses_times_that_cannot_be(self, machine: Machine, seconds: float) -> None:
        """A time of nothing, or of years, is a slip."""
        with pytest.raises(PolicyError, match="24 h"):
            machine.apply(WEB, confirm=seconds)


class TestRollback:
    def test_to_any_generation(self, machine: Machine) -> None:
        """A number between two policies means the one that was in force then."""
        ssh = machine.apply(SSH)
        machine.engine.block(["203.0.113.7"])
        machine.apply(WEB)
        machine.engine.rollback_policy(ssh + 1)
        assert machine.rules == {"ssh"}
        machine.engine.rollback_policy()
        assert machine.rules == {"web"}
        assert machine.plane.verdict("203.0.113.7") == "drop"

    def test_brings_declared_lists_back(self, machine: Machine) -> None:
        """Also as they were then, though their file says something else now; a restart keeps that."""
        feed = machine.directory / "feed.txt"
        feed.write_text("203.0.113.1\n")
        good = machine.apply(LISTED)
        feed.write_text("203.0.113.2\n")
        machine.apply(LISTED + "defaults: {}\n")
        assert machine.plane.verdict("203.0.113.1") is None
        machine.engine.rollback_policy(good)
        machine.start(HEAD)
        assert machine.plane.verdict("203.0.113.1") == "drop"
        assert machine.plane.verdict("203.0.113.2") is None

    def test_brings_a_removed_list_back_without_its_file(self, machine: Machine) -> None:
        """The content is kept: a file that has gone since is no obstacle."""
        feed = machine.directory / "feed.txt"
        feed.write_text("203.0.113.1\n")
        good = machine.apply(LISTED)
        machine.apply(WEB)
        feed.unlink()
        machine.start(HEAD)
        machine.engine.rollback_policy(good)
        assert machine.plane.verdict("203.0.113.1") == "drop"

    def test_a_number_that_never_was(self, machine: Machine) -> None:
        """It is said which there are."""
        with pytest.raises(StateError, match="in force: 1"):
            machine.engine.rollback_policy(0)


class TestBoot:
    def test_what_was_applied_is_in_force_after_a_restart(self, machine: Machine) -> None:
        """The daemon's own file is older news, as long as nobody changes it."""
        machine.apply(WEB)
        generation = machine.engine.status().generation
        machine.start(HEAD)
        assert machine.rules == {"web"}
        assert machine.engine.status().generation == generation
        machine.start(None)
        assert machine.rules == {"web"}

    def test_a_changed_file_is_newer(self, machine: Machine) -> None:
        """An operator who edits the file and restarts the daemon means it."""
        machine.apply(WEB)
        machine.start(SSH)
        assert machine.rules == {"ssh"}
        assert machine.engine.policy_now().info.source == "start"

    @pytest.mark.parametrize("way", ["unconfirmed", "rollback", "reboot"])
    def test_what_was_taken_back_does_not_return(self, machine: Machine, way: str) -> None:
        """Also if the refused policy is what the daemon's own file says now."""
        machine.apply(SSH)
        (machine.directory / "policy.yaml").write_text(WEB)
        machine.apply(WEB, confirm=60)
        if way == "rollback":
            machine.engine.rollback_policy()
        elif way == "unconfirmed":
            machine.time += 61
            assert machine.engine.take_back_unconfirmed()
        else:
            machine.boot_id = "second"
        machine.start(WEB)
        assert machine.rules == {"ssh"}

    @pytest.mark.parametrize("broken", ["interfaces: []\n", "rules: [", ""])
    def test_a_broken_file_stops_no_enforcement(self, machine: Machine, broken: str) -> None:
        """What was in force stays so, and the warning says what is wrong with the file."""
        machine.apply(WEB)
        machine.start(broken)
        assert machine.rules == {"web"}
        assert any("policy.yaml" in warning for warning in machine.engine.status().warnings)
        machine.start(SSH)
        assert machine.rules == {"ssh"}

    def test_a_missing_file_stops_none_either(self, machine: Machine) -> None:
        """The same if it is not there at all."""
        machine.apply(WEB)
        (machine.directory / "policy.yaml").unlink()
        machine.start("", write=False)
        assert machine.rules == {"web"}

    def test_without_any_policy(self, tmp_path: Path) -> None:
        """The first start needs a file."""
        with pytest.raises(PolicyError, match="--config"):
            boot(None, PolicyState(), GenerationStore(tmp_path))

    def test_a_damaged_generation_gives_way_to_the_file(self, machine: Machine) -> None:
        """A machine without its history still starts from the policy file."""
        machine.apply(WEB)
        for path in (machine.state / "generations").iterdir():
            path.write_text("{")
        machine.start(SSH)
        assert machine.rules == {"ssh"}

    def test_reads_the_state_of_the_version_before(self, machine: Machine) -> None:
        """A state without a policy gets one from the file, and keeps its bans."""
        machine.engine.block(["203.0.113.7"])
        state = machine.state / "state.json"
        state.write_bytes(as_first_schema(state.read_bytes()))
        for path in (machine.state / "generations").iterdir():
            path.unlink()
        machine.start(WEB)
        assert machine.rules == {"web"}
        assert machine.plane.verdict("203.0.113.7") == "drop"


class TestDrift:
    def test_puts_the_table_back(self, machine: Machine) -> None:
        """What another program did to the table is undone, and counted."""
        machine.apply(WEB)
        held = machine.tables.held
        assert not machine.engine.repair()
        machine.tables.commit(None, type(held)())
        machine.engine.suspect()
        assert machine.engine.repair()
        assert machine.tables.held == held
        assert machine.engine.stateful().drift_repairs == 1

    def test_before_it_was_read_back(self, machine: Machine) -> None:
        """Also if that happened right after our own change, before we knew what the table looks like."""
        machine.apply(WEB)
        held = machine.tables.held
        machine.tables.commit(None, type(held)())
        machine.engine.suspect()
        assert machine.engine.repair()
        assert machine.tables.held == held

    def test_a_repair_that_fails_is_tried_again(self, machine: Machine) -> None:
        """Also if no other event comes."""
        machine.apply(WEB)
        assert not machine.engine.repair()
        held = machine.tables.held
        machine.tables.commit(None, type(held)())
        machine.engine.suspect()
        machine.tables.before = failing_once("commit")
        with pytest.raises(KernelError):
            machine.engine.repair()
        assert machine.engine.repair()
        assert machine.tables.held == held

    def test_what_was_read_before_our_own_change(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It says nothing: the next change still goes by difference, without a moment of no table."""
        machine.apply(WEB)
        seen = machine.engine._frame.look()
        machine.apply(SSH)
        assert not machine.engine._committer.repair(seen)
        commit, olds = machine.tables.commit, list[bool]()

        def noting(old: Ruleset | None, new: Ruleset) -> None:
            olds.append(old is not None)
            commit(old, new)

        monkeypatch.setattr(machine.tables, "commit", noting)
        machine.apply(WEB)
        assert olds
        assert all(olds)

    def test_another_table_is_none_of_ours(self, machine: Machine) -> None:
        """A transaction that leaves our table alone is no drift."""
        machine.apply(WEB)
        assert not machine.engine.repair()
        machine.tables.number += 1
        machine.engine.suspect()
        assert not machine.engine.repair()
        assert machine.engine.stateful().drift_repairs == 0
