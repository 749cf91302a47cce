# SPDX-License-Identifier: Apache-2.0
"""Runs `neurowall` in the test's own process."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from neurowall.management.cli.main import app
from neurowall.management.errors import ExitCode

runner = CliRunner()


class Cli:
    """Runs `neurowall` on one instance, in this process."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        """Whatever comes of it."""
        return runner.invoke(app, [*arguments, "--run-dir", str(self.run_dir)], input=stdin)

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of a command that must succeed."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == ExitCode.OK, result.output
        return str(result.stdout)

    def json(self, *arguments: str) -> Any:
        """The same as data."""
        return json.loads(self.ok(*arguments, "-o", "json"))

    def error(self, code: ExitCode, *arguments: str, stdin: str | None = None) -> str:
        """What a command that must fail with *code* says on stderr; it prints no answer."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return str(result.stderr)
