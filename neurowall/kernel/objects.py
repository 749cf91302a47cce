# SPDX-License-Identifier: Apache-2.0
"""Where the compiled kernel programs are."""

import os
from pathlib import Path

_PACKAGED = Path(__file__).parent.parent / "objects"
_BUILT = Path(__file__).parent.parent.parent / "build" / "bpf"


def path(name: str) -> Path:
    """The object file of bpf/<name>.bpf.c: from $NEUROWALL_OBJECTS, the wheel, or a source tree's build.

    FileNotFoundError names the places searched and the next step.
    """
    override = os.environ.get("NEUROWALL_OBJECTS")
    folders = [Path(override)] if override else [_PACKAGED, _BUILT]
    for folder in folders:
        if (found := folder / f"{name}.bpf.o").is_file():
            return found
    searched = ", ".join(str(folder) for folder in folders)
    raise FileNotFoundError(f"{name}.bpf.o is not in {searched}: run 'make objects' in a source tree")


def source(name: str) -> Path:
    """The file bpf/<name>.bcc.c, which bcc compiles where it runs: from the wheel, or a source tree."""
    for folder in (_PACKAGED, _BUILT.parent.parent / "bpf"):
        if (found := folder / f"{name}.bcc.c").is_file():
            return found
    raise FileNotFoundError(f"{name}.bcc.c did not come with Neurowall: install it again")
