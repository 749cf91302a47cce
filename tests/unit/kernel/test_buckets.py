# SPDX-License-Identifier: Apache-2.0
"""The bucket table against a dict, read the way bpf/lists.h reads it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.kernel.buckets import BucketTable, Seeds, lines_for
from neurowall.model.errors import MapFull

LINES = 8
MASK64 = (1 << 64) - 1
SEEDS = Seeds((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), (12345, 67890))


def read_like_the_kernel(words: np.ndarray, spill: dict[int, int], address: int) -> int:
    """Lookup of lists.h in plain integers: first line, second if overflowed, hash if spilled."""
    lines = len(words) // 8
    shift = 64 - (lines.bit_length() - 1)
    metadata = 0
    for choice in (0, 1):
        hashed = (SEEDS.multiplier[choice] * address + SEEDS.addend[choice]) & MASK64
        line = [int(word) for word in words[(hashed >> shift) * 8 :][:8]]
        for slot in line[:7]:
            if slot >> 32 == address and (slot >> 16) & 0xFFFF:
                return (slot >> 16) & 0xFFFF
        if choice == 0:
            metadata = line[7]
        if not metadata:
            return 0
    return spill.get(address, 0) if metadata & 2 else 0


def make(spill_capacity: int = 1000, lines: int = LINES) -> tuple[BucketTable, np.ndarray, dict[int, int]]:
    """An empty table, its memory, and the spill map that the caller keeps."""
    words = np.zeros(lines * 8, np.uint64)
    return BucketTable(words, SEEDS, {}, spill_capacity), words, {}


def put(table: BucketTable, spill: dict[int, int], hosts: dict[int, int]) -> None:
    """Insert hosts, spill as the caller must."""
    keys = np.array(list(hosts), np.uint64) << np.uint64(32)
    spilled = table.put(keys, np.array(list(hosts.values()), np.uint16))
    spill.update({key >> 32: class_id for key, class_id in spilled.items()})


def delete(table: BucketTable, spill: dict[int, int], hosts: list[int]) -> None:
    """Delete hosts, spilled ones too."""
    for key in table.delete(np.array(hosts, np.uint64) << np.uint64(32)):
        del spill[key >> 32]


class TestBucketTable:
    """Inserting, changing, deleting, overflowing."""

    @given(
        st.lists(
            st.tuples(
                st.booleans(),
                st.dictionaries(st.integers(0, 200), st.integers(1, 65535), min_size=1, max_size=60),
                st.booleans(),
            ),
            max_size=12,
        )
    )
    @settings(deadline=None, max_examples=150)
    def test_holds_what_was_put_and_not_deleted(self, steps: list[tuple[bool, dict[int, int], bool]]) -> None:
        """After any puts, deletes and grace periods the kernel's lookup finds exactly the hosts of a dict."""
        table, words, spill = make()
        model: dict[int, int] = {}
        for is_put, hosts, grace in steps:
            if is_put:
                put(table, spill, hosts)
                model |= hosts
            else:
                delete(table, spill, list(hosts))
                model = {k: v for k, v in model.items() if k not in hosts}
            if grace:
                table.after_grace()
            found = {a: c for a in range(201) if (c := read_like_the_kernel(words, spill, a))}
            assert found == model
            assert {a: table.lookup(a << 32) for a in range(201) if table.lookup(a << 32)} == model
            assert len(table) == len(model)
        keys, classes = table.contents()
        assert dict(zip((keys >> np.uint64(32)).tolist(), classes.tolist(), strict=True)) == model
        assert keys.tolist() == sorted(keys.tolist())

    def test_a_freed_slot_waits_for_a_grace_period(self) -> None:
        """Until after_grace a slot that was freed stays empty; then it is used again."""
        table, words, spill = make(lines=1)
        put(table, spill, dict.fromkeys(range(1, 8), 1))
        delete(table, spill, [3])
        put(table, spill, {100: 1})
        assert spill == {100: 1}
        assert np.count_nonzero(words[:7]) == 6
        table.after_grace()
        put(table, spill, {101: 1})
        assert 101 not in spill
        assert np.count_nonzero(words[:7]) == 7

    def test_an_entry_never_moves(self) -> None:
        """A change of class is one store to the same slot; nothing else is written."""
        table, words, spill = make()
        put(table, spill, dict.fromkeys(range(1, 40), 1))
        before = words.copy()
        put(table, spill, {5: 9})
        changed = np.flatnonzero(words != before)
        assert len(changed) == 1
        assert before[changed[0]] >> np.uint64(32) == words[changed[0]] >> np.uint64(32) == 5

    def test_flags_are_never_cleared(self) -> None:
        """An overflowed line stays marked when its overflow has gone: a reader may be on its way."""
        table, words, spill = make(lines=1)
        put(table, spill, dict.fromkeys(range(1, 20), 1))
        delete(table, spill, list(range(1, 20)))
        table.after_grace()
        assert int(words[7]) == 3

    def test_refuses_whole_batches_when_the_spill_is_full(self) -> None:
        """MapFull comes before the first write, and the table can be used on."""
        table, words, spill = make(spill_capacity=2, lines=1)
        put(table, spill, dict.fromkeys(range(1, 6), 1))
        before = words.copy()
        with pytest.raises(MapFull, match="hosts4"):
            put(table, spill, dict.fromkeys(range(10, 30), 1))
        assert np.array_equal(words, before)
        put(table, spill, {50: 1, 51: 1})
        assert read_like_the_kernel(words, spill, 51) == 1

    def test_adopts_what_a_mapping_already_holds(self) -> None:
        """A table built over used words finds, changes and deletes the hosts in them."""
        table, words, spill = make()
        put(table, spill, dict.fromkeys(range(1, 70), 7))
        again = BucketTable(words, SEEDS, {a << 32: c for a, c in spill.items()}, 1000)
        assert len(again) == 69
        delete(again, spill, [1, 2, 69])
        assert [again.lookup(a << 32) for a in (1, 2, 69, 3)] == [0, 0, 0, 7]

    def test_zero_address(self) -> None:
        """0.0.0.0 is an address like any other: an empty slot is one of class 0."""
        table, words, spill = make()
        assert read_like_the_kernel(words, spill, 0) == 0
        put(table, spill, {0: 4})
        assert read_like_the_kernel(words, spill, 0) == 4


def test_a_batch_of_many_pieces_is_held_whole() -> None:
    """Put, changed, deleted in part and put again: what is read back, and what the kernel would find."""
    chance = np.random.default_rng(11)
    lines = lines_for(100_000)
    words, spill = np.zeros(lines * 8, np.uint64), dict[int, int]()
    table = BucketTable(words, SEEDS, {}, 10_000)
    addresses = np.unique(chance.integers(0, 1 << 32, 120_000, dtype=np.uint32))
    first, second = addresses[: len(addresses) // 2], addresses[len(addresses) // 4 :]
    put(table, spill, dict.fromkeys(first.tolist(), 1))
    model = dict.fromkeys(second.tolist(), 2)
    put(table, spill, model)
    delete(table, spill, first[: len(addresses) // 4].tolist())
    table.after_grace()
    assert len(table) == len(model)
    keys, classes = table.contents()
    assert np.array_equal(keys, second.astype(np.uint64) << np.uint64(32))
    assert (classes == 2).all()
    put(table, spill, dict.fromkeys(first.tolist(), 3))
    model |= dict.fromkeys(first.tolist(), 3)
    assert spill
    for address in [*chance.choice(addresses, 2000).tolist(), *spill]:
        assert read_like_the_kernel(words, spill, address) == model[address]


@pytest.mark.parametrize(("hosts", "lines"), [(1, 64), (1000, 256), (250_000, 65536), (1_000_000, 262144)])
def test_lines_for(hosts: int, lines: int) -> None:
    """A power of two with at most four hosts a line on average: 16 MiB for a million."""
    assert lines_for(hosts) == lines
    assert hosts / lines_for(hosts) <= 4


def test_a_million_hosts_rarely_spill() -> None:
    """At the capacity a table is made for, less than one host in 200 needs the hash."""
    lines = lines_for(200_000)
    words = np.zeros(lines * 8, np.uint64)
    table = BucketTable(words, Seeds.random(), {}, 10_000)
    addresses = np.unique(np.random.default_rng(7).integers(0, 1 << 32, 200_000, dtype=np.uint32))
    table.put(addresses.astype(np.uint64) << np.uint64(32), np.ones(len(addresses), np.uint16))
    assert table.statistics()["spilled"] < len(addresses) / 200
