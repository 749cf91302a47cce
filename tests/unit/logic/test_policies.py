# SPDX-License-Identifier: Apache-2.0
"""A policy put in force, refused, or given up half-way."""

import pytest

from neurowall.logic.lockout import Session
from neurowall.model.errors import (
    ApplyError,
    CapacityError,
    KernelError,
    LockOut,
    NeurowallError,
    PolicyError,
    RulesetError,
)
from neurowall.model.policy import Capacity
from tests.unit.logic.policymachine import HEAD, LISTED, SSH, WEB, Machine, failing_once, files, meets


class TestApply:
    def test_puts_everything_in_force(self, machine: Machine) -> None:
        """The table, the guards and forwarding follow; the answer says which generation that is."""
        generation = machine.apply(SSH + "forwarding: [ipv4]\n")
        assert machine.rules == {"ssh"}
        assert machine.forwarded[-1].forwarding == ("ipv4",)
        assert machine.engine.policy_now().info.generation == generation == 2
        assert machine.engine.stateful().rules == 1

    def test_keeps_what_operators_blocked(self, machine: Machine) -> None:
        """A ban is nobody's policy: applying another one leaves it in force."""
        machine.engine.block(["203.0.113.7"])
        machine.engine.block(["203.0.113.8"], ttl=3600)
        machine.apply(WEB)
        assert machine.plane.verdict("203.0.113.7") == machine.plane.verdict("203.0.113.8") == "drop"

    def test_says_each_thing_once(self, machine: Machine) -> None:
        """What a declared list or the policy gives reason to warn of."""
        feed = machine.directory / "feed.txt"
        feed.write_text("203.0.113.1\n")
        machine.apply(LISTED)
        feed.unlink()
        text = LISTED + "defaults: {}\n"
        said = machine.engine.apply_policy(text, str(machine.directory / "applied.yaml")).warnings
        assert any("feed" in warning for warning in said)
        assert len(set(said)) == len(said)

    def test_the_same_again_is_no_new_generation(self, machine: Machine) -> None:
        """Nothing is written where nothing changes."""
        first = machine.apply(WEB)
        operations = len(machine.tables.operations)
        assert machine.apply(WEB) == first
        assert "commit" not in machine.tables.operations[operations:]

    def test_a_dry_run_changes_nothing(self, machine: Machine) -> None:
        """Neither the kernel nor the disk; the differences are told."""
        before = files(machine.state)
        change = machine.engine.plan_policy(WEB, "web.yaml")
        assert change.dry_run
        assert [line.name for line in change.differences if line.part == "rules"] == ["web"]
        assert change.objects > 0
        assert not machine.tables.held
        assert files(machine.state) == before

    def test_interfaces_come_and_go(self, machine: Machine) -> None:
        """No restart is needed to guard another interface."""
        machine.apply(HEAD + "  - {name: dmz0, zone: internal, networks: 192.0.2.0/24}\n")
        assert machine.plane.guards
        assert [guard.name for guard in machine.plane.guards.interfaces] == ["wan0", "lan0", "dmz0"]
        machine.apply(HEAD)
        assert [guard.name for guard in machine.plane.guards.interfaces] == ["wan0", "lan0"]

    def test_another_engine_needs_a_restart(self, machine: Machine) -> None:
        """Maps of another kind cannot take the place of those in force."""
        with pytest.raises(PolicyError, match="restart"):
            machine.apply(HEAD + "engine: classic\n")

    def test_what_the_kernel_refuses_is_refused_first(self, machine: Machine) -> None:
        """The kernel judges the table before anything is saved or touched."""
        before = files(machine.state)
        with pytest.raises(RulesetError, match="Not supported"):
            machine.apply(WEB.replace("name: web", "name: refused-by-the-kernel"))
        assert files(machine.state) == before
        assert "commit" not in machine.tables.operations

    def test_capacity_is_checked_first(self, machine: Machine) -> None:
        """A policy whose lists do not fit is refused with its lists' name, untouched."""
        (machine.directory / "feed.txt").write_text("".join(f"203.0.113.{n}\n" for n in range(32)))
        machine.apply(WEB)
        before, operations = files(machine.state), len(machine.tables.operations)
        machine.plane.held_capacity = Capacity(hosts4=3)
        with pytest.raises(CapacityError, match="feed"):
            machine.apply(LISTED.replace("name: web", "name: other") + "capacity: {hosts4: 3, grow: false}\n")
        assert "commit" not in machine.tables.operations[operations:]
        machine.plane.held_capacity = Capacity()
        machine.plane.without_xdp = frozenset({"wan0"})
        with pytest.raises(CapacityError, match="feed"):
            machine.apply(LISTED + "fallback: {max_entries: 3}\n")
        assert files(machine.state) == before
        assert machine.rules == {"web"}


class TestOrder:
    def test_tighten_switch_relax(self, machine: Machine) -> None:
        """New blocks are there before the table is switched, old ones go after it."""
        machine.apply(SSH + "lists: [{name: old, verdict: block, entries: [203.0.113.1]}]\n")
        seen: list[tuple[str, str | None, str | None]] = []

        def note(operation: str) -> None:
            if operation == "commit":
                old, new = machine.plane.verdict("203.0.113.1"), machine.plane.verdict("203.0.113.2")
                seen.append((operation, old, new))

        machine.tables.before = note
        machine.apply(WEB + "lists: [{name: new, verdict: block, entries: [203.0.113.2]}]\n")
        # The first commit only adds what no packet meets yet, the last takes away what none meets any more.
        assert seen == [("commit", "drop", None), ("commit", "drop", "drop"), ("commit", "drop", "drop")]
        assert machine.plane.verdict("203.0.113.1") is None
        assert machine.plane.verdict("203.0.113.2") == "drop"

    def test_no_packet_meets_a_third_verdict(self, machine: Machine) -> None:
        """After every single step: list verdict and table together are those of one of the two policies."""
        one = SSH + "lists: [{name: a, verdict: block, entries: [203.0.113.0/29, 203.0.113.9]}]\n"
        two = WEB + (
            "lists: [{name: a, verdict: block, entries: [203.0.113.4/30, 203.0.113.10]},"
            " {name: b, verdict: allow, entries: [203.0.113.5]}]\n"
        )
        addresses = [f"203.0.113.{n}" for n in range(12)]
        machine.apply(one)
        pairs = {}
        for text in (one, two):
            machine.apply(text)
            pairs[text] = {address: meets(machine, address) for address in addresses}
        steps: list[int] = []

        def check(*_: object) -> None:
            steps.append(1)
            for address in addresses:
                met = meets(machine, address)
                assert met in (pairs[one][address], pairs[two][address])

        machine.plane.after_row = check
        machine.tables.before = check
        for text in (one, two, one, two):
            machine.apply(text)
        assert len(steps) > 20


class TestFailures:
    @pytest.mark.parametrize(
        ("operation", "which"),
        [("commit", 1), ("commit", 2), ("configure", 1), ("configure", 2), ("put", 1), ("delete", 1)],
    )
    def test_reverts_everything(self, machine: Machine, operation: str, which: int) -> None:
        """Whatever step fails, lists, guards, table and disk are as before, and the next change works."""
        one = SSH + "lists: [{name: a, verdict: block, entries: [203.0.113.1]}]\n"
        two = WEB + "lists: [{name: a, verdict: block, entries: [203.0.113.2]}]\n"
        two = two.replace("zone: internal}", "zone: internal, networks: 192.0.2.0/24}")
        machine.apply(one)
        rows, table, guards = dict(machine.plane.rows), machine.tables.held, machine.plane.guards
        state = machine.state / "state.json"
        saved = state.read_bytes()
        left = [which]

        def fail(name: str) -> None:
            if name == operation:
                left[0] -= 1
                if left[0] == 0:
                    raise KernelError("the test breaks it")

        machine.plane.before = machine.tables.before = fail
        with pytest.raises(NeurowallError) as caught:
            machine.apply(two)
        # The first commit is made before anything is saved.
        assert (operation, which) == ("commit", 1) or (
            isinstance(caught.value, ApplyError) and caught.value.reverted
        )
        assert (machine.plane.rows, machine.tables.held) == (rows, table)
        assert machine.plane.guards == guards
        assert state.read_bytes() == saved
        machine.plane.before = machine.tables.before = lambda _: None
        machine.apply(two)
        assert machine.rules == {"web"}
        assert machine.plane.verdict("203.0.113.1") is None

    def test_a_failure_leaves_no_generation(self, machine: Machine) -> None:
        """What never was in force is not among what one could go back to."""
        before = [info.generation for info in machine.engine.generations()]
        machine.tables.before = failing_once("commit")
        with pytest.raises(NeurowallError):
            machine.apply(WEB)
        assert [info.generation for info in machine.engine.generations()] == before


class TestLockOut:
    SESSION = Session("192.0.2.9", 50_000, "192.0.2.1", 22)

    def test_refuses_to_cut_the_caller(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unless it is meant."""
        monkeypatch.setattr("neurowall.logic.engine.locked_out", lambda *_: "rule x drops your session")
        before = machine.engine.status().generation
        with pytest.raises(LockOut, match=r"rule x drops your session.*--force"):
            machine.apply(WEB, session=self.SESSION)
        assert machine.engine.status().generation == before
        machine.apply(WEB, session=self.SESSION, force=True)
        assert machine.rules == {"web"}


class TestFallback:
    def test_lists_of_interfaces_without_xdp_follow_bans(self, machine: Machine) -> None:
        """A ban reaches the sets of nftables with the answer, and leaves them when it is taken back."""
        machine.plane.without_xdp = frozenset({"wan0"})
        machine.engine.settle()
        before = machine.tables.held
        assert before
        machine.engine.block(["203.0.113.7"])
        assert any("203.0.113.7" in text for each in machine.tables.held.sets for text in each.elements)
        machine.engine.unblock(["203.0.113.7"])
        assert machine.tables.held == before
        machine.plane.without_xdp = frozenset()
        machine.engine.settle()
        assert not machine.tables.held
