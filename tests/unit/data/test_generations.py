# SPDX-License-Identifier: Apache-2.0
"""The policies that were in force, on disk: whole, in order, bounded, and damage that is told."""

import json
from pathlib import Path

import pytest

from neurowall.data.generations import KEPT, WITH_LISTS, GenerationStore
from neurowall.model.errors import StateError
from neurowall.model.intent import GenerationRecord, ListRecord
from tests.unit.data.faults import Crash, fault_at


def record(generation: int, *digests: str, text: str = "interfaces: []\n") -> GenerationRecord:
    """A generation whose lists have these digests."""
    lists = tuple(ListRecord(f"list-{each}", "block", "policy", each, "declared") for each in digests)
    return GenerationRecord(generation, 1e9, "apply", "policy.yaml", "a note — ü", text, 3, lists)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A state directory."""
    return tmp_path


@pytest.fixture
def store(directory: Path) -> GenerationStore:
    """Nothing was ever in force."""
    return GenerationStore(directory)


def file_of(directory: Path, number: int) -> Path:
    """Where a generation is."""
    (found,) = (path for path in (directory / "generations").glob("*.json") if int(path.stem) == number)
    return found


class TestKept:
    def test_comes_back_as_it_was(self, store: GenerationStore, directory: Path) -> None:
        """Every field, also read by a later daemon."""
        store.put(record(7, "a", "b"))
        assert GenerationStore(directory).get(7) == record(7, "a", "b")

    def test_in_order_of_numbers(self, store: GenerationStore) -> None:
        """Not in that of names or of writing."""
        for number in (1_000, 9, 10, 100_000_000_000):
            store.put(record(number))
        assert store.numbers() == [9, 10, 1_000, 100_000_000_000]

    def test_at_is_the_policy_that_was_in_force_then(self, store: GenerationStore) -> None:
        """A number between two means the earlier one; before the first there was none."""
        for number in (3, 8):
            store.put(record(number))
        assert [store.at(number) for number in (2, 3, 7, 8, 99)] == [None, 3, 3, 8, 8]

    def test_the_oldest_go(self, store: GenerationStore) -> None:
        """No more than KEPT stay."""
        for number in range(KEPT + 3):
            store.put(record(number))
        assert store.numbers() == list(range(3, KEPT + 3))

    def test_a_discarded_one_is_gone(self, store: GenerationStore) -> None:
        """And what is not there may be discarded too."""
        store.put(record(1))
        store.put(record(2))
        store.discard(2)
        store.discard(2)
        assert store.numbers() == [1]

    def test_nothing_was_ever_in_force(self, store: GenerationStore) -> None:
        """A directory that is not there holds none."""
        assert store.numbers() == []
        assert store.at(5) is None
        assert store.digests() == set()
        with pytest.raises(StateError, match="none"):
            store.get(1)


class TestLists:
    def test_the_last_ones_keep_their_lists(self, store: GenerationStore) -> None:
        """Those of older generations may go."""
        for number in range(WITH_LISTS + 2):
            store.put(record(number, f"digest-{number}", "shared"))
        wanted = {f"digest-{number}" for number in range(2, WITH_LISTS + 2)}
        assert store.digests() == wanted | {"shared"}

    def test_follow_every_change(self, store: GenerationStore) -> None:
        """Though they are not read each time somebody asks."""
        store.put(record(1, "one"))
        assert store.digests() == {"one"}
        store.put(record(2, "two"))
        assert store.digests() == {"one", "two"}
        store.discard(2)
        assert store.digests() == {"one"}

    def test_a_damaged_one_costs_only_its_own(self, store: GenerationStore, directory: Path) -> None:
        """The lists of the others stay needed."""
        store.put(record(1, "one"))
        store.put(record(2, "two"))
        file_of(directory, 2).write_text("{")
        assert GenerationStore(directory).digests() == {"one"}


class TestDamage:
    def test_any_changed_byte_is_found(self, store: GenerationStore, directory: Path) -> None:
        """A policy that nobody wrote is never put in force: the whole record or an error that says so."""
        store.put(record(1, "a"))
        path = file_of(directory, 1)
        whole = path.read_bytes()
        for at in range(0, len(whole), 3):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(StateError, match="damaged"):
                store.get(1)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "\udcff", '{"schema": "other/1"}'])
    def test_what_is_no_generation_is_refused(
        self, store: GenerationStore, directory: Path, text: str
    ) -> None:
        """With the way out."""
        store.put(record(1))
        file_of(directory, 1).write_text(text, errors="surrogateescape")
        with pytest.raises(StateError, match=r"damaged.*roll back to another generation"):
            store.get(1)

    def test_fields_that_are_missing(self, store: GenerationStore, directory: Path) -> None:
        """A file with a right checksum that lacks a field names it."""
        import hashlib

        store.put(record(1))
        path = file_of(directory, 1)
        document = json.loads(path.read_text())
        del document["generation"]["text"]
        body = json.dumps(document["generation"], sort_keys=True)
        document["checksum"] = hashlib.sha256(body.encode()).hexdigest()
        path.write_text(json.dumps(document))
        with pytest.raises(StateError, match="text"):
            store.get(1)

    def test_names_those_that_there_are(self, store: GenerationStore) -> None:
        """Where one is asked for that never was."""
        store.put(record(4))
        store.put(record(6))
        with pytest.raises(StateError, match="4, 6"):
            store.get(5)

    def test_other_files_are_left_alone(self, store: GenerationStore, directory: Path) -> None:
        """What somebody else put there is no generation."""
        store.put(record(1))
        other = directory / "generations" / "notes.json"
        other.write_text("{}")
        for number in range(2, KEPT + 3):
            store.put(record(number))
        assert len(store.numbers()) == KEPT
        assert other.exists()


class TestInterrupted:
    def test_a_crash_leaves_all_of_it_or_nothing(self, directory: Path) -> None:
        """At each system call: a later daemon reads a whole generation, or that there is none."""
        for point in range(20):
            here = directory / str(point)
            here.mkdir()
            store = GenerationStore(here)
            store.put(record(1))
            with fault_at(point, Crash) as calls:
                try:
                    store.put(record(2, "a"))
                except Crash:
                    pass
                else:
                    assert point > 2
                    break
            found = GenerationStore(here)
            assert found.get(1) == record(1)
            assert found.numbers() in ([1], [1, 2])
            if 2 in found.numbers():
                assert found.get(2) == record(2, "a")
        else:
            raise AssertionError(f"still calling after {len(calls)} calls")

    def test_a_full_disk_is_an_error(self, store: GenerationStore) -> None:
        """It says which file, and what was kept stays."""
        store.put(record(1))
        with (
            fault_at(0, lambda: OSError(28, "No space left on device")),
            pytest.raises(StateError, match=r"0000000002\.json.*No space left"),
        ):
            store.put(record(2))
        assert store.numbers() == [1]
