# SPDX-License-Identifier: Apache-2.0
"""Exit codes of `neurowall`, and the errors that end it with one of them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code of every `neurowall` command means. Stable: scripts rely on it."""

    OK = 0
    FAILED = 1  # refused or failed; nothing was half-applied
    USAGE = 2  # bad option, policy or list
    UNREACHABLE = 3  # no daemon answers on the instance's socket
    CANNOT_RUN = 4  # this machine or user cannot run a daemon: privilege, bpffs, kernel


class CommandError(Exception):
    """A command ends here: `str()` is the message for the user, `exit_code` the process's answer.

    The message says what is wrong and what to do next; `details` follow it, one a line.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.details = details


class UsageProblem(CommandError):
    """The user's input is wrong: policy, list or option."""

    exit_code = ExitCode.USAGE


class CannotRun(CommandError):
    """The daemon cannot run here, whatever its policy says."""

    exit_code = ExitCode.CANNOT_RUN


class Unreachable(CommandError):
    """No daemon answers."""

    exit_code = ExitCode.UNREACHABLE
