# SPDX-License-Identifier: Apache-2.0
"""The Makefile's own rules, in a copy of it with a kernel source or two."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LICENCE = "// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause\n"
PROGRAM = LICENCE + '#include "value.h"\nint value(void);\nint value(void)\n{\n\treturn VALUE;\n}\n'

pytestmark = pytest.mark.tool("make", "clang")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the Makefile, one kernel program and its header."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf/value.h").write_text(LICENCE + "#define VALUE 1\n")
    (tmp_path / "bpf/value.bpf.c").write_text(PROGRAM)
    return tmp_path


def make(tree: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    """Run make for these targets."""
    command = ["make", "-C", str(tree), *targets]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_objects_are_compiled_once_and_after_a_change(tree: Path) -> None:
    """The second run compiles nothing; a changed header compiles what includes it."""
    assert "clang bpf/value.bpf.c" in make(tree, "objects").stdout
    assert (tree / "build/bpf/value.bpf.o").stat().st_size > 0
    assert "clang" not in make(tree, "objects").stdout
    (tree / "bpf/value.h").write_text(LICENCE + "#define VALUE 2\n")
    assert "clang bpf/value.bpf.c" in make(tree, "objects").stdout


def test_a_warning_is_an_error(tree: Path) -> None:
    """An unused parameter stops the build and leaves no object behind."""
    (tree / "bpf/value.bpf.c").write_text(PROGRAM.replace("(void)", "(int unused)"))
    assert make(tree, "objects").returncode != 0
    assert not (tree / "build/bpf/value.bpf.o").exists()


@pytest.mark.parametrize(("pad", "code"), [("__u8 pad[3];", 0), ("", 2)])
def test_an_unnamed_pad_byte_is_an_error(tree: Path, pad: str, code: int) -> None:
    """A struct whose pad bytes have a name passes the check, the same without the name fails it."""
    body = f"#include <linux/types.h>\nstruct key {{\n\t__u8 family;\n\t{pad}\n\t__u32 address;\n}};\n"
    (tree / "bpf/key.h").write_text(LICENCE + body)
    assert make(tree, "build/bpf/key.padding-ok").returncode == code


def test_the_default_target_lists_the_others(tree: Path) -> None:
    """`make` alone changes nothing and names what there is."""
    text = make(tree).stdout
    for target in ["setup", "bench", "test", "setup-test", "setup-vm", "test-soak", "test-kernels", "lock"]:
        assert f"make {target} " in text
    assert not (tree / "build").exists()


def test_the_kernel_matrix_says_that_it_is_not_there(tree: Path) -> None:
    """No success is claimed for what does not exist."""
    done = make(tree, "test-kernels")
    assert done.returncode != 0
    assert "not built yet" in done.stderr
