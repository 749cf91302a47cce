# SPDX-License-Identifier: Apache-2.0
"""Write the commands in docs/cli.md from the commands themselves (`make docs`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from neurowall.management.cli.main import app
from neurowall.management.cli.options import AFAR, HERE, TERMS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/cli.md"
BEGINS = "## Options of many commands\n"  # what is above it is written by hand
_TERMS_INTRO = (
    "\nOf commands that change something (marked *changes*; those of tokens take no `--if-match`):\n\n"
)


def main() -> None:
    """Write it."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def document(text: str) -> str:
    """The document with what is about single commands written anew."""
    root: Any = typer.main.get_command(app)
    block: Any = root.commands["block"]
    shared = {each.name: each for each in block.params}
    text = text.partition(BEGINS)[0] + BEGINS + "\nBefore or after the command's name:\n\n"
    text += _rows(shared[name] for name in (*HERE, *AFAR))
    text += _TERMS_INTRO + _rows(shared[name] for name in TERMS)
    return text + "\n## Commands\n" + "".join(_command(*each) for each in _walk(root, "neurowall"))


def _walk(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from _walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _command(path: str, command: Any) -> str:
    own = [each for each in command.params if each.name not in {*HERE, *AFAR, *TERMS, "help"}]
    names = {each.name for each in command.params}
    kinds = [
        word
        for word, name in (("*changes*", "dry_run"), ("*here only*", "url"))
        if (name in names) == (name == "dry_run")
    ]
    head = f"\n### {path}\n\n{' '.join([*kinds, ''])}{_help(command)}\n"
    if own:
        head += "\n" + _rows(own)
    if command.epilog:
        examples = command.epilog.replace("\b", "").strip().splitlines()[1:]
        head += "\n```\n" + "\n".join(line.strip() for line in examples) + "\n```\n"
    return head


def _help(command: Any) -> str:
    return (command.help or "").split("\f")[0].strip()


def _rows(parameters: Any) -> str:
    """A table of what `--help` says of parameters."""
    rows = "| | |\n|---|---|\n"
    for each in parameters:
        names, text = each.get_help_record(typer.Context(typer.main.get_command(app)))
        rows += f"| `{_cell(names)}` | {_cell(text)} |\n"
    return rows


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    main()
