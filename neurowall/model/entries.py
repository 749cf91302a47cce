# SPDX-License-Identifier: Apache-2.0
"""Sets of addresses and prefixes as sorted numpy arrays.

An entry is an address and a length; a host is an entry of full length, every other one a prefix. IPv4
addresses are host byte order integers (uint32), IPv6 addresses 16 bytes in network order (S16), which sort
and compare like memcmp. numpy hands out single S16 elements without their trailing zero bytes: pad them
before use.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from neurowall.model.address import BITS, Entry, InvalidEntry, parse_entry

V4: np.dtype[Any] = np.dtype(np.uint32)
V6: np.dtype[Any] = np.dtype("S16")
DTYPE: dict[int, np.dtype[Any]] = {4: V4, 6: V6}
FAMILIES = (4, 6)

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

_MASK4 = np.array([(0xFFFFFFFF << (32 - n)) & 0xFFFFFFFF for n in range(33)], dtype=V4)
_LENGTHS = np.arange(130, dtype=np.uint8)
_MASK6 = np.array(
    [list(((1 << 128) - (1 << (128 - n))).to_bytes(16, "big")) for n in range(129)], dtype=np.uint8
)


@dataclass(frozen=True, eq=False)
class Entries:
    """Entries of one family, sorted by (length, address), unique, host bits zero.

    address has dtype V4 or V6 and shape (n,), length uint8 and the same shape; both are made read-only. The
    constructor checks dtypes and shapes only: what is not known to be sorted and clean goes through `make`.
    """

    family: int
    address: Array
    length: Array

    def __post_init__(self) -> None:
        check_column("address", self.address, DTYPE[self.family], len(self.address))
        check_column("length", self.length, np.dtype(np.uint8), len(self.address))
        for name in ("address", "length"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @classmethod
    def make(cls, family: int, address: npt.ArrayLike, length: npt.ArrayLike) -> Self:
        """Build from rows in any order: clears host bits, sorts, drops duplicates."""
        lengths = np.asarray(length, dtype=np.uint8)
        addresses = clear_host_bits(family, np.asarray(address, dtype=DTYPE[family]), lengths)
        keys = sorted_unique(keys_of(family, addresses, lengths))
        return cls(family, *split_keys(family, keys))

    @classmethod
    def empty(cls, family: int) -> Self:
        """No entries."""
        return cls(family, np.empty(0, DTYPE[family]), np.empty(0, np.uint8))

    def __len__(self) -> int:
        return len(self.address)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Entries)
            and self.family == other.family
            and np.array_equal(self.length, other.length)
            and np.array_equal(self.address, other.address)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def keys(self) -> Array:
        """One sortable value a row, see keys_of."""
        return keys_of(self.family, self.address, self.length)

    @property
    def hosts(self) -> int:
        """How many entries are of full length."""
        # A needle of another type would make numpy convert the whole column first.
        return len(self) - int(np.searchsorted(self.length, np.uint8(BITS[self.family])))

    def segments(self) -> list[tuple[int, slice]]:
        """Each length that occurs, ascending, and its rows."""
        return segments_of(self.length)

    def take(self, rows: slice | Bools | Indices) -> "Entries":
        """The chosen rows; *rows* must keep their order."""
        return Entries(self.family, self.address[rows], self.length[rows])

    def contains(self, other: "Entries") -> Bools:
        """Tell for each entry of *other* whether it is one of these."""
        return find(self.keys, other.keys)[1]

    def union(self, other: "Entries") -> "Entries":
        """Entries of either."""
        if not len(self) or not len(other):
            return self if len(self) else other
        keys = sorted_unique(np.concatenate((self.keys, other.keys)))
        return Entries(self.family, *split_keys(self.family, keys))

    def minus(self, other: "Entries") -> "Entries":
        """Entries that *other* lacks."""
        return self.take(~other.contains(self))

    def rows(self) -> Iterator[Entry]:
        """The entries one by one, in order."""
        if self.family == 4:
            for value, length in zip(self.address.tolist(), self.length.tolist(), strict=True):
                yield Entry(4, value, length)
        else:
            for packed, length in zip(self.address.tolist(), self.length.tolist(), strict=True):
                yield Entry(6, int.from_bytes(packed.ljust(16, b"\0"), "big"), length)


@dataclass(frozen=True)
class EntrySet:
    """Entries of both families."""

    v4: Entries
    v6: Entries

    @classmethod
    def empty(cls) -> Self:
        """No entries."""
        return cls(Entries.empty(4), Entries.empty(6))

    @classmethod
    def from_strings(cls, texts: Iterable[str]) -> Self:
        """Build from text, host bits cleared. Raises InvalidEntry naming the first text that is no entry."""
        parsed = []
        for text in texts:
            try:
                parsed.append(parse_entry(text))
            except InvalidEntry as error:
                raise InvalidEntry(f"'{text}': {error}") from error
        return cls.from_entries(parsed)

    @classmethod
    def from_entries(cls, entries: Iterable[Entry]) -> Self:
        """Build from single entries in any order."""
        rows = list(entries)
        v4 = [row for row in rows if row.family == 4]
        v6 = [row for row in rows if row.family == 6]
        return cls(
            Entries.make(4, [row.value for row in v4], [row.length for row in v4]),
            Entries.make(6, [row.packed for row in v6], [row.length for row in v6]),
        )

    def family(self, family: int) -> Entries:
        """The entries of one family."""
        return self.v4 if family == 4 else self.v6

    def __len__(self) -> int:
        return len(self.v4) + len(self.v6)

    def union(self, other: "EntrySet") -> "EntrySet":
        """Entries of either."""
        return EntrySet(self.v4.union(other.v4), self.v6.union(other.v6))

    def minus(self, other: "EntrySet") -> "EntrySet":
        """Entries that *other* lacks."""
        return EntrySet(self.v4.minus(other.v4), self.v6.minus(other.v6))

    def to_strings(self) -> list[str]:
        """Each entry as text: IPv4 first, then by length and address."""
        return [str(row) for entries in (self.v4, self.v6) for row in entries.rows()]


def check_column(name: str, array: Array, dtype: np.dtype[Any], rows: int) -> None:
    """Raise ValueError unless *array* has this dtype and shape (rows,)."""
    if array.dtype != dtype or array.shape != (rows,):
        raise ValueError(f"{name}: expected {dtype} of shape ({rows},), got {array.dtype} {array.shape}")


def read_only(array: Array) -> Array:
    """A view that cannot be written through."""
    view = array.view()
    view.flags.writeable = False
    return view


def clear_host_bits(family: int, address: Array, length: Array | int) -> Array:
    """The addresses with all bits beyond their lengths zero."""
    if family == 4:
        return np.asarray(address & _MASK4[length], dtype=V4)
    return _join6(_octets6(address) & _MASK6[length])


def last_address(family: int, address: Array, length: Array | int) -> Array:
    """The highest address of each prefix."""
    if family == 4:
        return np.asarray(address | ~_MASK4[length], dtype=V4)
    return _join6(_octets6(address) | ~_MASK6[length])


def keys_of(family: int, address: Array, length: Array) -> Array:
    """One value a row that sorts by (length, address).

    uint64 length << 32 | address for IPv4; S17, the length byte before the address, for IPv6.
    """
    if family == 4:
        return np.asarray(length.astype(np.uint64) << np.uint64(32) | address)
    matrix = np.empty((len(address), 17), np.uint8)
    matrix[:, 0] = length
    matrix[:, 1:] = _octets6(address)
    return matrix.view("S17").reshape(-1)


def split_keys(family: int, keys: Array) -> tuple[Array, Array]:
    """Inverse of keys_of: addresses and lengths."""
    if family == 4:
        return keys.astype(V4), (keys >> np.uint64(32)).astype(np.uint8)
    matrix = np.ascontiguousarray(keys).view(np.uint8).reshape(-1, 17)
    return _join6(matrix[:, 1:]), matrix[:, 0].copy()


def sorted_unique(values: Array) -> Array:
    """The distinct values, ascending. numpy's own unique() hashes large arrays, ten times slower on ours."""
    ordered = np.sort(values)
    if not len(ordered):
        return ordered
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]


def find(keys: Array, wanted: Array) -> tuple[Indices, Bools]:
    """Where each of *wanted* is, or would be inserted, in the sorted *keys*; and whether it is there."""
    index = np.searchsorted(keys, wanted)
    if not len(keys):
        return index, np.zeros(len(wanted), np.bool_)
    hit: Bools = keys[np.minimum(index, len(keys) - 1)] == wanted
    return index, hit


def segments_of(length: Array) -> list[tuple[int, slice]]:
    """The runs of equal values in a sorted uint8 array: value and rows."""
    bounds: list[int] = np.searchsorted(length, _LENGTHS).tolist()
    return [(n, slice(bounds[n], bounds[n + 1])) for n in range(129) if bounds[n] < bounds[n + 1]]


def _octets6(address: Array) -> Array:
    return np.ascontiguousarray(address).view(np.uint8).reshape(-1, 16)


def _join6(octets: Array) -> Array:
    return np.ascontiguousarray(octets).view(V6).reshape(-1)
