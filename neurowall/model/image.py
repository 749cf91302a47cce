# SPDX-License-Identifier: Apache-2.0
"""What the kernel is to hold: entries with class ids, and what each class id means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from neurowall.model.entries import (
    DTYPE,
    Array,
    Bools,
    Entries,
    Indices,
    check_column,
    keys_of,
    read_only,
    segments_of,
)

CLASS: np.dtype[Any] = np.dtype(np.uint16)
UNTIL: np.dtype[Any] = np.dtype(np.float64)
MAX_CLASS = 65535  # class ids are 1 to 65535; 0 means "no class" in the kernel


@dataclass(frozen=True)
class ClassDef:
    """What a class id means. An id never changes its meaning while an entry of the kernel uses it.

    verdict is "pass", "drop" or, if only monitor lists cover it, "none"; list is the one that decides and
    names the hit; members are all lists that cover an entry of this class. timed is "allow" or "block" if the
    class holds only until an expiry of the address; rest is then the class that comes after it, 0: none.
    """

    id: int
    verdict: str
    list: str
    members: frozenset[str]
    timed: str = ""
    rest: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.id <= MAX_CLASS:
            raise ValueError(f"class id {self.id} is outside 1..{MAX_CLASS}")
        if self.verdict not in ("pass", "drop", "none"):
            raise ValueError(
                f"class {self.id}: verdict '{self.verdict}' is none of 'pass', 'drop' and 'none'"
            )
        if self.timed not in ("", "allow", "block"):
            raise ValueError(f"class {self.id}: timed '{self.timed}' is none of '', 'allow' and 'block'")
        if self.timed and self.verdict != ("pass" if self.timed == "allow" else "drop"):
            raise ValueError(f"class {self.id}: a timed {self.timed} does not {self.verdict}")
        if self.rest and not self.timed:
            raise ValueError(f"class {self.id}: nothing comes after a class that has no end")
        if self.list not in self.members:
            raise ValueError(f"class {self.id}: list '{self.list}' is not among its members")


@dataclass(frozen=True, eq=False)
class Table:
    """Entries of one family, each with its class id.

    address, length and sorting as in Entries; class_id is uint16 of the same shape. A longest match over the
    table gives an address its class. The constructor checks dtypes and shapes only.
    """

    family: int
    address: Array
    length: Array
    class_id: Array

    def __post_init__(self) -> None:
        rows = len(self.address)
        check_column("address", self.address, DTYPE[self.family], rows)
        check_column("length", self.length, np.dtype(np.uint8), rows)
        check_column("class_id", self.class_id, CLASS, rows)
        for name in ("address", "length", "class_id"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @classmethod
    def empty(cls, family: int) -> "Table":
        """No entries."""
        return cls(family, np.empty(0, DTYPE[family]), np.empty(0, np.uint8), np.empty(0, CLASS))

    @classmethod
    def make(cls, family: int, address: Array, length: Array, class_id: Array) -> "Table":
        """Build from unique rows in any order, such as a kernel map hands out."""
        order = np.argsort(keys_of(family, address, length), kind="stable")
        return cls(family, address[order], length[order], class_id[order])

    def __len__(self) -> int:
        return len(self.address)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Table)
            and self.entries == other.entries
            and np.array_equal(self.class_id, other.class_id)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def entries(self) -> Entries:
        """The rows without their classes."""
        return Entries(self.family, self.address, self.length)

    @property
    def keys(self) -> Array:
        """One sortable value a row, see entries.keys_of."""
        return keys_of(self.family, self.address, self.length)

    def segments(self) -> list[tuple[int, slice]]:
        """Each length that occurs, ascending, and its rows."""
        return segments_of(self.length)

    def take(self, rows: slice | Bools | Indices) -> "Table":
        """The chosen rows; *rows* must keep their order."""
        return Table(self.family, self.address[rows], self.length[rows], self.class_id[rows])


@dataclass(frozen=True, eq=False)
class Expiries:
    """Until when timed entries of one family hold.

    address, length and sorting as in Entries; allow_until and block_until are float64 of the same shape, Unix
    time in seconds, 0.0 for none. A row's values hold for everything timed that covers the entry, so that the
    longest match alone gives an address its ends.
    """

    family: int
    address: Array
    length: Array
    allow_until: Array
    block_until: Array

    def __post_init__(self) -> None:
        rows = len(self.address)
        check_column("address", self.address, DTYPE[self.family], rows)
        check_column("length", self.length, np.dtype(np.uint8), rows)
        check_column("allow_until", self.allow_until, UNTIL, rows)
        check_column("block_until", self.block_until, UNTIL, rows)
        for name in ("address", "length", "allow_until", "block_until"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @classmethod
    def empty(cls, family: int) -> "Expiries":
        """Nothing timed."""
        none = np.empty(0, UNTIL)
        return cls(family, np.empty(0, DTYPE[family]), np.empty(0, np.uint8), none, none)

    @classmethod
    def make(
        cls, family: int, address: Array, length: Array, allow_until: Array, block_until: Array
    ) -> "Expiries":
        """Build from unique rows in any order."""
        order = np.argsort(keys_of(family, address, length), kind="stable")
        return cls(family, address[order], length[order], allow_until[order], block_until[order])

    def __len__(self) -> int:
        return len(self.address)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Expiries)
            and self.entries == other.entries
            and np.array_equal(self.allow_until, other.allow_until)
            and np.array_equal(self.block_until, other.block_until)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def entries(self) -> Entries:
        """The rows without their ends."""
        return Entries(self.family, self.address, self.length)

    def take(self, rows: slice | Bools | Indices) -> "Expiries":
        """The chosen rows; *rows* must keep their order."""
        return Expiries(
            self.family,
            self.address[rows],
            self.length[rows],
            self.allow_until[rows],
            self.block_until[rows],
        )


@dataclass(frozen=True)
class Contents:
    """What the kernel really holds, by read back.

    verdicts is what the kernel's own class table says ("pass", "drop" or "none") for the ids in use; empty if
    it was not read. rests: of the timed ones among them, which class comes after each, 0 for none; None if
    that was not read. Both know also the classes that come after one in use.
    """

    v4: Table
    v6: Table
    verdicts: Mapping[int, str] = field(default_factory=dict)
    rests: Mapping[int, int] | None = None

    def family(self, family: int) -> Table:
        """The table of one family."""
        return self.v4 if family == 4 else self.v6


@dataclass(frozen=True)
class Image:
    """The desired kernel image.

    classes has a definition for every class id in the tables, for those that come after one, and no other.
    """

    v4: Table
    v6: Table
    classes: Mapping[int, ClassDef]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", MappingProxyType(dict(self.classes)))

    @classmethod
    def empty(cls) -> "Image":
        """Nothing listed."""
        return cls(Table.empty(4), Table.empty(6), {})

    def family(self, family: int) -> Table:
        """The table of one family."""
        return self.v4 if family == 4 else self.v6
