# SPDX-License-Identifier: Apache-2.0
"""The console's scripts: their pure functions by node's own test runner, and what none of them may use."""

import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONSOLE = Path(str(files("neurowall.management"))) / "console"
SCRIPTS = sorted(CONSOLE.glob("*.js"))
# Whatever makes markup or code of text. Everything on the page is made of elements and text instead.
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc"
    r"|eval\(|new Function"
)


@pytest.mark.tool("node")
@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name)
def test_functions(path: Path, tmp_path: Path) -> None:
    """As the file says; a version of node without a test runner is too old."""
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").split(".")[0]) < 18:
        pytest.skip(f"node {version.strip()} has no test runner: 18 has")
    for script in SCRIPTS:
        shutil.copy(script, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')  # or node would take .js for CommonJS
    environment = {**os.environ, "CONSOLE": tmp_path.as_uri() + "/"}
    done = subprocess.run(
        ["node", "--test", path], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_text_never_becomes_markup(path: Path) -> None:
    """Names of lists, reasons and notes come from elsewhere."""
    assert not MARKUP.findall(path.read_text())


def test_nothing_inline() -> None:
    """The content policy forbids it: no script, style or handler within the page."""
    page = (CONSOLE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", page)
    assert not re.search(r'tabindex="[1-9]', page)
