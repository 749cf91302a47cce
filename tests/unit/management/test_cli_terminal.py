# SPDX-License-Identifier: Apache-2.0
"""The CLI before it talks to anybody: help, start-up, progress on a terminal."""

import os
import pty
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from neurowall.management.cli.main import app
from neurowall.management.errors import ExitCode

runner = CliRunner()


# Without a command these show their help, or a list; reload needs no example.
GROUPS = ((), ("lists",), ("generations",), ("bans",), ("audit",), ("token",), ("reload",))


class TestHelp:
    COMMANDS = (
        (),
        ("run",),
        ("status",),
        ("block",),
        ("allow",),
        ("unblock",),
        ("unallow",),
        ("explain",),
        ("reload",),
        ("down",),
        ("lists",),
        ("lists", "show"),
        ("lists", "load"),
        ("lists", "replace"),
        ("lists", "set"),
        ("lists", "remove"),
        ("validate",),
        ("schema",),
        ("apply",),
        ("confirm",),
        ("rollback",),
        ("rules",),
        ("generations",),
        ("generations", "show"),
        ("doctor",),
        ("init",),
        ("events",),
        ("top",),
        ("nat",),
        ("bans",),
        ("bans", "list"),
        ("bans", "history"),
        ("generations", "list"),
        ("generations", "diff"),
        ("generations", "rollback"),
        ("audit",),
        ("audit", "list"),
        ("audit", "verify"),
        ("token",),
        ("token", "create"),
        ("token", "list"),
        ("token", "revoke"),
        ("token", "whoami"),
        ("health",),
        ("metrics",),
    )

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help(self, command: tuple[str, ...]) -> None:
        """-h and --help."""
        texts = {runner.invoke(app, [*command, flag]).stdout for flag in ("-h", "--help")}
        assert len(texts) == 1
        assert "Usage:" in texts.pop()

    @pytest.mark.parametrize("command", [each for each in COMMANDS if each not in GROUPS])
    def test_examples_are_shown_line_by_line(self, command: tuple[str, ...]) -> None:
        """Each command shows how it is used, and the examples start with that command."""
        text = runner.invoke(app, [*command, "--help"]).stdout
        examples = text.split("Examples:\n")[1].splitlines()
        assert any(line.strip().startswith(f"neurowall {' '.join(command)}") for line in examples)

    def test_the_exit_codes_are_documented(self) -> None:
        """In the main help, from the enum's own values."""
        text = " ".join(runner.invoke(app, ["--help"]).stdout.split())
        assert "0 ok, 1 refused or failed, 2 wrong usage or input, 3 no daemon answers, 4 cannot run" in text
        assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 4]

    def test_the_version_is_printed(self) -> None:
        """For bug reports."""
        assert runner.invoke(app, ["--version"]).stdout.startswith("neurowall 0.")


class TestStartUp:
    def test_help_imports_nothing_heavy(self) -> None:
        """The slow parts are imported by the commands that need them."""
        code = (
            "import sys\nfrom neurowall.management.cli.main import app\n"
            "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
            "heavy = {'numpy', 'pydantic', 'fastapi', 'uvicorn', 'httpx', 'pyroute2', 'yaml', 'rich',"
            " 'prometheus_client', 'asyncio'}\n"
            "print('HEAVY', sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "HEAVY []"

    def test_help_starts_about_as_fast_as_typer_itself(self) -> None:
        """A ratio, taken in turns so that a busy machine does not fail it: under 3 times `import typer`."""
        commands = (("-m", "neurowall.management.cli.main", "--help"), ("-c", "import typer"))
        best = dict.fromkeys(commands, float("inf"))
        for _ in range(8):
            for argv in commands:
                begun = time.perf_counter()
                subprocess.run([sys.executable, *argv], capture_output=True, check=True)
                best[argv] = min(best[argv], time.perf_counter() - begun)
        ours, typers = best.values()
        assert ours < 3 * typers


class TestProgress:
    WORK = (
        "import time\nfrom neurowall.management.cli.output import working\n"
        "with working('applying list feed'):\n    time.sleep(0.3)\n"
    )

    def test_a_person_sees_what_takes_long(self) -> None:
        """What and for how long, on stderr, gone at the end."""
        reader, terminal = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-c", self.WORK], stdout=subprocess.PIPE, stderr=terminal, check=True
        )
        os.close(terminal)
        shown = os.read(reader, 65536).decode()
        os.close(reader)
        assert "applying list feed" in shown
        assert "0:00:00" in shown
        assert done.stdout == b""

    def test_a_script_sees_nothing(self) -> None:
        """No control characters in logs."""
        done = subprocess.run([sys.executable, "-c", self.WORK], capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"", b"")
