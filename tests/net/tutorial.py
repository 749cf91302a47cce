# SPDX-License-Identifier: Apache-2.0
"""Reads a tutorial's commands out of its text, gives them to shells in their order, and compares.

A block ```console holds commands behind a prompt that says where they are given, and what they print. In the
printed part `...` stands for any text, on a line of its own for any lines; spaces and rules of tables do not
matter. A command must end well, unless what it prints begins with the error of a program.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from select import select
from types import TracebackType
from typing import Self

from bench.testbed.namespace import Namespace

PATIENCE = 40.0  # seconds for a command
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"(?P<place>[a-z]+)[#$] (?P<command>.*)")
_HEREDOC = re.compile(r"<<\s*'?(\w+)'?")


@dataclass(frozen=True)
class Step:
    """One command, and what it should print. line: of the text, for messages."""

    line: int
    place: str
    command: str
    printed: str


def steps(text: str) -> Iterator[Step]:
    """Every command of a tutorial."""
    for block in _BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1)) + 1
        yield from _steps(block[1].splitlines(), first)


def _steps(lines: list[str], first: int) -> Iterator[Step]:
    number = 0
    while number < len(lines):
        begun, found = number, _PROMPT.fullmatch(lines[number])
        assert found, f"line {first + number}: {lines[number]!r} is behind no prompt"
        command, number = [found["command"]], number + 1
        heredoc = _HEREDOC.search(found["command"])
        while command[-1].endswith("\\") or (heredoc and command[-1] != heredoc[1]):
            command.append(lines[number].removeprefix("> "))
            number += 1
        printed = []
        while number < len(lines) and not _PROMPT.fullmatch(lines[number]):
            printed.append(lines[number])
            number += 1
        yield Step(first + begun, found["place"], "\n".join(command), "\n".join(printed))


def fits(expected: str, printed: str) -> bool:
    """Whether what was printed is what the text shows."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"\n"
        for line in _plain(expected)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _plain(printed))) is not None


def _plain(text: str) -> list[str]:
    lines = (re.sub(r"─+", "─", " ".join(line.split())) for line in text.strip("\n").splitlines())
    return [line for line in lines if line]


class Shells:
    """A shell in each place, all in one directory. Ends them, and what they started, when it is left."""

    def __init__(self, places: Mapping[str, Namespace], directory: Path, environment: dict[str, str]) -> None:
        self._shells: dict[str, subprocess.Popen[bytes]] = {}
        self._scripts = directory.parent
        with ExitStack() as undo:
            undo.callback(self.close)
            for name, namespace in places.items():
                with namespace.enter():
                    self._shells[name] = subprocess.Popen(
                        ("bash", "--norc", "--noprofile"),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        cwd=directory,
                        env=environment,
                        start_new_session=True,
                    )
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End them and what they left in the background, which would hold their output open."""
        for shell in self._shells.values():
            os.killpg(shell.pid, signal.SIGKILL)
            shell.communicate()

    def run(self, step: Step) -> tuple[str, int]:
        """What a command prints, and its exit code."""
        shell = self._shells[step.place]
        assert shell.stdin
        assert shell.stdout
        script = self._scripts / "command"
        script.write_text(step.command + "\n")
        shell.stdin.write(f". {script} </dev/null; printf '\\n=%d=\\n' $?\n".encode())
        shell.stdin.flush()
        printed, deadline = b"", time.monotonic() + PATIENCE
        while not (end := re.search(rb"\n=(\d+)=\n$", printed)):
            ready = select([shell.stdout], [], [], max(deadline - time.monotonic(), 0))[0]
            more = os.read(shell.stdout.fileno(), 65536) if ready else b""
            assert more, f"line {step.line}: {step.command}: no end, printed: {printed.decode()}"
            printed += more
        return printed[: end.start()].decode(), int(end[1])
