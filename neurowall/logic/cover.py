# SPDX-License-Identifier: Apache-2.0
"""Which entries cover which: binary searches over sorted entries, one length at a time.

Entries of one length are disjoint, so those of a longer length that one of them covers are one run of rows.
"""

import numpy as np

from neurowall.model.entries import (
    Array,
    Bools,
    Entries,
    Indices,
    clear_host_bits,
    find,
    last_address,
    segments_of,
    sorted_unique,
)


def locate(entries: Entries, wanted: Entries) -> tuple[Indices, Bools]:
    """Where each of *wanted* is, or would be inserted, in *entries*; and whether it is there.

    Costs a few searches, whatever the size of *entries*.
    """
    index = np.zeros(len(wanted), np.intp)
    hit = np.zeros(len(wanted), np.bool_)
    for length, rows in wanted.segments():
        begin, end = np.searchsorted(entries.length, np.array([length, length + 1], np.uint8))
        found, present = find(entries.address[begin:end], wanted.address[rows])
        index[rows], hit[rows] = found + begin, present
    return index, hit


def match(entries: Entries, address: Array, limit: Array | None = None) -> Indices:
    """The row of the longest entry that covers each address, -1 where none does.

    limit (uint8, one an address): longer entries do not count; so the prefix address/limit as a whole is
    covered.
    """
    row = np.full(len(address), -1, np.intp)
    for length, rows in entries.segments():
        index, hit = find(entries.address[rows], clear_host_bits(entries.family, address, length))
        if limit is not None:
            hit &= length <= limit
        row = np.where(hit, index + rows.start, row)
    return row


def covered_rows(family: int, outer: Array, length: int, inner: Array) -> tuple[Indices, Indices]:
    """Rows of the sorted addresses *inner* that each address of *outer*, a prefix of *length*, covers.

    Returns two arrays of equal length: the row in *outer* and the row in *inner*.
    """
    first = np.searchsorted(inner, outer)
    count = np.searchsorted(inner, last_address(family, outer, length), side="right") - first
    outer_row = np.repeat(np.arange(len(outer)), count)
    run_start = np.cumsum(count) - count
    inner_row = np.arange(len(outer_row)) + np.repeat(first - run_start, count)
    return outer_row, inner_row


def touched_rows(entries: Entries, changed: Entries) -> Indices:
    """The rows of *entries* that are among *changed* or covered by one of them, ascending."""
    index, hit = locate(entries, changed)
    parts = [index[hit]]
    for length, rows in changed.segments():
        for inner_length, inner_rows in entries.segments():
            if inner_length > length:
                inner = entries.address[inner_rows]
                _, row = covered_rows(entries.family, changed.address[rows], length, inner)
                parts.append(row + inner_rows.start)
    return sorted_unique(np.concatenate(parts))


def spread(outer: Entries, value: Array, inner: Entries, into: Array) -> None:
    """Add to *into*, by binary or, the value of every entry of *outer* that strictly covers each of *inner*.

    value and into are masks of one unsigned type, one a row of outer and of inner.
    """
    for length, rows in outer.segments():
        for inner_length, inner_rows in inner.segments():
            if inner_length <= length:
                continue
            address, target = inner.address[inner_rows], into[inner_rows]
            if rows.stop - rows.start <= len(address):
                outer_row, row = covered_rows(outer.family, outer.address[rows], length, address)
                target[row] |= value[rows][outer_row]
            else:
                index, hit = find(outer.address[rows], clear_host_bits(outer.family, address, length))
                target[hit] |= value[rows][index[hit]]


def strictly_covered(outer: Entries, inner: Entries) -> Bools:
    """Which entries of *inner* some entry of *outer* covers, itself not counted."""
    mark = np.zeros(len(inner), np.uint8)
    spread(outer, np.ones(len(outer), np.uint8), inner, mark)
    return np.asarray(mark != 0)


def strictly_covering(outer: Entries, inner: Entries) -> Bools:
    """Which entries of *outer* cover some entry of *inner*, itself not counted."""
    mark = np.zeros(len(outer), np.bool_)
    for length, rows in outer.segments():
        for inner_length, inner_rows in segments_of(inner.length):
            if inner_length > length:
                row, _ = covered_rows(outer.family, outer.address[rows], length, inner.address[inner_rows])
                mark[rows][row] = True
    return mark
