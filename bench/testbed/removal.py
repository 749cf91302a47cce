# SPDX-License-Identifier: Apache-2.0
"""Removing all that one run made, from its journal. The owner does it on its way out, `reap` afterwards."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.testbed import journal
from bench.testbed.errors import TestbedError
from bench.testbed.procfs import Identity, mounts_below
from bench.testbed.undo import (
    remove_directory,
    remove_file,
    remove_mount,
    remove_mounts_below,
    remove_namespace,
    remove_process,
    remove_tagged,
)

LOCK_SECONDS = 1.0
"""How long another reap, or a child that a killed owner was about to start, may hold the journal."""


@dataclass(frozen=True)
class Removed:
    """One thing that is gone now."""

    run_id: str
    kind: str
    name: str


def remove_run(directory: Path, *, force: bool = False) -> tuple[list[Removed], list[str]]:
    """Remove all that one run made, whoever owns it; returns what went and what resisted.

    The order matters: processes before the mounts they keep busy, pins (which hold XDP links) before the
    interfaces, the directory with the journal last and only when all else went. A journal that somebody holds
    is left to them, unless `force`.
    """
    removed: list[Removed] = []
    problems: list[str] = []
    path = directory / journal.FILE_NAME
    with journal.locked(path, 0.0 if force else LOCK_SECONDS) as ours:
        if not path.exists():  # another reap was faster
            return removed, problems
        if not ours and not force:
            return removed, [f"{path} is held by another process, maybe another reap; run reap again later"]
        contents = journal.read(path)

        def attempt(kind: str, name: str, action: Callable[[], object]) -> None:
            try:
                removed.extend(Removed(contents.run_id, kind, gone) for gone in _names(action(), name))
            except (OSError, TestbedError) as error:
                problems.append(f"run {contents.run_id}: {kind} {name}: {error}")

        for kind, name, action in _actions(contents, directory):
            attempt(kind, name, action)
        if not problems:
            attempt("directory", str(directory), partial(_remove_run_directory, directory))
    return removed, problems


def hidden_name(run_id: str, owner: Identity) -> str:
    """Name of a run directory while a process makes or deletes it; reap deletes it when that is dead."""
    return f".{run_id}.{owner.pid}.{owner.start_time}"


def _remove_run_directory(directory: Path) -> bool:
    """Hide the directory, then delete it: at no moment is there one under its name without a journal."""
    if left := mounts_below(directory):
        raise TestbedError(f"{left[0].path} is still mounted; unmount it, then run reap again")
    hidden = directory.parent / hidden_name(directory.name, Identity.of(os.getpid()))
    directory.rename(hidden)
    return remove_directory(hidden)


def _actions(contents: journal.Contents, directory: Path) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """What to do, in order: kind, name, action that says whether there was something."""
    by_kind = {kind: [r for r in reversed(contents.resources) if r.kind == kind] for kind in _REMOVE}
    for process in by_kind["process"]:
        yield "process", process.name, partial(_end, process, contents)
    yield "process", "tagged", partial(remove_tagged, contents.run_id)
    yield "mount", str(directory), partial(remove_mounts_below, directory)
    for kind in ("mount", "netns", "file", "directory"):
        for resource in by_kind[kind]:
            yield kind, resource.name, partial(_REMOVE[kind], resource.name)


_REMOVE: dict[str, Callable[[str], bool]] = {
    "process": lambda _name: False,
    "mount": lambda name: remove_mount(Path(name)),
    "netns": remove_namespace,
    "file": lambda name: remove_file(Path(name)),
    "directory": lambda name: remove_directory(Path(name)),
}


def _end(process: journal.Resource, contents: journal.Contents) -> bool:
    """Kill a journalled process; one that never got its pid written is found by its tag."""
    if "pid" not in process.details:
        return False
    started = int(process.details["start_time"])
    return remove_process(Identity(int(process.details["pid"]), started, contents.owner.boot_id))


def _names(result: object, name: str) -> list[str]:
    """Actions answer with a list of names or with yes or no."""
    if isinstance(result, list):
        return [str(item) for item in result]
    return [name] if result else []
