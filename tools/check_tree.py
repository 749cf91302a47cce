#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check what no other linter does: licence lines, paths of one machine, index addresses in lock files.

Usage: tools/check_tree.py [ROOT]. Prints one line per problem and exits 1 if there is any.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

APACHE = "SPDX-License-Identifier: Apache-2.0"
KERNEL = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"

SOURCE_SUFFIXES = {".py", ".sh", ".c", ".h", ".js", ".mjs", ".css", ".toml", ".yaml", ".yml", ".j2"}
SOURCE_NAMES = {"Makefile"}

# A home, a workplace: somewhere that exists on one machine only. Not part of a longer path or an address.
MACHINE_PATH = re.compile(r"(?:(?<![\w./~-])|(?<=file://))/(?:home|root|Users|work)/[\w.]")

INDEX_ADDRESS = re.compile(r"https?://|file://|--(?:extra-)?index-url|--find-links")

# Made here, never committed: the walk without git must not descend into them.
SKIPPED_FOLDERS = {"build", "bench-results", "__pycache__"}


@dataclass(frozen=True)
class Problem:
    """One thing to repair: where, and what to do about it."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def tracked_files(root: Path) -> list[Path]:
    """Files of the tree, relative to root: what git tracks or would track, else everything not made here."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy that is no repository
        return sorted(walk(root))
    names = {Path(name) for name in listing.split("\0") if name}
    return sorted(name for name in names if (root / name).is_file())


def walk(root: Path) -> Iterator[Path]:
    """Files below root, relative to it, leaving out hidden folders (but for .ci) and what builds make."""
    for path in root.rglob("*"):
        name = path.relative_to(root)
        folders = name.parts[:-1]
        hidden = any(part.startswith(".") and part != ".ci" for part in folders)
        if path.is_file() and not hidden and not SKIPPED_FOLDERS.intersection(folders):
            yield name


def is_source(name: Path, text: str) -> bool:
    """Whether a file must carry its licence line: code, by its name or by its first line."""
    return name.suffix in SOURCE_SUFFIXES or name.name in SOURCE_NAMES or text.startswith("#!")


def licence_problems(name: Path, text: str) -> Iterator[Problem]:
    """The SPDX line is the first, or the second after `#!`; bpf/ has a licence of its own."""
    if not text or not is_source(name, text):
        return
    expected = KERNEL if name.parts[0] == "bpf" else APACHE
    first_line = 2 if text.startswith("#!") else 1
    lines = text.splitlines()
    if len(lines) < first_line or expected not in lines[first_line - 1]:
        yield Problem(name, first_line, f"put '{expected}' in a comment on this line")


def path_problems(name: Path, text: str) -> Iterator[Problem]:
    """Absolute paths that exist on one developer's machine only."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := MACHINE_PATH.search(line):
            yield Problem(name, number, f"'{found.group()}...' exists on one machine only; make it relative")


def lock_problems(name: Path, text: str) -> Iterator[Problem]:
    """Where packages come from is the machine's configuration, so a lock file names no index."""
    if name.suffix != ".lock":
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if found := INDEX_ADDRESS.search(line):
            yield Problem(name, number, f"'{found.group()}' names a package index; write it with `make lock`")


def problems(root: Path, names: list[Path]) -> Iterator[Problem]:
    """All problems of the named files, relative to root; files that are no UTF-8 text are left alone."""
    for name in names:
        try:
            text = (root / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        yield from licence_problems(name, text)
        yield from path_problems(name, text)
        yield from lock_problems(name, text)


def main(arguments: list[str]) -> int:
    """Print what is wrong in the tree at the given root (default: this file's) and return the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    names = tracked_files(root)
    found = list(problems(root, names))
    for problem in found:
        print(problem)
    print(f"check_tree: {len(names)} files, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
