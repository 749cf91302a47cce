# SPDX-License-Identifier: Apache-2.0
"""The writer of the table of IPv6 entries against a dictionary, and its rules one by one."""

from ipaddress import IPv6Network

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurowall.kernel.buckets import Seeds
from neurowall.kernel.buckets6 import LINE, SLOTS, Keys, Table6, lines_for
from neurowall.model.entries import V6
from neurowall.model.errors import MapFull

SEEDS = Seeds((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), (12345, 67890))
OVERFLOW, SPILL = 1, 2
# Few and near each other, so that an entry comes twice and lines fill.
ENTRIES = st.builds(
    lambda number, length: IPv6Network(((0x20010DB8 << 96) + (number << 60), length), strict=False),
    st.integers(0, 1 << 36),
    st.sampled_from([0, 1, 32, 33, 48, 63, 64, 65, 127, 128]),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "grace"]), st.dictionaries(ENTRIES, st.integers(1, 99), max_size=9)
    ),
    max_size=12,
)


def table(lines: int = 4, spill_capacity: int = 1000) -> Table6:
    """An empty one."""
    return Table6(np.zeros(lines, LINE), SEEDS, {}, spill_capacity)


def keys(entries: list[IPv6Network]) -> Keys:
    """Entries as the table takes them."""
    packed = np.array([each.network_address.packed for each in entries], V6)
    return Keys.of(packed, np.array([each.prefixlen for each in entries], np.uint8))


def classes(*ids: int) -> np.ndarray:
    """Class ids as the table takes them."""
    return np.array(ids, np.uint16)


def contents(of: Table6) -> dict[IPv6Network, int]:
    """What a table says it holds."""
    addresses, lengths, class_ids = of.contents()
    packed = addresses.tobytes()
    return {
        IPv6Network((packed[16 * i : 16 * i + 16], int(length))): int(class_id)
        for i, (length, class_id) in enumerate(zip(lengths, class_ids, strict=True))
    }


@given(STEPS)
@settings(deadline=None)
def test_as_a_dictionary(steps: list[tuple[str, dict[IPv6Network, int]]]) -> None:
    """Whatever is put and deleted, full lines and freed slots included, nothing is lost or doubled."""
    held: dict[IPv6Network, int] = {}
    tried = table()
    for step, entries in steps:
        if step == "put" and entries:
            tried.put(keys(list(entries)), classes(*entries.values()))
            held |= entries
        elif step == "delete" and entries:
            tried.delete(keys(list(entries)))
            held = {entry: class_id for entry, class_id in held.items() if entry not in entries}
        elif step == "grace":
            tried.after_grace()
        assert contents(tried) == held
        assert len(tried) == len(held)


@given(st.dictionaries(ENTRIES, st.integers(1, 99), max_size=40), ENTRIES)
@settings(deadline=None)
def test_the_longest_match(entries: dict[IPv6Network, int], asked: IPv6Network) -> None:
    """By linear scan over all entries."""
    tried = table()
    if entries:
        tried.put(keys(list(entries)), classes(*entries.values()))
    address = asked.network_address
    covering = [entry for entry in entries if address in entry]
    longest = max(covering, key=lambda entry: entry.prefixlen, default=None)
    expected = None if longest is None else (entries[longest], longest.prefixlen)
    assert tried.longest(address.packed) == expected


def test_a_slot_is_used_again_only_after_a_grace_period() -> None:
    """Else a reader that has seen its tag could compare the address of another entry."""
    lines = np.zeros(1, LINE)
    tried = Table6(lines, SEEDS, {}, 1000)
    entries = [IPv6Network((0x20010DB8 << 96 | n, 128)) for n in range(SLOTS + 1)]
    tried.put(keys(entries[:SLOTS]), classes(1, 1, 1))
    tried.delete(keys(entries[:1]))
    before = lines["address"].copy()
    assert tried.put(keys(entries[SLOTS:]), classes(1)), "both lines are full: it belongs into the spill map"
    assert np.array_equal(lines["address"], before)
    tried.delete(keys(entries[SLOTS:]))
    tried.after_grace()
    assert not tried.put(keys(entries[SLOTS:]), classes(1))
    assert not np.array_equal(lines["address"], before)


def test_flags_say_where_else_to_look() -> None:
    """The first line of what is not in it says so, and keeps saying so."""
    lines = np.zeros(1, LINE)
    tried = Table6(lines, SEEDS, {}, 1000)
    entries = [IPv6Network((0x20010DB8 << 96 | n, 128)) for n in range(SLOTS + 1)]
    tried.put(keys(entries[:SLOTS]), classes(1, 1, 1))
    assert int(lines["metadata"][0]) == 0
    tried.put(keys(entries[SLOTS:]), classes(1))
    assert int(lines["metadata"][0]) == OVERFLOW | SPILL
    tried.delete(keys(entries))
    tried.after_grace()
    assert int(lines["metadata"][0]) == OVERFLOW | SPILL


def test_a_full_table_refuses_before_it_writes() -> None:
    """And frees the slots that it had taken for the batch."""
    lines = np.zeros(1, LINE)
    tried = Table6(lines, SEEDS, {}, 1)
    entries = [IPv6Network((0x20010DB8 << 96 | n, 128)) for n in range(SLOTS + 2)]
    with pytest.raises(MapFull):
        tried.put(keys(entries), classes(*[1] * len(entries)))
    assert not lines["tag"].any()
    assert not lines["metadata"].any()
    assert not tried.put(keys(entries[:SLOTS]), classes(1, 1, 1))


def test_what_a_table_holds_is_found_by_the_next_writer() -> None:
    """Spilled entries are handed over by the caller, from their map."""
    lines = np.zeros(2, LINE)
    spilled: dict[tuple[bytes, int], int] = {}
    first = Table6(lines, SEEDS, spilled, 1000)
    entries = [IPv6Network((0x20010DB8 << 96 | n, 128)) for n in range(4 * SLOTS)]
    first.put(keys(entries), classes(*range(1, len(entries) + 1)))
    assert contents(Table6(lines, SEEDS, dict(spilled), 1000)) == contents(first)


def test_lines_for() -> None:
    """A power of two with room: at most 1.6 entries a line."""
    for entries in (0, 1, 1000, 200_000, 1_000_000):
        lines = lines_for(entries)
        assert lines & lines - 1 == 0
        assert entries / lines <= 1.6
