# SPDX-License-Identifier: Apache-2.0
"""Completion: what the shells are told after TAB, and that each of them takes the script for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neurowall.management.instance import Instance, Record
from tests.unit.management.commands import Cli

SHELLS = ("bash", "zsh", "fish")


def completions(line: str) -> list[str]:
    """What bash would offer for the last word of *line*."""
    words = line.split(" ")
    environment = {
        "_NEUROWALL_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = run_neurowall(environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def run_neurowall(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command by its own name, which the scripts are about."""
    code = "import sys; sys.argv[0] = 'neurowall'; from neurowall.management.cli.main import main; main()"
    return subprocess.run(
        (sys.executable, "-c", code, *arguments),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


class TestOffers:
    def test_commands_and_options(self) -> None:
        """Without a daemon."""
        assert completions("neurowall unb") == ["unblock"]
        assert completions("neurowall generations d") == ["diff"]
        assert "--token-file" in completions("neurowall status --t")
        assert completions("neurowall token create x --scope rul") == ["rules:write"]

    def test_lists_of_the_daemon(self, cli: Cli) -> None:
        """Where a list is named; of the instance that the line names."""
        cli.ok("lists", "load", "-", "--name", "feed", stdin="192.0.2.1\n")
        where = f"--run-dir {cli.run_dir}"
        assert completions(f"neurowall lists remove {where} f") == ["feed"]
        assert completions(f"neurowall {where} lists set ") == ["declared", "feed"]
        assert "operator-block" in completions(f"neurowall {where} lists show ")

    def test_nothing_without_a_daemon(self, tmp_path: Path) -> None:
        """And no error in the middle of the line."""
        assert completions(f"neurowall lists remove --run-dir {tmp_path} f") == []

    def test_instances(self, tmp_path: Path) -> None:
        """Those that run or ran here."""
        for name in ("main", "lab"):
            instance = Instance(name, tmp_path)
            instance.create()
            instance.record(Record(None, "/nowhere", ""))
        assert completions(f"neurowall status --run-dir {tmp_path} --instance l") == ["lab"]
        assert completions(f"neurowall status --run-dir {tmp_path} --instance ") == ["lab", "main"]


class TestShells:
    @pytest.mark.parametrize("shell", SHELLS)
    def test_the_script_is_one_of_that_shell(self, shell: str) -> None:
        """`--show-completion`, run from that shell; the shell reads it without complaint."""
        if not (program := shutil.which(shell)):
            pytest.skip(f"there is no {shell}")
        script = run_neurowall({"_NEUROWALL_COMPLETE": f"source_{shell}"})
        assert script.returncode == 0, script.stderr
        setup = "autoload -Uz compinit && compinit -u\n" if shell == "zsh" else ""
        read = subprocess.run(
            (program,), input=setup + script.stdout, capture_output=True, text=True, check=False
        )
        assert read.returncode == 0, read.stderr
        assert read.stderr == ""

    @pytest.mark.parametrize("shell", SHELLS)
    def test_it_is_shown_and_installed_from_within_the_shell(self, shell: str, tmp_path: Path) -> None:
        """The shell is the one that runs it; the installed file is in its place below HOME."""
        if not (program := shutil.which(shell)):
            pytest.skip(f"there is no {shell}")
        command = f"{sys.executable} -m neurowall.management.cli.main"
        # Two commands: a shell that has only one to run gives it its own process.
        done = subprocess.run(
            (program, "-c", f"{command} --show-completion; {command} --install-completion; true"),
            env=os.environ | {"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "COMPLETE" in done.stdout
        assert f"{shell} completion installed in {tmp_path}" in done.stdout
        assert any(path.is_file() for path in tmp_path.rglob("*"))
