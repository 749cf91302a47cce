# SPDX-License-Identifier: Apache-2.0
"""Every error that Neurowall raises on purpose.

A message is written for the operator: what happened, where, and the next step. What a caller may want to
branch on or print in columns is an attribute.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One refused line of a list.

    line is 1-based; for addresses given on a command line it is the position of the argument. text is at most
    TEXT_LIMIT characters of the offending entry, printable. why says what is wrong with it and the fix.
    """

    line: int
    text: str
    why: str


TEXT_LIMIT = 80


class NeurowallError(Exception):
    """Anything that Neurowall refuses or fails to do. Passes whole from one process to another."""

    def __reduce__(self) -> tuple[Callable[..., Exception], tuple[type[Exception], str, dict[str, Any]]]:
        return _rebuilt, (type(self), str(self), self.__dict__)


def _rebuilt(kind: type[Exception], message: str, attributes: dict[str, Any]) -> Exception:
    """An error that was pickled; exceptions would be called again with their message alone."""
    error = kind.__new__(kind, message)
    error.__dict__.update(attributes)
    return error


class Unsupported(NeurowallError):
    """A machine, kernel or device that cannot do it; nothing is broken."""


class PolicyError(NeurowallError):
    """A policy that cannot be used. lines holds one message a problem, each with file, line and field."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class ListError(NeurowallError):
    """A request about a list that is refused; nothing was changed. problems: the lines to blame, if any."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)


class ListInvalid(ListError):
    """The content is to blame: problems holds every refused line."""


class ListMissing(ListError):
    """There is no list of that name."""


class ListConflict(ListError):
    """The name is taken, reserved, or owned by the policy file."""


class RulesetError(NeurowallError):
    """nftables refused or failed; its table is as before. library: the machine has no usable libnftables."""

    def __init__(self, message: str, *, library: bool = False) -> None:
        self.library = library
        super().__init__(message)


class LockOut(NeurowallError):
    """A policy that would cut the caller's own session; nothing was changed."""


class GenerationChanged(NeurowallError):
    """Another generation is in force than the one that a change was meant for; nothing was changed."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        super().__init__(
            f"generation {generation} is in force, not the one that If-Match names: look at what it changed, "
            "and ask again"
        )


class PendingError(NeurowallError):
    """A policy waits to be confirmed, or none does where one should."""


class CapacityError(NeurowallError):
    """More entries or classes than configured; found before anything was touched.

    what is the field of `capacity` in the policy (hosts4, prefixes4, hosts6, prefixes6, classes), "lists",
    "fallback" or "timed hosts4" and so on; list is the one that crosses the limit.
    """

    def __init__(self, what: str, limit: int, wanted: int, list_name: str) -> None:
        self.what, self.limit, self.wanted, self.list_name = what, limit, wanted, list_name
        fix = f"raise capacity.{what} in the policy or shorten it"
        if what == "lists":
            fix = "use fewer lists"
        elif what == "fallback":
            fix = "raise fallback.max_entries in the policy or shorten it"
        elif what.startswith("timed"):
            fix = "load a list of them, which has no end, or take some out"
        super().__init__(f"list '{list_name}' brings {what} to {wanted:,}, the limit is {limit:,}: {fix}")


class StateError(NeurowallError):
    """The saved state cannot be read or written. The message names the file and the next step."""


class StorageUnavailable(NeurowallError):
    """The database cannot be used now; nothing was changed. The message says why, and the next step."""


class StorageRefused(NeurowallError):
    """The database works and refuses: a duplicate, or more than is kept. The message says what to do."""


class KernelError(NeurowallError):
    """A system call on the data plane failed."""


class MapFull(KernelError):
    """A kernel map took no more entries. what is its field of `capacity` (or its name), limit its size."""

    def __init__(self, what: str, limit: int) -> None:
        self.what, self.limit = what, limit
        fix = "shorten the list" if what.startswith("timed") else f"raise capacity.{what} in the policy"
        super().__init__(f"kernel map {what} is full at {limit:,}: {fix}")


class ApplyError(NeurowallError):
    """The kernel half of a change failed. If reverted is true the old image and the old state are in force.

    Otherwise the kernel may hold a mixture of the old and the new image; the intended state on disk is the
    old one, and the next change or start repairs the kernel from it.
    """

    def __init__(self, message: str, *, reverted: bool) -> None:
        self.reverted = reverted
        super().__init__(message)
