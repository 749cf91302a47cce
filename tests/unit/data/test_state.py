# SPDX-License-Identifier: Apache-2.0
import errno
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurowall.data.state import StateStore, digest_of
from neurowall.model.entries import EntrySet
from neurowall.model.errors import StateError
from neurowall.model.image import ClassDef
from neurowall.model.intent import Intent, ListRecord
from neurowall.model.terms import Terms, TermSet
from tests.unit.data.faults import Crash, fault_at

ENTRIES = EntrySet.from_strings(["203.0.113.7", "203.0.113.0/24", "2001:db8::", "2001:db8::/32"])
MORE = EntrySet.from_strings(["198.51.100.1"])
TERMS = TermSet(
    *(
        Terms(part, *(np.arange(len(part)) * 1.1 + column for column in (1e9, 60.0, 2e9)))
        for part in (ENTRIES.v4, ENTRIES.v6)
    )
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    """A store in an empty directory."""
    opened = StateStore(tmp_path / "state")
    opened.acquire()
    yield opened
    opened.close()


def intent(generation: int, digest: str) -> Intent:
    """A state with one list and one class."""
    record = ListRecord("feed", "block", "policy", digest, "d" * 64, override=True)
    return Intent(generation, (record,), {3: ClassDef(3, "drop", "feed", frozenset({"feed", "other"}))})


def saved(store: StateStore, generation: int = 1, entries: EntrySet = ENTRIES) -> Intent:
    """Save a state with one list."""
    state = intent(generation, store.put_entries(entries))
    store.save(state)
    return state


def state_file(store: StateStore) -> Path:
    """Where the state is."""
    return store.directory / "state.json"


def list_file(store: StateStore) -> Path:
    """Where the entries of the only list are."""
    return next((store.directory / "lists").glob("*.npz"))


class TestRoundTrip:
    def test_state_and_entries_come_back(self, store: StateStore) -> None:
        """What was saved is loaded, by another store of the same directory."""
        state = saved(store)
        other = StateStore(store.directory)
        assert other.load() == state
        assert other.get_entries(state.lists[0].sha256, "feed") == ENTRIES

    def test_terms_come_back(self, store: StateStore) -> None:
        """What is saved of timed entries is loaded, to the last bit, and never taken for other terms."""
        digest = store.put_terms(TERMS)
        assert StateStore(store.directory).get_terms(digest, "operator-block-timed") == TERMS
        other = TermSet(replace(TERMS.v4, until=TERMS.v4.until + 1e-6), TERMS.v6)
        assert store.put_terms(other) != digest

    def test_a_state_of_an_older_version_loads(self, store: StateStore) -> None:
        """Before monitor lists and timed entries there was less in it."""
        state = saved(store)
        body = json.loads(state_file(store).read_bytes())["intent"]
        for name in ("monitor", "declared_monitor"):
            del body["lists"][0][name]
        for name in ("timed", "rest"):
            del body["classes"]["3"][name]
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        document = {
            "schema": "neurowall-state/1",
            "checksum": hashlib.sha256(canonical).hexdigest(),
            "intent": body,
        }
        state_file(store).write_text(json.dumps(document))
        assert store.load() == state

    def test_first_start_is_an_empty_state(self, store: StateStore) -> None:
        """A new directory holds generation 0 and no lists."""
        assert store.load() == Intent(0, ())
        assert state_file(store).exists()

    @given(st.sets(st.integers(0, 2**32 - 1), max_size=5), st.sets(st.integers(0, 2**32 - 1), max_size=5))
    def test_content_addresses_differ_with_content(self, one: set[int], other: set[int]) -> None:
        """Equal sets have equal addresses, different ones different."""
        sets = [
            EntrySet.from_strings(f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}" for a in s)
            for s in (one, other)
        ]
        assert (digest_of(sets[0]) == digest_of(sets[1])) == (one == other)

    def test_collect_removes_what_is_not_kept(self, store: StateStore) -> None:
        """Entries that no state names are removed, also what a crash left half written."""
        state = saved(store)
        store.put_entries(MORE)
        (store.directory / "lists" / ".x.npz.new").write_bytes(b"half")
        store.collect({state.lists[0].sha256})
        assert [path.stem for path in (store.directory / "lists").iterdir()] == [state.lists[0].sha256]

    def test_files_are_private(self, store: StateStore) -> None:
        """Others cannot read what is blocked."""
        saved(store)
        assert state_file(store).stat().st_mode & 0o077 == 0
        assert list_file(store).stat().st_mode & 0o077 == 0


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b'{"schema": "neurowall-state/1"}',
            b'{"schema": "neurowall-state/9", "checksum": "", "intent": {}}',
            b"[" * 100_000,
        ],
    )
    def test_a_corrupt_state_is_an_error(self, store: StateStore, content: bytes) -> None:
        """Damage names the file and the next step; it is never an empty state."""
        saved(store)
        state_file(store).write_bytes(content)
        with pytest.raises(StateError, match=r"state\.json is damaged .*restore it from a backup, or move"):
            store.load()

    def test_any_changed_value_is_found_out(self, store: StateStore) -> None:
        """A state that parses, but is not what was saved, is refused."""
        saved(store)
        document = json.loads(state_file(store).read_bytes())
        document["intent"]["lists"][0]["verdict"] = "allow"
        state_file(store).write_text(json.dumps(document))
        with pytest.raises(StateError, match="checksum"):
            store.load()

    def test_a_lost_state_is_not_a_first_start(self, store: StateStore) -> None:
        """Lists without a state mean that somebody lost it."""
        saved(store)
        state_file(store).unlink()
        with pytest.raises(StateError, match="is missing, but there are lists"):
            store.load()

    def test_damaged_terms_name_the_list(self, store: StateStore) -> None:
        """Missing, cut or exchanged terms are an error, never an empty list."""
        digest = store.put_terms(TERMS)
        path = list_file(store)
        whole = path.read_bytes()
        path.write_bytes(whole[:-30])
        with pytest.raises(StateError, match=r"damaged .*it holds list 'operator-block-timed'"):
            store.get_terms(digest, "operator-block-timed")
        path.write_bytes(whole)
        exchanged = store.put_terms(TermSet(TERMS.v4, Terms.empty(6)))
        path.write_bytes((store.directory / "lists" / f"{exchanged}.npz").read_bytes())
        with pytest.raises(StateError, match="does not match its name"):
            store.get_terms(digest, "operator-block-timed")
        path.unlink()
        with pytest.raises(StateError, match="is missing"):
            store.get_terms(digest, "operator-block-timed")

    def test_missing_entries_name_the_list(self, store: StateStore) -> None:
        """A list whose file is gone is an error that names it."""
        state = saved(store)
        list_file(store).unlink()
        with pytest.raises(StateError, match=r"\.npz is missing; it holds list 'feed'"):
            store.get_entries(state.lists[0].sha256, "feed")

    def test_every_cut_of_a_list_file_is_found_out(self, store: StateStore) -> None:
        """A file that ends early is damaged, wherever it ends."""
        state = saved(store)
        path, whole = list_file(store), list_file(store).read_bytes()
        for size in range(0, len(whole), 7):
            path.write_bytes(whole[:size])
            with pytest.raises(StateError, match="damaged"):
                store.get_entries(state.lists[0].sha256, "feed")

    def test_entries_of_another_list_are_found_out(self, store: StateStore) -> None:
        """A whole file with other content than its name says is refused, and put again when needed."""
        state = saved(store)
        digest = state.lists[0].sha256
        v4, v6 = MORE.v4, MORE.v6
        np.savez(
            list_file(store), address4=v4.address, length4=v4.length, address6=v6.address, length6=v6.length
        )
        with pytest.raises(StateError, match="does not match its name"):
            store.get_entries(digest, "feed")
        assert store.put_entries(ENTRIES) == digest
        assert store.get_entries(digest, "feed") == ENTRIES

    def test_no_pickles(self, store: StateStore) -> None:
        """A file with objects in it is not loaded."""
        state = saved(store)
        np.savez(list_file(store), address4=np.array([object()], dtype=object))
        with pytest.raises(StateError, match="damaged"):
            store.get_entries(state.lists[0].sha256, "feed")


class TestDirectory:
    def test_one_daemon_at_a_time(self, store: StateStore) -> None:
        """A second store of the same directory is refused until the first gives it up."""
        other = StateStore(store.directory)
        with pytest.raises(StateError, match="another daemon"):
            other.acquire()
        store.close()
        other.acquire()
        other.close()

    def test_a_directory_that_cannot_be(self, tmp_path: Path) -> None:
        """A file in the way is a clear error."""
        (tmp_path / "file").write_text("")
        with pytest.raises(StateError, match="cannot be used for state"):
            StateStore(tmp_path / "file").acquire()


class TestInterruption:
    def calls(self, store: StateStore) -> int:
        """How many calls a save with new entries makes; then the first state is saved again."""
        with fault_at(1000, Crash) as made:
            saved(store, 2, MORE)
        self.restore(store)
        return len(made)

    def restore(self, store: StateStore) -> None:
        """Save the first state again, and nothing else."""
        state = saved(store)
        store.collect({state.lists[0].sha256})

    def found(self, store: StateStore) -> int:
        """The generation that a new start finds; its entries must be whole."""
        after = StateStore(store.directory)
        state = after.load()
        expected = {1: ENTRIES, 2: MORE}[state.generation]
        assert after.get_entries(state.lists[0].sha256, "feed") == expected
        return state.generation

    def test_a_crash_leaves_the_old_or_the_new_state(self, store: StateStore) -> None:
        """Whatever call a crash hits, the next start finds one whole state and all its entries."""
        self.restore(store)
        generations = []
        for number in range(self.calls(store)):
            with fault_at(number, Crash), pytest.raises(Crash):
                saved(store, 2, MORE)
            generations.append(self.found(store))
            self.restore(store)
        assert generations == sorted(generations)
        assert set(generations) == {1, 2}

    def test_a_full_disk_is_an_error_and_the_state_stays_whole(self, store: StateStore) -> None:
        """Each failing call is reported, and leaves a state that loads."""
        self.restore(store)
        for number in range(self.calls(store)):
            full = fault_at(number, lambda: OSError(errno.ENOSPC, "No space left on device"))
            with full, pytest.raises(StateError, match="No space left"):
                saved(store, 2, MORE)
            self.found(store)
            self.restore(store)

    def test_content_is_synced_before_it_is_named(self, store: StateStore) -> None:
        """A power cut cannot leave a name without its content: file synced, renamed, directory synced."""
        with fault_at(1000, Crash) as made:
            store.save(Intent(1, ()))
        assert made == ["open", "fdopen", "fsync", "replace", "open", "fsync"]
