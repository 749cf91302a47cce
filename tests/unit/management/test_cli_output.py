# SPDX-License-Identifier: Apache-2.0
"""How answers get out: every command in every format, and through a pager only where a person reads."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.management.commands import Cli
from tests.unit.management.terminal import LINES, NEUROWALL, Terminal

ANSWERS = (
    ("status",),
    ("limits",),
    ("flows",),
    ("rules",),
    ("nat",),
    ("explain", "192.0.2.1"),
    ("top", "--once", "--interval", "0.1"),
    ("events",),
    ("bans",),
    ("bans", "list"),
    ("lists", "show"),
    ("lists", "show", "declared"),
    ("generations",),
    ("generations", "list"),
    ("generations", "show", "1"),
    ("generations", "diff", "1"),
    ("block", "198.51.100.7"),
    ("allow", "198.51.100.8"),
    ("unblock", "198.51.100.7"),
    ("unallow", "198.51.100.8"),
    ("reload",),
)


class TestFormats:
    def test_json_and_yaml_of_every_answer(self, cli: Cli) -> None:
        """One document on stdout, the same members in both; and a table for people."""
        for command in ANSWERS:
            as_json = json.loads(cli.ok(*command, "-o", "json"))
            as_yaml = yaml.safe_load(cli.ok(*command, "-o", "yaml"))
            assert as_json.keys() == as_yaml.keys(), command
            assert cli.ok(*command).strip(), command


class TestPager:
    """A pager that marks what it was given tells whether it was used."""

    @pytest.fixture
    def marker(self, tmp_path: Path) -> str:
        """Prints a mark before and after its input."""
        pager = tmp_path / "pager"
        pager.write_text("#!/bin/sh\necho PAGER-BEGINS\ncat\necho PAGER-ENDS\n")
        pager.chmod(0o700)
        return str(pager)

    def shown(self, cli: Cli, environment: dict[str, str], *arguments: str) -> str:
        """What a person sees."""
        argv = (*NEUROWALL, *arguments, "--run-dir", str(cli.run_dir))
        with Terminal(*argv, environment=environment) as terminal:
            assert terminal.end() == 0
            return terminal.shown

    @pytest.fixture
    def long(self, cli: Cli) -> Cli:
        """A daemon with more bans than the terminal has lines."""
        cli.ok("block", *(f"198.51.100.{last}" for last in range(LINES + 10)))
        return cli

    def test_what_is_longer_than_the_screen_goes_through_it(self, long: Cli, marker: str) -> None:
        """Tables as well as JSON."""
        for form in ("table", "json"):
            text = self.shown(long, {"NEUROWALL_PAGER": marker}, "bans", "-o", form)
            assert text.startswith("PAGER-BEGINS")
            assert text.rstrip().endswith("PAGER-ENDS")

    def test_pagers_own_variable_is_known(self, long: Cli, marker: str) -> None:
        """PAGER, unless NEUROWALL_PAGER says otherwise."""
        assert "PAGER-BEGINS" in self.shown(long, {"PAGER": marker}, "bans")
        for none in ("", "cat"):
            quiet = {"PAGER": marker, "NEUROWALL_PAGER": none}
            assert "PAGER-BEGINS" not in self.shown(long, quiet, "bans")

    def test_what_fits_does_not(self, cli: Cli, marker: str) -> None:
        """Nobody wants to press q for three lines."""
        assert "PAGER-BEGINS" not in self.shown(cli, {"PAGER": marker}, "bans")

    def test_a_pipe_does_not(self, long: Cli, marker: str) -> None:
        """A script sees the answer alone."""
        argv = (*NEUROWALL, "bans", "--run-dir", str(long.run_dir))
        environment = os.environ | {"PAGER": marker}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
        assert "PAGER" not in done.stdout
        assert done.stdout.count("198.51.100.") == LINES + 10

    def test_under_sudo_the_caller_does_not_choose_what_runs_as_root(
        self, long: Cli, marker: str, tmp_path: Path
    ) -> None:
        """`sudo neurowall status` must be no way to a shell of root: less, without its own commands."""
        less = tmp_path / "bin/less"
        less.parent.mkdir()
        less.write_text("#!/bin/sh\necho LESSSECURE is $LESSSECURE\ncat\n")
        less.chmod(0o700)
        environment = {"PAGER": marker, "NEUROWALL_PAGER": marker, "LESSOPEN": f"|{marker} %s"}
        environment |= {"SUDO_UID": "1000", "PATH": f"{less.parent}:{os.environ['PATH']}"}
        text = self.shown(long, environment, "bans")
        assert text.startswith("LESSSECURE is 1")
        assert "PAGER-BEGINS" not in text
