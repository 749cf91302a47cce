# SPDX-License-Identifier: Apache-2.0
import subprocess
from pathlib import Path

import pytest

from tools.check_tree import APACHE, KERNEL, main, problems, tracked_files

# Put together here, so that this file passes the check itself.
HOME = "/" + "home/someone/project"
INDEX = "https:" + "//index.example/simple"


def complaints(root: Path, name: str, text: str) -> list[str]:
    """What the check says about one file of the given text."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return [str(problem) for problem in problems(root, [Path(name)])]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a/module.py", f"# {APACHE}\n"),
        ("a/empty.py", ""),
        ("script", f"#!/bin/sh\n# {APACHE}\n"),
        ("bpf/x.h", f"// {KERNEL}\n"),
        ("notes.md", "no licence line in prose\n"),
        ("list.txt", "192.0.2.1\n"),
        ("Makefile", f"# {APACHE}\n"),
        ("x.yaml", f"# {APACHE}\n"),
    ],
)
def test_accepts_files_with_their_licence(tmp_path: Path, name: str, text: str) -> None:
    """A source file with its SPDX line, an empty one and prose are fine."""
    assert complaints(tmp_path, name, text) == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("module.py", "import os\n", 1),
        ("late.py", f"import os\n# {APACHE}\n", 1),
        ("script", f"#!/bin/sh\necho\n# {APACHE}\n", 2),
        ("bpf/x.bpf.c", f"// {APACHE}\n", 1),
        ("module2.py", f"# {KERNEL}\n", 1),
        ("Makefile", "all:\n", 1),
    ],
)
def test_refuses_files_without_their_licence(tmp_path: Path, name: str, text: str, line: int) -> None:
    """No line, a line too low, and the other tree's licence are each named with the place to repair."""
    found = complaints(tmp_path, name, text)
    assert len(found) == 1
    assert found[0].startswith(f"{name}:{line}: put 'SPDX-License-Identifier:")


@pytest.mark.parametrize("text", [f"see {HOME}/x", f'path = "{HOME}"', f"file://{HOME}", f"-I{HOME} {HOME}"])
def test_refuses_machine_paths(tmp_path: Path, text: str) -> None:
    """A developer's home is found in prose, quotes and addresses, with its line."""
    found = complaints(tmp_path, "notes.md", f"first\n{text}\n")
    assert [message.split(" ")[0] for message in found] == ["notes.md:2:"]


@pytest.mark.parametrize(
    "text", ["/usr/bin/python3", "/run/neurowall", "docs" + HOME, "/home", "../work/x", "~/x"]
)
def test_accepts_other_paths(tmp_path: Path, text: str) -> None:
    """System paths, relative paths and the bare word are fine."""
    assert complaints(tmp_path, "notes.md", f"{text}\n") == []


@pytest.mark.parametrize("text", [f"--index-url {INDEX}", f"# from {INDEX}", "--find-links wheels"])
def test_refuses_index_in_lock(tmp_path: Path, text: str) -> None:
    """A lock file that names where packages come from is refused, another file is not."""
    assert len(complaints(tmp_path, "requirements.lock", f"a==1\n{text}\n")) == 1
    assert complaints(tmp_path, "notes.md", f"a==1\n{text}\n") == []


def test_leaves_binary_files_alone(tmp_path: Path) -> None:
    """A file that is no text has no lines to complain about."""
    (tmp_path / "x.py").write_bytes(b"\xff\xfe\x00")
    assert list(problems(tmp_path, [Path("x.py")])) == []


def test_walks_a_copy_without_git(tmp_path: Path) -> None:
    """Without a repository every file counts but those in hidden and built folders."""
    for name in [".ci/run", ".venv/lib/x.py", "a/b.py", "build/x.py", "Makefile"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    assert tracked_files(tmp_path) == [Path(".ci/run"), Path("Makefile"), Path("a/b.py")]


@pytest.mark.tool("git")
def test_asks_git_in_a_repository(tmp_path: Path) -> None:
    """In a repository ignored files are left out, new ones are not."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("made.py\n")
    (tmp_path / "made.py").write_text("x\n")
    (tmp_path / "new.py").write_text("x\n")
    assert tracked_files(tmp_path) == [Path(".gitignore"), Path("new.py")]


def test_exit_code_says_whether_something_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 with the problem printed, 0 once it is repaired."""
    (tmp_path / "x.py").write_text("import os\n")
    assert main([str(tmp_path)]) == 1
    assert "x.py:1:" in capsys.readouterr().out
    (tmp_path / "x.py").write_text(f"# {APACHE}\n")
    assert main([str(tmp_path)]) == 0
