# SPDX-License-Identifier: Apache-2.0
"""The commands that look at this machine: doctor, and init, which writes a first policy for it."""

from pathlib import Path
from typing import Annotated

import typer

from neurowall.management.cli import render_policy
from neurowall.management.cli.options import Call, command
from neurowall.management.errors import CannotRun, CommandError, ExitCode, UsageProblem

doctor_app = typer.Typer(rich_markup_mode=None)

Netns = Annotated[str | None, typer.Option("--netns", metavar="NAME", help="Look at this network namespace.")]


@command(
    doctor_app, examples=("neurowall doctor", "neurowall doctor -o json | jq '.findings[].fix'"), local=True
)
def doctor(
    call: Call,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="Look at this policy's interfaces. [default: those of the instance's policy, else all]",
            show_default=False,
        ),
    ] = None,
    netns: Netns = None,
) -> None:
    """Say what this machine lacks, what that costs, and how to fix it.

    Takes no daemon, though one that runs is asked for its database, and changes nothing. Exit code 1 if
    something essential is missing.
    """
    from neurowall.management.cli.checkup import check_up

    with _command_errors():
        answer = check_up(call.instance, config, netns)
    call.show(answer, render_policy.doctor)
    if answer["missing"]:
        raise typer.Exit(ExitCode.FAILED)


@command(
    doctor_app,
    examples=(
        "neurowall init policy.yaml",
        "neurowall init --example home",
    ),
    local=True,
)
def init(
    call: Call,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="Where to write it. [default: standard output]", show_default=False
        ),
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            "--example",
            metavar="NAME",
            help="Print an example instead: home, office-dmz, hosting-edge, single-server.",
            show_default=False,
        ),
    ] = None,
    netns: Netns = None,
) -> None:
    """Write a first policy for this machine, or an example.

    Interfaces with a default route become external, the others internal; what is forwarded now stays
    forwarded, and the SSH session that the command is given in stays. An existing file is never overwritten.
    """
    from neurowall.management.cli.firstpolicy import example_text, own_text

    with _command_errors():
        text = example_text(example) if example else own_text(netns)
    if file is None:
        call.say(text)
        return
    try:
        with file.open("x", encoding="utf-8") as made:
            made.write(text)
    except FileExistsError as error:
        raise UsageProblem(f"{file} is there already and stays as it is: name another file") from error
    except OSError as error:
        raise CommandError(f"cannot write {file}: {error.strerror}") from error
    done = {
        "file": str(file),
        "next": [f"neurowall validate {file}", f"neurowall apply {file} --confirm 60s"],
    }
    call.show(done, render_policy.written)


class _command_errors:  # noqa: N801 - used as a function
    """Turn what the layers below cannot do here into errors that end the command with the right exit code."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from neurowall.model.errors import NeurowallError, PolicyError, Unsupported

        if isinstance(error, PolicyError):
            raise UsageProblem("the policy cannot be used", error.lines) from error
        if isinstance(error, Unsupported):
            raise CannotRun(str(error)) from error
        if isinstance(error, NeurowallError):
            raise CommandError(str(error)) from error
