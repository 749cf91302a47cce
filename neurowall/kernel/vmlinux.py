# SPDX-License-Identifier: Apache-2.0
"""What the running kernel says of its own structs, enums and tracepoints: /sys/kernel/btf/vmlinux.

So nothing is taken from headers, which may be of another kernel.
"""

import struct
from pathlib import Path

from neurowall.kernel.btf import BtfError, Type, parse
from neurowall.model.errors import Unsupported

PATH = Path("/sys/kernel/btf/vmlinux")
_STRUCT, _UNION, _ENUM, _TYPEDEF = 4, 5, 6, 8  # BTF_KIND_*


class Vmlinux:
    """The kernel's types. Building one takes about a second."""

    def __init__(self, path: Path = PATH) -> None:
        """Unsupported if the kernel has no BTF, or none that is understood."""
        try:
            self._types = parse(path.read_bytes())
        except FileNotFoundError as error:
            raise Unsupported(f"no {path}: boot a kernel with CONFIG_DEBUG_INFO_BTF") from error
        except (OSError, BtfError, struct.error, IndexError, ValueError) as error:
            raise Unsupported(f"{path} cannot be read: {error}") from error
        self._structs: dict[str, Type] = self._types.named(_STRUCT)

    def offset(self, name: str, field: str) -> int:
        """Bytes from the start of a struct to a field of it, which may lie in a nameless part or behind dots.

        Unsupported if this kernel has no such field.
        """
        kind, bits = self._structs.get(name), 0
        for part in field.split("."):
            found = self._find(kind, part) if kind else None
            if found is None:
                raise Unsupported(f"this kernel's struct {name} has no field {field}")
            bits, kind = bits + found[0], self._types.resolve(found[1])
        return bits // 8

    def _find(self, kind: Type, wanted: str) -> tuple[int, int] | None:
        """Bit offset and type id of a field."""
        mask = 0xFFFFFF if kind.flag else 0xFFFFFFFF
        for name, index, bits in self._types.elements(kind):
            if name == wanted:
                return bits & mask, index
            inner = self._types.resolve(index)
            if not name and inner.kind in {_STRUCT, _UNION} and (found := self._find(inner, wanted)):
                return (bits & mask) + found[0], found[1]
        return None

    def enum(self, name: str) -> dict[int, str]:
        """The names of an enum's values; empty if this kernel has no such enum."""
        found = self._types.named(_ENUM).get(name)
        return {value: each for each, value in self._types.enum(found).items()} if found else {}

    def arguments(self, tracepoint: str) -> int:
        """How many arguments a raw tracepoint has; 0 if this kernel has none of that name."""
        found = self._types.named(_TYPEDEF).get(f"btf_trace_{tracepoint}")
        if found is None:
            return 0
        prototype = self._types.resolve(self._types.resolve(found.target).target)
        return len(prototype.words) // 2 - 1  # the first one is of the tracing itself
