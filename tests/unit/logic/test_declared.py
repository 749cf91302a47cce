# SPDX-License-Identifier: Apache-2.0
"""Which policy a daemon starts with."""

from dataclasses import replace
from pathlib import Path

import pytest

from neurowall.data.generations import GenerationStore
from neurowall.kernel import bootclock
from neurowall.logic.declared import (
    boot,
    declare,
    declare_config,
    declare_generation,
    digest_of_text,
    is_over,
)
from neurowall.model.errors import PolicyError, StateError
from neurowall.model.intent import GenerationRecord, ListRecord, PendingRecord, PolicyState

POLICIES = {name: f"interfaces: [{{name: {name}, zone: external}}]\n" for name in ("one", "two", "three")}
BROKEN = "interfaces: []\n"
PENDING = PendingRecord(until=1_060.0, boot_id="this", seconds=60.0, revert_to=1)


class Disk:
    """A state directory and the daemon's own file. Generation 1 is policy one, 2 is policy two."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "policy.yaml"
        self.generations = GenerationStore(directory)
        lists = (ListRecord("feed", "block", "policy", "digest"),)
        for number, name in ((1, "one"), (2, "two")):
            text = POLICIES[name]
            kept = GenerationRecord(number, 1e9, "apply", "applied.yaml", "", text, 0, lists)
            self.generations.put(kept)
        self.directory = directory / "generations"

    def write(self, name: str) -> str:
        """Put a policy into the daemon's own file; its digest."""
        text = POLICIES.get(name, name)
        self.config.write_text(text)
        return digest_of_text(text.encode())

    def starts(self, state: PolicyState, *, config: bool = True) -> str:
        """The policy that a daemon starts with, by its interface."""
        return boot(self.config if config else None, state, self.generations).policy.interfaces[0].name


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """It is 1,000 s since this boot."""
    monkeypatch.setattr(bootclock, "now", lambda: 1_000.0)
    monkeypatch.setattr(bootclock, "boot_id", lambda: "this")
    return Disk(tmp_path)


class TestFirstStart:
    def test_from_the_file(self, disk: Disk) -> None:
        """Nothing was in force: the file is what the operator said."""
        disk.write("three")
        found = boot(disk.config, PolicyState(), disk.generations)
        assert found.policy.interfaces[0].name == "three"
        assert found.source == "start"

    def test_needs_one(self, disk: Disk) -> None:
        """Without a file there is nothing to start with."""
        with pytest.raises(PolicyError, match="--config"):
            boot(None, PolicyState(), disk.generations)

    @pytest.mark.parametrize("text", [BROKEN, "rules: ["])
    def test_a_broken_file_is_refused(self, disk: Disk, text: str) -> None:
        """There is nothing else that could be enforced."""
        disk.write(text)
        with pytest.raises(PolicyError):
            boot(disk.config, PolicyState(), disk.generations)


class TestRestart:
    def test_goes_on_with_what_was_in_force(self, disk: Disk) -> None:
        """It is nothing new: no generation comes of it."""
        state = PolicyState(2, disk.write("three"))
        found = boot(disk.config, state, disk.generations)
        assert found.policy.interfaces[0].name == "two"
        assert (found.source, found.restores) == (None, None)

    def test_without_a_file_too(self, disk: Disk) -> None:
        """What was in force is kept; the file is not needed."""
        assert disk.starts(PolicyState(2, "whatever"), config=False) == "two"

    def test_another_content_of_the_file_is_newer(self, disk: Disk) -> None:
        """The operator changed it after it was last read."""
        state = PolicyState(2, disk.write("one"))
        disk.write("three")
        found = boot(disk.config, state, disk.generations)
        assert found.policy.interfaces[0].name == "three"
        assert found.source == "start"

    @pytest.mark.parametrize("text", [BROKEN, "rules: [", None])
    def test_a_file_that_cannot_be_used_ends_nothing(self, disk: Disk, text: str | None) -> None:
        """What was in force stays so, and the warning names the file."""
        if text is not None:
            disk.write(text)
        found = boot(disk.config, PolicyState(2, "whatever"), disk.generations)
        assert found.policy.interfaces[0].name == "two"
        assert found.source is None
        assert str(disk.config) in found.warnings[0]

    def test_damaged_history_gives_way_to_the_file(self, disk: Disk) -> None:
        """Also if the file is no news."""
        for path in disk.directory.iterdir():
            path.write_text("{")
        state = PolicyState(2, disk.write("three"))
        assert disk.starts(state) == "three"

    def test_damaged_history_and_a_broken_file(self, disk: Disk) -> None:
        """Then it is said what is wrong with the file."""
        for path in disk.directory.iterdir():
            path.write_text("{")
        disk.write(BROKEN)
        with pytest.raises(PolicyError):
            disk.starts(PolicyState(2, "whatever"))


class TestPending:
    @pytest.mark.parametrize(
        ("pending", "over"),
        [
            (PENDING, False),
            (replace(PENDING, until=1_000.001), False),
            (replace(PENDING, until=1_000.0), True),
            (replace(PENDING, boot_id="another", until=1e9), True),
        ],
    )
    def test_is_over(self, disk: Disk, pending: PendingRecord, over: bool) -> None:
        """By the clock of the boot in which it began, or because that boot is over."""
        assert disk
        assert is_over(pending) == over

    def test_goes_on_waiting(self, disk: Disk) -> None:
        """A restart in time is no reason to go back."""
        state = PolicyState(2, disk.write("three"), PENDING)
        assert disk.starts(state) == "two"

    @pytest.mark.parametrize("changed", [{"until": 999.0}, {"boot_id": "another"}])
    def test_is_taken_back(self, disk: Disk, changed: dict[str, object]) -> None:
        """With the lists as they were, and as something new that says why."""
        over = replace(PENDING, **changed)  # type: ignore[arg-type]
        state = PolicyState(2, disk.write("three"), over)
        found = boot(disk.config, state, disk.generations)
        assert found.policy.interfaces[0].name == "one"
        assert found.source == "unconfirmed"
        assert found.restores == disk.generations.get(1)
        assert "2" in found.note

    def test_is_not_taken_back_to_damage(self, disk: Disk) -> None:
        """What cannot be read cannot be put in force: without a file it is said."""
        (min(disk.directory.iterdir())).write_text("{")
        with pytest.raises(StateError, match="damaged"):
            disk.starts(PolicyState(2, "", replace(PENDING, until=999.0)), config=False)


class TestDeclare:
    def test_text_and_bytes_are_the_same(self) -> None:
        """Also with the mark that some editors put in front."""
        text = POLICIES["one"]
        assert declare(text, "x.yaml", "apply") == declare(text.encode("utf-8-sig"), "x.yaml", "apply")

    def test_of_a_generation_keeps_its_file_name(self, disk: Disk) -> None:
        """Files of lists are beside it."""
        assert declare_generation(disk.generations.get(1), "rollback").filename == "applied.yaml"

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        """It is said which."""
        with pytest.raises(PolicyError, match=r"nowhere\.yaml"):
            declare_config(tmp_path / "nowhere.yaml", "start")
