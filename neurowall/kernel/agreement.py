# SPDX-License-Identifier: Apache-2.0
"""Whether an object file agrees with layout.py, by its BTF."""

import ctypes as c
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from neurowall.kernel import btf, layout
from neurowall.kernel.mirror import Mirror
from neurowall.model.errors import KernelError


class LayoutError(KernelError):
    """An object file was built from another neurowall.h; *differences* lists every one."""

    def __init__(self, path: Path, differences: tuple[str, ...]) -> None:
        lines = "".join(f"\n  {line}" for line in differences)
        super().__init__(
            f"{path} does not match this version of Neurowall, reinstall it or run 'make objects':{lines}"
        )
        self.differences = differences


def _absent(kind: str, here: Mapping[str, object], there: Mapping[str, object]) -> Iterator[str]:
    """Names that only one side has."""
    for name in sorted(there.keys() - here.keys()):
        yield f"{kind} {name} is in the object but not in layout.py"
    for name in sorted(here.keys() - there.keys()):
        yield f"{kind} {name} is in layout.py but not in the object"


def _mirror_members(mirror: type[Mirror]) -> dict[str, tuple[int, int, bool]]:
    """Field name to (offset, size, whether its bytes are in network order)."""
    fields = {name: getattr(mirror, name) for name, *_ in mirror._fields_}
    return {name: (field.offset, field.size, name in mirror.BIG_ENDIAN) for name, field in fields.items()}


def _struct_differences(mirror: type[Mirror], found: btf.Struct) -> Iterator[str]:
    where = f"struct {found.name}"
    here = _mirror_members(mirror)
    there = {
        each.name: (each.offset, each.size, re.match(r"__be\d", each.type) is not None)
        for each in found.members
    }
    yield from _absent(f"{where}: field", here, there)
    for name in (name for name in there if name in here):
        for what, ours, theirs in zip(
            ("offset", "size", "network order"), here[name], there[name], strict=True
        ):
            if ours != theirs:
                yield f"{where}: field {name} has {what} {theirs} in the object, {ours} in layout.py"
    if found.size != c.sizeof(mirror):
        yield f"{where} has {found.size} bytes in the object, {c.sizeof(mirror)} in layout.py"


def _enum_differences(name: str, found: Mapping[str, int]) -> Iterator[str]:
    yield from _absent(f"enum {name}:", layout.ENUMS[name], found)
    for value in (value for value in found if value in layout.ENUMS[name]):
        if found[value] != layout.ENUMS[name][value]:
            yield f"enum {name}: {value} is {found[value]} in the object, {layout.ENUMS[name][value]} here"


def _map_differences(found: btf.Map) -> Iterator[str]:
    ours = layout.MAPS[found.name]
    theirs = layout.MapLayout(found.kind, found.key, found.value, found.flags)
    for what in ("kind", "key", "value", "flags"):
        if getattr(ours, what) != getattr(theirs, what):
            yield (
                f"map {found.name}: {what} is {getattr(theirs, what)} in the object, "
                f"{getattr(ours, what)} in layout.py"
            )


def _own(named: Mapping[str, object]) -> dict[str, object]:
    """Those of the header: its names all start with nw_."""
    return {name: each for name, each in named.items() if name.startswith("nw_")}


def _differences(found: btf.Btf) -> Iterator[str]:
    mirrors = {mirror.C_NAME: mirror for mirror in layout.STRUCTS}
    yield from _absent("struct", mirrors, _own(found.structs))
    for name in mirrors.keys() & found.structs.keys():
        yield from _struct_differences(mirrors[name], found.structs[name])
    yield from _absent("enum", layout.ENUMS, _own(found.enums))
    for name in layout.ENUMS.keys() & found.enums.keys():
        yield from _enum_differences(name, found.enums[name])
    yield from _absent("map", layout.MAPS, found.maps)
    for name in layout.MAPS.keys() & found.maps.keys():
        yield from _map_differences(found.maps[name])
    constants = dict(found.sections.get(".rodata", {}))
    if constants != {"nw_config": "struct nw_config"}:
        yield f".rodata holds {constants} in the object, it must hold struct nw_config nw_config alone"


def check(path: Path) -> None:
    """Compare the object file at *path* with layout.py: sizes, offsets, enum values, maps' types.

    LayoutError lists every difference; BtfError if the file has no readable BTF.
    """
    differences = tuple(_differences(btf.read(path)))
    if differences:
        raise LayoutError(path, differences)


def abi_hash(path: Path) -> str:
    """A SHA-256 (hex) over what pinned maps depend on: shared structs and enums, kinds and types of maps.

    Capacities (max_entries) are not part of it. BtfError if the file has no readable BTF.
    """
    found = btf.read(path)
    maps = [
        (each.name, each.kind, each.key, each.key_size, each.value, each.value_size, each.flags)
        for each in found.maps.values()
    ]
    enums = {name: sorted(values.items()) for name, values in found.enums.items() if name.startswith("nw_")}
    shared = (sorted(_own(found.structs).items()), sorted(enums.items()), sorted(maps))
    return hashlib.sha256(repr(shared).encode()).hexdigest()
