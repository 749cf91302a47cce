# SPDX-License-Identifier: Apache-2.0
"""layout.py against the shipped object and against objects built from mutated sources."""

import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from neurowall.kernel import agreement, btf, layout, objects
from neurowall.model.reasons import Reason

SOURCES = Path(__file__).parents[3] / "bpf"
CLANG = (
    "clang",
    "-O2",
    "-target",
    "bpf",
    "-mcpu=v2",
    "-idirafter",
    f"/usr/include/{platform.machine()}-linux-gnu",
)

Mutate = Callable[..., Path]  # (file, old, new, *clang flags)


@pytest.fixture
def compiled(tmp_path: Path) -> Mutate:
    """Compile a copy of the sources in which *old* of *file* became *new*; the object's path."""

    def build(file: str, old: str, new: str, *flags: str) -> Path:
        copy = tmp_path / "bpf"
        shutil.copytree(SOURCES, copy, dirs_exist_ok=True)
        text = (copy / file).read_text()
        assert text.count(old) == 1, f"the mutation of {file} no longer fits the source: {old!r}"
        (copy / file).write_text(text.replace(old, new))
        target = tmp_path / "neurowall.bpf.o"
        argv = [*CLANG, *(flags or ("-g",)), "-c", str(copy / "neurowall.bpf.c"), "-o", str(target)]
        subprocess.run(argv, check=True, timeout=60)
        return target

    return build


def differences(path: Path) -> str:
    """What check() has against an object; fails if it has nothing."""
    with pytest.raises(agreement.LayoutError) as caught:
        agreement.check(path)
    assert str(path) in str(caught.value)
    return "\n".join(caught.value.differences)


def test_the_shipped_object_matches() -> None:
    """The build and layout.py describe the same structs, enums and maps."""
    agreement.check(objects.path("neurowall"))


def test_another_program_does_not_match() -> None:
    """The harness's own objects are not the data plane, and every missing map is named."""
    found = differences(objects.path("xdpnull"))
    for name in layout.MAPS:
        assert f"map {name} is in layout.py but not in the object" in found


MUTATIONS = {
    "two fields of equal size swapped": (
        "neurowall.h",
        "	enum nw_engine engine;\n	__u32 line_shift;",
        "	__u32 line_shift;\n	enum nw_engine engine;",
        ("struct nw_config: field engine has offset 40", "struct nw_config: field line_shift has offset 36"),
    ),
    "a field added": (
        "neurowall.h",
        "	__u64 window_packets;",
        "	__u64 window_packets;\n	__u64 window_bytes;",
        (
            "struct nw_failsafe: field window_bytes is in the object but not in layout.py",
            "struct nw_failsafe has 160 bytes",
        ),
    ),
    "a field removed": (
        "neurowall.h",
        "	__u32 role;",
        "	__u32 reserved;",
        ("struct nw_config: field role is in layout.py but not in the object",),
    ),
    "a field in the other byte order": (
        "neurowall.h",
        "	__be32 address;",
        "	__u32 address;",
        ("struct nw_prefix4: field address has network order False",),
    ),
    "a field of another size": (
        "neurowall.h",
        "	__u32 prefixes6;",
        "	__u16 prefixes6;\n	__u16 spare;",
        ("struct nw_population: field prefixes6 has size 2",),
    ),
    "an enum value inserted": (
        "neurowall.h",
        "	NW_REASON_LACP,",
        "	NW_REASON_NEW,\n	NW_REASON_LACP,",
        ("NW_REASON_NEW is in the object", "NW_REASON_LACP is 9", f"NW_REASON_MAX is {len(Reason) + 1}"),
    ),
    "a constant changed": (
        "neurowall.h",
        "NW_LINE_SPILL = 2,",
        "NW_LINE_SPILL = 4,",
        ("enum nw_constant: NW_LINE_SPILL is 4",),
    ),
    "the type of a map's key changed": (
        "maps.h",
        "	__type(key, __be32);\n	__type(value, __u32);",
        "	__type(key, struct nw_prefix4);\n	__type(value, __u32);",
        ("map hosts4: key is struct nw_prefix4",),
    ),
    "another struct as a map's value": (
        "maps.h",
        "	__type(value, struct nw_class);",
        "	__type(value, struct nw_population);",
        ("map classes: value is struct nw_population", "struct nw_class is in layout.py but not"),
    ),
    "another kind of map": (
        "maps.h",
        "	__uint(type, BPF_MAP_TYPE_HASH);\n	__uint(max_entries, 64);",
        "	__uint(type, BPF_MAP_TYPE_LRU_HASH);\n	__uint(max_entries, 64);",
        ("map failsafe: kind is 9",),
    ),
    "a map's flags dropped": (
        "maps.h",
        "	__uint(map_flags, BPF_F_MMAPABLE);\n	__uint(max_entries, NW_BITMAP_WORDS);",
        "	__uint(max_entries, NW_BITMAP_WORDS);",
        ("map bitmap: flags is 0",),
    ),
    "a second constant beside the config": (
        "config.h",
        "const volatile struct nw_config nw_config;",
        "const volatile struct nw_config nw_config;\nconst volatile __u32 extra;",
        (".rodata holds", "extra"),
    ),
}


@pytest.mark.tool("clang")
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_source_is_refused(name: str, compiled: Mutate) -> None:
    """Every way to drift is caught, by a message that names what drifted; its pins are another ABI."""
    file, old, new, messages = MUTATIONS[name]
    path = compiled(file, old, new)
    found = differences(path)
    for message in messages:
        assert message in found
    if file != "config.h":  # a second constant is no part of what is pinned
        assert agreement.abi_hash(path) != agreement.abi_hash(objects.path("neurowall"))


@pytest.mark.tool("clang")
def test_an_unchanged_copy_is_accepted_and_has_the_same_hash(compiled: Mutate) -> None:
    """What a mutation is refused for is the mutation, not the copying."""
    path = compiled("maps.h", "__uint(max_entries, 64);", "__uint(max_entries, 65);")
    agreement.check(path)
    assert agreement.abi_hash(path) == agreement.abi_hash(objects.path("neurowall"))


@pytest.mark.tool("clang")
def test_an_object_without_debug_information_is_refused(compiled: Mutate) -> None:
    """Without -g there are no types of structs, only of maps, or no BTF at all; the error says -g."""
    path = compiled("maps.h", "__uint(max_entries, 64);", "__uint(max_entries, 65);", "-g0")
    with pytest.raises(btf.BtfError, match=r"\.BTF.*clang -g"):
        agreement.check(path)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n" * 20, b"\x7fELF\x01" + bytes(200)])
def test_a_file_that_is_no_object_is_refused(content: bytes, tmp_path: Path) -> None:
    """The error names the file."""
    (path := tmp_path / "other.o").write_bytes(content)
    with pytest.raises(btf.BtfError, match=r"other\.o: it is not a 64-bit ELF object"):
        agreement.check(path)


def test_a_damaged_object_is_refused(tmp_path: Path) -> None:
    """Cut anywhere, an object is an error that names it, never another exception or an acceptance."""
    whole = objects.path("neurowall").read_bytes()
    path = tmp_path / "cut.o"
    for length in (*range(0, len(whole), 997), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises((btf.BtfError, agreement.LayoutError), match=r"cut\.o"):
            agreement.check(path)


def padding_check(header: Path) -> subprocess.CompletedProcess[str]:
    """As `make lint`: only the dump makes clang lay out structs that nothing uses."""
    argv = [*CLANG, "-Wall", "-Wextra", "-Wpadded", "-Werror", "-Xclang", "-fdump-record-layouts-complete"]
    return subprocess.run(
        [*argv, "-x", "c", "-fsyntax-only", header], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.tool("clang")
def test_every_pad_byte_has_a_name() -> None:
    """neurowall.h compiles alone and has no unnamed pad byte."""
    answer = padding_check(SOURCES / "neurowall.h")
    assert answer.returncode == 0, answer.stderr
    assert "struct nw_failsafe_key" in answer.stdout


@pytest.mark.tool("clang")
def test_an_unnamed_pad_byte_is_refused(tmp_path: Path) -> None:
    """A key with one loads and then never matches, so the compiler must refuse it."""
    text = (SOURCES / "neurowall.h").read_text()
    assert text.count("	__u8 pad;\n") == 1
    (tmp_path / "neurowall.h").write_text(text.replace("	__u8 pad;\n", ""))
    answer = padding_check(tmp_path / "neurowall.h")
    assert answer.returncode != 0
    assert "nw_failsafe_key" in answer.stderr
