# SPDX-License-Identifier: Apache-2.0
"""What an object file says about itself: structs, enums and maps from its .BTF section.

Pure Python and no root, so that a stale object is refused before anything reaches the kernel.
Sources: ELF-64 object file format; Linux Documentation/bpf/btf.rst; libbpf's map definitions, where
__uint(name, n) is a pointer to an array of n ints and __type(name, t) a pointer to t.
"""

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MAGIC = 0xEB9F
_POINTER_BYTES = 8
_ORDER = "<" if sys.byteorder == "little" else ">"
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF = 1, 2, 3, 4, 5, 6, 8
_VOLATILE, _CONST, _RESTRICT, _FUNC_PROTO, _VAR, _DATASEC = 9, 10, 11, 13, 14, 15
_FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = 16, 17, 18, 19
_QUALIFIERS = frozenset({_VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})
_SIZED = frozenset({_INT, _STRUCT, _UNION, _ENUM, _ENUM64, _FLOAT})
_KEYWORDS = {_STRUCT: "struct ", _UNION: "union ", _ENUM: "enum ", _ENUM64: "enum "}
# Words after the three that every type has: once, and for each of its elements.
_WORDS_ONCE = {_INT: 1, _ARRAY: 3, _VAR: 1, _DECL_TAG: 1}
_WORDS_EACH = {_STRUCT: 3, _UNION: 3, _ENUM: 2, _FUNC_PROTO: 2, _DATASEC: 3, _ENUM64: 3}


class BtfError(Exception):
    """The file is no object of this machine's byte order, or holds no readable BTF."""


@dataclass(frozen=True)
class Member:
    """A field of a struct: type as C spells it (such as '__be32[4]'), offset and size in bytes."""

    name: str
    type: str
    offset: int
    size: int


@dataclass(frozen=True)
class Struct:
    """A struct and its fields in the order of the source; size in bytes."""

    name: str
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Map:
    """A map of the .maps section; '' and 0 where the source leaves something out."""

    name: str
    kind: int  # enum bpf_map_type
    key: str
    key_size: int
    value: str
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True)
class Btf:
    """The named structs and enums of an object, its maps, and the variables of its data sections."""

    structs: Mapping[str, Struct]
    enums: Mapping[str, Mapping[str, int]]
    maps: Mapping[str, Map]
    sections: Mapping[str, Mapping[str, str]]  # '.rodata' -> variable -> type


@dataclass(frozen=True, slots=True)
class Type:
    """One type as it is encoded."""

    name: str
    kind: int
    flag: bool  # bit fields in a struct, signed values in an enum
    target: int  # the size, or the id of another type
    words: tuple[int, ...]


class Types:
    """Every type by its id; 0 is void."""

    def __init__(self, data: bytes, strings: bytes) -> None:
        self._strings = strings
        self._all = [Type("void", 0, flag=False, target=0, words=())]
        at = 0
        while at < len(data):
            name, info, target = struct.unpack_from(_ORDER + "3I", data, at)
            kind, elements = info >> 24 & 0x1F, info & 0xFFFF
            count = _WORDS_ONCE.get(kind, 0) + _WORDS_EACH.get(kind, 0) * elements
            words = struct.unpack_from(f"{_ORDER}{count}I", data, at + 12)
            self._all.append(Type(self._string(name), kind, bool(info >> 31), target, words))
            at += 12 + 4 * count

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(0, offset)].decode()

    def named(self, kind: int) -> dict[str, Type]:
        """The types of one kind that have a name."""
        return {found.name: found for found in self._all if found.kind == kind and found.name}

    def resolve(self, index: int) -> Type:
        """The type behind typedefs and qualifiers."""
        found = self._all[index]
        while found.kind == _TYPEDEF or found.kind in _QUALIFIERS:
            found = self._all[found.target]
        return found

    def size(self, index: int) -> int:
        """Bytes of a type, 0 for a function or void."""
        found = self.resolve(index)
        if found.kind == _PTR:
            return _POINTER_BYTES
        if found.kind == _ARRAY:
            return self.size(found.words[0]) * found.words[2]
        return found.target if found.kind in _SIZED else 0

    def spell(self, index: int) -> str:
        """The type as C spells it, without qualifiers; typedef names are kept, they carry byte order."""
        found = self._all[index]
        if found.kind in _QUALIFIERS:
            return self.spell(found.target)
        if found.kind == _PTR:
            return f"{self.spell(found.target)} *"
        if found.kind == _ARRAY:
            base, bracket, inner = self.spell(found.words[0]).partition("[")
            return f"{base}[{found.words[2]}]{bracket}{inner}"
        return _KEYWORDS.get(found.kind, "") + found.name

    def elements(self, found: Type) -> list[tuple[str, int, int]]:
        """Of a struct, (name, type id, bit offset) of each field; of an enum64, its values' halves."""
        triples = zip(found.words[::3], found.words[1::3], found.words[2::3], strict=True)
        return [(self._string(name), first, second) for name, first, second in triples]

    def structure(self, found: Type) -> Struct:
        """A struct's fields; a bit field is placed at the byte it starts in."""
        mask = 0xFFFFFF if found.flag else 0xFFFFFFFF
        members = [
            Member(name, self.spell(index), (bits & mask) // 8, self.size(index))
            for name, index, bits in self.elements(found)
        ]
        return Struct(found.name, found.target, tuple(members))

    def enum(self, found: Type) -> dict[str, int]:
        """An enum's values; of the 32-bit kind, which is all that C89 enumerators need."""
        pairs = zip(found.words[::2], found.words[1::2], strict=True)
        signed = 1 << 31 if found.flag else 1 << 32
        return {self._string(name): value - (1 << 32) * (value >= signed) for name, value in pairs}

    def variables(self, found: Type) -> list[tuple[str, int]]:
        """(name, type id) of each variable in a data section."""
        return [(self._all[index].name, self._all[index].target) for index in found.words[::3]]

    def map(self, name: str, index: int) -> Map:
        """A map from the anonymous struct that defines it: every field is a pointer, see above."""
        fields = {name: self.resolve(each).target for name, each, _ in self.elements(self.resolve(index))}

        def number(field: str) -> int:
            return self.resolve(fields[field]).words[2] if field in fields else 0

        def spelled(field: str) -> tuple[str, int]:
            return (self.spell(fields[field]), self.size(fields[field])) if field in fields else ("", 0)

        return Map(
            name,
            number("type"),
            *spelled("key"),
            *spelled("value"),
            number("max_entries"),
            number("map_flags"),
        )


def _section(file: bytes, wanted: bytes) -> bytes:
    """The contents of an ELF-64 section by name."""
    (headers,) = struct.unpack_from(_ORDER + "Q", file, 0x28)
    size, count, names = struct.unpack_from(_ORDER + "3H", file, 0x3A)
    # Of each section header: name, and after type, flags and address: offset and size. The rest is asked for
    # all the same: the headers come last, so that a file that was cut ends within them.
    sections = [struct.unpack_from(_ORDER + "I20x2Q24x", file, headers + size * i) for i in range(count)]
    for name, offset, length in sections:
        start = sections[names][1] + name
        if file[start : file.index(0, start)] == wanted:
            return file[offset : offset + length]
    raise BtfError(f"it has no section {wanted.decode()}: compile with clang -g")


def _types(file: bytes) -> Types:
    if file[:6] != b"\x7fELF\x02" + (b"\x01" if _ORDER == "<" else b"\x02"):
        raise BtfError("it is not a 64-bit ELF object of this machine's byte order")
    return parse(_section(file, b".BTF"))


def parse(data: bytes) -> Types:
    """The types of BTF as it is in an object's section, or in /sys/kernel/btf."""
    magic, length = struct.unpack_from(_ORDER + "H2xI", data)
    if magic != _MAGIC:
        raise BtfError(f"its BTF starts with {magic:#x}, not {_MAGIC:#x}")
    at, size, strings, strings_size = (
        length * (i % 2 == 0) + word for i, word in enumerate(struct.unpack_from(_ORDER + "4I", data, 8))
    )
    return Types(data[at : at + size], data[strings : strings + strings_size])


def read(path: Path) -> Btf:
    """The BTF of the object file at *path*.

    BtfError names the file and what is wrong with it; OSError if it cannot be read.
    """
    try:
        types = _types(path.read_bytes())
        sections = {name: types.variables(found) for name, found in types.named(_DATASEC).items()}
        maps = {name: types.map(name, index) for name, index in sections.pop(".maps", [])}
        return Btf(
            {name: types.structure(found) for name, found in types.named(_STRUCT).items()},
            {name: types.enum(found) for name, found in types.named(_ENUM).items()},
            maps,
            {
                section: {name: types.spell(index) for name, index in variables}
                for section, variables in sections.items()
            },
        )
    except BtfError as error:
        raise BtfError(f"{path}: {error}") from None
    except (struct.error, IndexError, ValueError) as error:
        raise BtfError(f"{path}: its ELF headers or its .BTF section are damaged ({error})") from error
