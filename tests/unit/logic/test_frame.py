# SPDX-License-Identifier: Apache-2.0
"""What stands around the lists, step by step, with a kernel and tables in memory that outlive daemons."""

from pathlib import Path

import pytest

from neurowall.data.tablememo import NAME, TableMemo
from neurowall.logic.around import Around
from neurowall.logic.frame import Frame
from neurowall.logic.guards import between
from neurowall.model.errors import KernelError
from neurowall.model.guards import Guards, guards_of
from neurowall.model.interfaces import InterfaceStatus
from neurowall.model.policy import Policy, load_policy
from tests.unit.logic.fake import FakeDataPlane, broken
from tests.unit.logic.faketables import FakeTables

BARE = "interfaces: [{name: wan0, zone: external}, {name: lan0, zone: internal}]\n"
RULES = "rules: [{name: %s, from: external, to: gateway, protocol: tcp, ports: 443, action: accept}]\n"
NETWORKS = BARE.replace("internal}", "internal, networks: 192.0.2.0/24}")
MOVED = "interfaces: [{name: wan0, zone: external}, {name: dmz0, zone: internal}]\n"


def policy(text: str) -> Policy:
    """A policy of its own: equal texts are no equal policies to a frame."""
    return load_policy(text, "policy.yaml")


class Bench:
    """A frame in a machine that remembers what was done in which order."""

    def __init__(self, directory: Path) -> None:
        self.plane, self.tables = FakeDataPlane(), FakeTables()
        self.memo = TableMemo(directory / NAME)
        self.forwarded: list[Policy] = []
        self.frame = self.restarted()

    def restarted(self) -> Frame:
        """The frame of the next daemon, which knows what was noted and no more."""
        around = Around(tables=self.tables, forwarding=self.forwarded.append, memo=self.memo)
        self.frame = Frame(self.plane, around)
        return self.frame

    def go(self, wanted: Policy) -> None:
        """Put a policy in force."""
        move = self.frame.move(self.frame.framed(wanted, (), 0.0))
        move.tighten()
        move.switch()
        move.relax()

    def drifted(self) -> bool:
        """Whether another program is found to have changed the table."""
        return self.frame.has_drifted(self.frame.look())

    @property
    def commits(self) -> int:
        """How often the table was changed."""
        return self.tables.operations.count("commit")

    @property
    def guards(self) -> Guards:
        """How interfaces are guarded."""
        assert self.plane.guards
        return self.plane.guards


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Nothing was ever in force."""
    return Bench(tmp_path)


class TestMove:
    def test_everything_follows(self, bench: Bench) -> None:
        """Guards, table and forwarding are those of the policy."""
        wanted = policy(NETWORKS + RULES % "web")
        bench.go(wanted)
        assert bench.guards == guards_of(wanted)
        assert "rule-web" in bench.tables.enforced()
        assert bench.forwarded == [wanted]
        assert bench.frame.now
        assert bench.frame.now.policy is wanted

    def test_guards_are_the_strictest_until_the_end(self, bench: Bench) -> None:
        """Between tightening and relaxing no packet passes that one of the policies drops there."""
        old, new = policy(NETWORKS + RULES % "old"), policy(MOVED + RULES % "new")
        bench.go(old)
        move = bench.frame.move(bench.frame.framed(new, (), 0.0))
        move.tighten()
        strictest = between(guards_of(old), guards_of(new))
        assert bench.guards == strictest
        assert {guard.name for guard in strictest.interfaces} == {"wan0", "lan0", "dmz0"}
        assert "rule-old" in bench.tables.enforced()
        move.switch()
        assert bench.guards == strictest
        assert "rule-new" in bench.tables.enforced()
        move.relax()
        assert bench.guards == guards_of(new)

    def test_forwards_last(self, bench: Bench) -> None:
        """Nothing is forwarded for a policy whose table is not in force yet."""
        bench.go(policy(BARE + RULES % "old"))
        move = bench.frame.move(bench.frame.framed(policy(BARE + RULES % "new"), (), 0.0))
        move.tighten()
        move.switch()
        assert len(bench.forwarded) == 1
        move.relax()
        assert len(bench.forwarded) == 2

    def test_what_is_the_same_is_left_alone(self, bench: Bench) -> None:
        """A ban costs neither the table nor the interfaces anything."""
        wanted = policy(BARE + RULES % "web")
        bench.go(wanted)
        commits, operations = bench.commits, list(bench.plane.operations)
        bench.go(wanted)
        assert bench.commits == commits
        assert bench.plane.operations.count("configure") == operations.count("configure")
        assert len(bench.forwarded) == 1

    def test_nothing_is_known_while_it_lasts(self, bench: Bench) -> None:
        """After a change that was given up anywhere, nobody takes the table for what it was."""
        bench.go(policy(BARE + RULES % "old"))
        move = bench.frame.move(bench.frame.framed(policy(NETWORKS + RULES % "new"), (), 0.0))
        bench.plane.before = broken("configure", after=1)
        move.tighten()
        move.switch()
        with pytest.raises(KernelError):
            move.relax()
        assert bench.frame.now is None

    def test_an_interface_that_loses_its_guard_is_a_failure(self, bench: Bench) -> None:
        """One that had none before is not."""
        lost = InterfaceStatus("wan0", 2, "none", "", attached=False, problem="no memory")
        bench.go(policy(BARE))
        bench.plane.states = [lost]
        bench.go(policy(NETWORKS))
        bench.plane.states = []
        move = bench.frame.move(bench.frame.framed(policy(BARE), (), 0.0))
        move.tighten()
        bench.plane.states = [lost]
        with pytest.raises(KernelError, match="wan0: no memory"):
            move.relax()

    def test_the_first_takes_what_it_gets(self, bench: Bench) -> None:
        """Whether a start goes on unguarded is its caller's to judge: there is nothing to go back to."""
        bench.plane.states = [InterfaceStatus("wan0", 2, "none", "", attached=False, problem="no memory")]
        bench.go(policy(BARE))
        assert bench.frame.now

    def test_the_way_back(self, bench: Bench) -> None:
        """From any step, all of it is as before."""
        old, new = policy(NETWORKS + RULES % "old"), policy(BARE + RULES % "new")
        bench.go(old)
        held = bench.tables.held
        for steps in range(4):
            move = bench.frame.move(bench.frame.framed(new, (), 0.0))
            for step in (move.tighten, move.switch, move.relax)[:steps]:
                step()
            back = move.reversed()
            back.tighten()
            back.switch()
            back.relax()
            assert (bench.tables.held, bench.guards) == (held, guards_of(old))
            assert bench.forwarded[-1] is old
            assert bench.frame.now
            assert bench.frame.now.policy is old

    def test_no_way_back_from_the_first(self, bench: Bench) -> None:
        """Nobody knows what was there before: it is left as it is."""
        move = bench.frame.move(bench.frame.framed(policy(BARE + RULES % "web"), (), 0.0))
        move.tighten()
        move.switch()
        held = bench.tables.held
        back = move.reversed()
        back.tighten()
        back.switch()
        back.relax()
        assert bench.tables.held == held
        assert bench.frame.now is None


class TestTable:
    def test_none_without_need(self, bench: Bench) -> None:
        """A policy that asks nothing of nftables touches no table, whoever's it is."""
        bench.go(policy(BARE))
        assert bench.commits == 0
        assert bench.memo.read() is None

    def test_goes_with_the_last_rule(self, bench: Bench) -> None:
        """Then it is nobody's any more."""
        bench.go(policy(BARE + RULES % "web"))
        assert bench.memo.read()
        bench.go(policy(BARE))
        assert not bench.tables.held
        assert bench.memo.read() is None

    def test_a_restart_leaves_it_alone(self, bench: Bench) -> None:
        """If it is as it was left: what it counts goes on being counted."""
        bench.go(policy(BARE + RULES % "web"))
        assert not bench.drifted()
        commits = bench.commits
        bench.restarted()
        bench.go(policy(BARE + RULES % "web"))
        assert bench.commits == commits
        assert not bench.drifted()

    @pytest.mark.parametrize("noted", [True, False])
    def test_a_restart_after_somebody_else_puts_it_back(self, bench: Bench, noted: bool) -> None:
        """What was changed while no daemon ran is not taken for ours; nor what was never read back."""
        bench.go(policy(BARE + RULES % "web"))
        held = bench.tables.held
        if noted:
            assert not bench.drifted()
        bench.tables.commit(None, type(held)())
        bench.restarted()
        bench.go(policy(BARE + RULES % "web"))
        assert bench.tables.held == held

    def test_is_noted_before_it_is_made(self, bench: Bench) -> None:
        """A daemon that is killed between leaves no table that `down` would not know."""
        seen: list[bool] = []
        bench.tables.before = lambda name: (
            seen.append(bench.memo.read() is not None) if name == "commit" else None
        )
        bench.go(policy(BARE + RULES % "web"))
        assert seen
        assert all(seen)

    def test_a_damaged_note_costs_one_replacement(self, bench: Bench, tmp_path: Path) -> None:
        """And nothing else."""
        bench.go(policy(BARE + RULES % "web"))
        assert not bench.drifted()
        (tmp_path / NAME).write_text("{")
        commits = bench.commits
        bench.restarted()
        bench.go(policy(BARE + RULES % "web"))
        assert bench.commits == commits + 1


class TestDrift:
    def test_another_programs_change_is_found_and_put_back(self, bench: Bench) -> None:
        """And counted."""
        wanted = policy(BARE + RULES % "web")
        bench.go(wanted)
        held = bench.tables.held
        assert not bench.drifted()
        bench.tables.commit(None, type(held)())
        bench.frame.suspected = True
        assert bench.frame.must_look
        assert bench.drifted()
        bench.frame.repair(bench.frame.framed(wanted, (), 0.0))
        assert bench.tables.held == held
        assert bench.frame.repairs == 1
        assert not bench.drifted()

    def test_our_own_is_none(self, bench: Bench) -> None:
        """Though it differs from what was read before it."""
        bench.go(policy(BARE + RULES % "one"))
        seen = bench.frame.look()
        bench.go(policy(BARE + RULES % "two"))
        assert not bench.frame.has_drifted(seen)
        assert not bench.drifted()

    def test_is_not_looked_for_without_reason(self, bench: Bench) -> None:
        """Reading a large table takes long."""
        bench.go(policy(BARE + RULES % "web"))
        assert not bench.drifted()
        assert not bench.frame.must_look

    def test_none_before_the_start(self, bench: Bench) -> None:
        """Nothing of ours is there yet."""
        bench.frame.suspected = True
        assert not bench.frame.must_look
        assert not bench.drifted()
