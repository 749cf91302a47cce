# SPDX-License-Identifier: Apache-2.0
"""Other versions of Neurowall: copies of this source tree with some lines changed.

Mutations that a test must catch, and a version whose kernel structs are laid out differently. A copy that
cannot be changed as asked for fails the test: then the source has moved on, and the edit has to follow.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

Edits = Mapping[str, Sequence[tuple[str, str]]]
"""By file, from the root: text (which must be there exactly once) and what to put in its place."""


def copy_with(target: Path, edits: Edits) -> Path:
    """The product's Python sources below *target*, edited, with this tree's compiled objects."""
    shutil.copytree(ROOT / "neurowall", target / "neurowall")
    if (ROOT / "build").is_dir():
        (target / "build").symlink_to(ROOT / "build")
    _edit(target, edits)
    return target


def other_abi(target: Path) -> Path:
    """A whole version whose struct nw_class has another size and another order of fields, compiled."""
    shutil.copytree(ROOT / "neurowall", target / "neurowall", ignore=shutil.ignore_patterns("objects"))
    shutil.copytree(ROOT / "bpf", target / "bpf")
    shutil.copy(ROOT / "Makefile", target)
    header, mirror = "bpf/neurowall.h", "neurowall/kernel/layout.py"
    version = int(_only_match(target / header, r"NW_ABI = (\d+)"))
    edits = {
        header: [
            (f"NW_ABI = {version}", f"NW_ABI = {version + 1}"),
            ("struct nw_class {\n", "struct nw_class {\n\t__u64 of_another_version;\n"),
        ],
        mirror: [
            (f"    ABI = {version}\n", f"    ABI = {version + 1}\n"),
            (
                '        ("verdict", c.c_uint32),\n',
                '        ("of_another_version", c.c_uint64),\n        ("verdict", c.c_uint32),\n',
            ),
        ],
    }
    _edit(target, edits)
    argv = ["make", "--silent", "-C", str(target), "build/bpf/neurowall.bpf.o"]
    built = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return target


def _edit(target: Path, edits: Edits) -> None:
    for name, changes in edits.items():
        path = target / name
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1, f"{name} holds {text.count(old)} times: {old!r}; adapt the edit"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def _only_match(path: Path, pattern: str) -> str:
    found = re.findall(pattern, path.read_text(encoding="utf-8"))
    assert len(found) == 1, f"{path.name}: {pattern} matches {found}; adapt it"
    return str(found[0])
