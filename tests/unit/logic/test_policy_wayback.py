# SPDX-License-Identifier: Apache-2.0
"""What is left after changes of the policy that fail, and after a way back that fails too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from neurowall.data.state import StateStore
from neurowall.management.daemon.housekeeping import Housekeeper
from neurowall.model.errors import ApplyError, KernelError, NeurowallError, RulesetError, StateError
from neurowall.model.intent import Intent
from neurowall.model.policy import Policy
from tests.unit.logic.policymachine import HEAD, LISTED, SSH, WEB, Machine

ONE = SSH + "lists: [{name: a, verdict: block, entries: [203.0.113.1, 203.0.113.2]}]\n"
TWO = WEB + "lists: [{name: a, verdict: block, entries: [203.0.113.1, 203.0.113.3]}]\n"
NETWORKS = "zone: internal, networks: 192.0.2.0/24}"
TWO_GUARDED = TWO.replace("zone: internal}", NETWORKS)
ADDRESSES = [f"203.0.113.{n}" for n in range(1, 4)]


def failing(operation: str, which: int = 1) -> Callable[[str], None]:
    """Raise at the given time that the operation begins."""
    left = [which]

    def fail(name: str) -> None:
        if name == operation:
            left[0] -= 1
            if left[0] == 0:
                raise KernelError("the test breaks it")

    return fail


def meets(machine: Machine) -> dict[str, str]:
    """What a packet from each address meets: the lists, or the table of the moment."""
    rules = " ".join(sorted(machine.rules))
    return {each: "drop" if machine.plane.verdict(each) == "drop" else rules for each in ADDRESSES}


@pytest.mark.parametrize(
    ("operation", "which"), [("delete", 1), ("configure", 1), ("configure", 2), ("forward", 1), ("commit", 2)]
)
def test_no_third_verdict_on_the_way_back(machine: Machine, operation: str, which: int) -> None:
    """Whatever step fails: going back, too, each packet meets the old policy or the new one."""
    pairs = []
    for text in (TWO_GUARDED, ONE):
        machine.apply(text)
        pairs.append(meets(machine))
    seen: list[dict[str, str]] = []
    fail = failing(operation, which)

    def step(name: str) -> None:
        seen.append(meets(machine))
        fail(name)

    def forward(_policy: Policy) -> None:
        step("forward")

    machine.plane.after_row = lambda: seen.append(meets(machine))
    machine.plane.before = machine.tables.before = step
    machine.engine._frame._forwarding = forward
    with pytest.raises(ApplyError):
        machine.apply(TWO_GUARDED)
    third = {(each, met[each]) for met in seen for each in ADDRESSES} - {
        (each, pair[each]) for pair in pairs for each in ADDRESSES
    }
    assert not third
    assert len(seen) > 3


def test_a_failure_after_a_failed_way_back(machine: Machine) -> None:
    """The second change that fails goes back to the last state that was whole, and says the truth."""
    machine.apply(ONE)
    commits: list[str] = []

    def fail(name: str) -> None:
        commits.extend([name] * (name == "commit"))
        if len(commits) > 1:
            raise RulesetError("no")

    machine.tables.before = fail
    with pytest.raises(ApplyError) as first:
        machine.apply(TWO)
    assert not first.value.reverted
    machine.tables.before = lambda _: None
    machine.plane.before = failing("delete")
    with pytest.raises(ApplyError) as second:
        machine.apply(TWO)
    assert second.value.reverted
    assert machine.rules == {"ssh"}
    assert [machine.plane.verdict(each) for each in ADDRESSES] == ["drop", "drop", None]


def test_a_failed_settle_is_forgotten_by_nobody(machine: Machine) -> None:
    """After sets for an interface without XDP could not be made, a failed apply still goes back whole."""
    machine.apply(ONE)
    machine.plane.without_xdp = frozenset({"wan0"})
    machine.tables.before = failing("commit")
    with pytest.raises(KernelError):
        machine.engine.settle()
    machine.tables.before = lambda _: None
    machine.plane.before = failing("delete")
    with pytest.raises(ApplyError):
        machine.apply(TWO)
    assert machine.rules == {"ssh"}


def test_a_disk_that_fills_on_the_way_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may then name the new generation: its file stays, and a restart has a policy."""
    machine.apply(SSH)
    save, saves = StateStore.save, list[int]()

    def full(self: StateStore, intent: Intent) -> None:
        saves.append(1)
        if len(saves) > 1:
            raise StateError("No space left on device")
        save(self, intent)

    monkeypatch.setattr(StateStore, "save", full)
    machine.plane.before = failing("configure")
    with pytest.raises(ApplyError) as caught:
        machine.apply(WEB.replace("zone: internal}", NETWORKS))
    assert not caught.value.reverted
    monkeypatch.setattr(StateStore, "save", save)
    machine.start(None)
    assert machine.rules == {"web"}


def test_a_take_back_to_what_is_in_force(machine: Machine) -> None:
    """Also then the waiting ends."""
    feed = machine.directory / "feed.txt"
    feed.write_text("203.0.113.1\n")
    machine.apply(LISTED)
    feed.write_text("203.0.113.2\n")
    machine.apply(LISTED, confirm=60)
    machine.engine.replace_list("feed", "203.0.113.1\n")
    machine.time += 61
    machine.engine.take_back_unconfirmed()
    assert not machine.engine.take_back_unconfirmed()
    assert machine.engine.policy_now().pending is None


def test_a_take_back_that_fails_stops_no_housekeeping(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timed entries still go out."""
    machine.apply(SSH)
    machine.apply(WEB, confirm=60)
    for path in (machine.state / "generations").iterdir():
        path.write_text("{")
    machine.time += 61
    ended: list[int] = []
    monkeypatch.setattr(machine.engine, "next_expiry", lambda: 0.0)

    def expire() -> int:
        ended.append(1)
        return 0

    monkeypatch.setattr(machine.engine, "expire", expire)
    with pytest.raises(NeurowallError):
        Housekeeper(machine.engine, lambda _: None)._look()
    assert ended


def test_questions_during_a_change(machine: Machine) -> None:
    """A ban under way is no reason to say that nothing is filtered."""
    machine.apply(WEB)
    seen: set[tuple[bool, bool]] = set()
    machine.plane.after_row = lambda: seen.add(
        (machine.engine.stateful().table, bool(machine.engine.rule_counters()))
    )
    machine.engine.block(["203.0.113.7"])
    assert seen == {(True, True)}


def test_a_restart_keeps_the_sets_of_an_interface_without_xdp(machine: Machine) -> None:
    """The new daemon knows only later that no program attaches: the lists stay in force meanwhile."""
    machine.plane.without_xdp = frozenset({"wan0"})
    machine.engine.settle()
    machine.engine.block(["203.0.113.7"])

    def listed() -> bool:
        return any("203.0.113.7" in text for each in machine.tables.held.sets for text in each.elements)

    assert listed()
    machine.plane.guards = None
    seen: list[bool] = []
    machine.plane.before = lambda _: seen.append(listed())
    machine.start(HEAD)
    assert seen
    assert all(seen)


def test_a_table_of_another_instance_is_left_alone(machine: Machine) -> None:
    """Two daemons that put their tables back in turn would be worse than an error."""
    (machine.directory / "table.json").unlink(missing_ok=True)
    machine.tables.commit(None, machine.tables.held)
    machine.apply(WEB)
    held = machine.tables.held
    (machine.directory / "table.json").unlink()
    with pytest.raises(ApplyError, match="one instance"):
        machine.start(SSH)
    assert machine.tables.held == held


def test_the_current_generation_is_damaged(machine: Machine, tmp_path: Path) -> None:
    """Without a policy file the newest one that can be read is better than none."""
    machine.apply(SSH)
    machine.apply(WEB)
    max((machine.state / "generations").iterdir()).write_text("{")
    machine.start(None)
    assert machine.rules == {"ssh"}
    assert any("generation" in warning for warning in machine.engine.status().warnings)
