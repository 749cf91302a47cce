# SPDX-License-Identifier: Apache-2.0
"""Policies over time, with a kernel and tables in memory that outlive engines."""

from collections.abc import Callable
from pathlib import Path

import pytest

from neurowall.data.generations import GenerationStore
from neurowall.data.state import StateStore
from neurowall.data.tablememo import TableMemo
from neurowall.kernel import bootclock
from neurowall.logic.around import Around
from neurowall.logic.declared import boot
from neurowall.logic.engine import Engine
from neurowall.logic.lockout import Session
from neurowall.model.errors import (
    ApplyError,
    CapacityError,
    KernelError,
    LockOut,
    NeurowallError,
    PendingError,
    PolicyError,
    RulesetError,
    StateError,
)
from neurowall.model.intent import PolicyState
from neurowall.model.policy import Capacity, Policy
from neurowall.model.ruleset import Ruleset
from tests.unit.logic.fake import FakeDataPlane
from tests.unit.logic.faketables import FakeTables

HEAD = """
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal}
"""
WEB = (
    HEAD + "rules:\n  - {name: web, from: external, to: gateway, protocol: tcp, ports: 443, action: accept}\n"
)
SSH = (
    HEAD + "rules:\n  - {name: ssh, from: internal, to: gateway, protocol: tcp, ports: 22, action: accept}\n"
)
LISTED = WEB + "lists: [{name: feed, verdict: block, file: feed.txt}]\n"


class Machine:
    """One state directory, kernel and boot clock; engines come and go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.plane = FakeDataPlane()
        self.tables = FakeTables()
        self.forwarded: list[Policy] = []
        self.time = 1_000.0
        self.boot_id = "first"
        self.store: StateStore | None = None
        self.engine = self.start(HEAD)

    def start(self, config: str | None, *, write: bool = True) -> Engine:
        """As the daemon does: choose what to start with, and start."""
        if self.store:
            self.store.close()
        path = self.directory / "policy.yaml"
        if config is not None and write:
            path.write_text(config)
        self.store = StateStore(self.state)
        saved = self.store.load().policy if self.store.exists() else PolicyState()
        declared = boot(path if config is not None else None, saved, GenerationStore(self.state))
        memo = TableMemo(self.directory / "table.json")
        around = Around(self.tables, forwarding=self.forwarded.append, memo=memo, config=path)
        self.engine = Engine(declared, self.plane, self.store, clock=self.plane.clock, around=around)
        self.engine.start()
        return self.engine

    def apply(self, text: str, **more: object) -> int:
        """The generation after applying a policy beside the others' files."""
        filename = str(self.directory / "applied.yaml")
        return self.engine.apply_policy(text, filename, **more).generation  # type: ignore[arg-type]

    @property
    def rules(self) -> set[str]:
        """The rules that packets meet."""
        return {name.removeprefix("rule-") for name in self.tables.enforced() if name.startswith("rule-")}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose daemon was started with interfaces only."""
    machine: list[Machine] = []
    monkeypatch.setattr(bootclock, "now", lambda: machine[0].time if machine else 0.0)
    monkeypatch.setattr(bootclock, "boot_id", lambda: machine[0].boot_id if machine else "first")
    machine.append(Machine(tmp_path))
    return machine[0]


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
        before = _files(machine.state)
        change = machine.engine.plan_policy(WEB, "web.yaml")
        assert change.dry_run
        assert [line.name for line in change.differences if line.part == "rules"] == ["web"]
        assert change.objects > 0
        assert not machine.tables.held
        assert _files(machine.state) == before

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
        before = _files(machine.state)
        with pytest.raises(RulesetError, match="Not supported"):
            machine.apply(WEB.replace("name: web", "name: refused-by-the-kernel"))
        assert _files(machine.state) == before
        assert "commit" not in machine.tables.operations

    def test_capacity_is_checked_first(self, machine: Machine) -> None:
        """A policy whose lists do not fit is refused with its lists' name, untouched."""
        (machine.directory / "feed.txt").write_text("".join(f"203.0.113.{n}\n" for n in range(32)))
        machine.apply(WEB)
        before, operations = _files(machine.state), len(machine.tables.operations)
        machine.plane.held_capacity = Capacity(hosts4=3)
        with pytest.raises(CapacityError, match="feed"):
            machine.apply(LISTED.replace("name: web", "name: other") + "capacity: {hosts4: 3, grow: false}\n")
        assert "commit" not in machine.tables.operations[operations:]
        machine.plane.held_capacity = Capacity()
        machine.plane.without_xdp = frozenset({"wan0"})
        with pytest.raises(CapacityError, match="feed"):
            machine.apply(LISTED + "fallback: {max_entries: 3}\n")
        assert _files(machine.state) == before
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
            pairs[text] = {address: _meets(machine, address) for address in addresses}
        steps: list[int] = []

        def check(*_: object) -> None:
            steps.append(1)
            for address in addresses:
                met = _meets(machine, address)
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
        machine.tables.before = _failing_once("commit")
        with pytest.raises(NeurowallError):
            machine.apply(WEB)
        assert [info.generation for info in machine.engine.generations()] == before


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
        state.write_bytes(_as_first_schema(state.read_bytes()))
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
        machine.tables.before = _failing_once("commit")
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


def _meets(machine: Machine, address: str) -> str:
    """What a packet meets: the lists, or the table of the moment."""
    if machine.plane.verdict(address) == "drop":
        return "drop"
    return " ".join(sorted(machine.rules))


def _failing_once(operation: str) -> Callable[[str], None]:
    left = [1]

    def fail(name: str) -> None:
        if name == operation and left[0]:
            left[0] -= 1
            raise KernelError("the test breaks it")

    return fail


def _files(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def _as_first_schema(text: bytes) -> bytes:
    """The same state as the version before wrote it."""
    import hashlib
    import json

    document = json.loads(text)
    del document["intent"]["policy"]
    body = json.dumps(document["intent"], sort_keys=True, separators=(",", ":"))
    checksum = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps(
        {"schema": "neurowall-state/1", "checksum": checksum, "intent": document["intent"]}
    ).encode()
