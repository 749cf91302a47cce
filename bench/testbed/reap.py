# SPDX-License-Identifier: Apache-2.0
"""Remove what killed runs left behind, and nothing else.

A run is reaped only when its owner (pid + start time + boot id, all in the journal) is dead. What is removed
is named exactly by its journal, lies below its own directory, or is a process that carries its tag.
Directories without a readable journal are never touched.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from bench.testbed import journal, procfs
from bench.testbed.errors import TestbedError
from bench.testbed.procfs import Identity, boot_id
from bench.testbed.removal import Removed, remove_run
from bench.testbed.undo import remove_directory


@dataclass(frozen=True)
class RunState:
    """A run found on this machine; `problem` says why its journal cannot be used."""

    run_id: str
    directory: Path
    contents: journal.Contents | None
    alive: bool
    problem: str | None = None


class ReapError(TestbedError):
    """Some things could not be removed; `removed` are those that were. Running reap again is safe."""

    def __init__(self, problems: list[str], removed: list[Removed]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.removed = removed


def survey(runs_dir: Path = journal.DEFAULT_RUNS_DIR) -> list[RunState]:
    """Every run that has a journal below a directory, oldest first."""
    runs_dir = runs_dir.resolve()  # as mounts are named
    journals = runs_dir.glob(f"[!.]*/{journal.FILE_NAME}") if runs_dir.is_dir() else []
    states = [(path, _state(path.parent)) for path in sorted(journals)]
    # Between the two, another reap may have removed one: nothing is left of it, and that is no problem.
    found = [state for path, state in states if state.contents or path.exists()]
    return sorted(found, key=lambda state: state.contents.started if state.contents else 0.0)


def reap(
    runs_dir: Path = journal.DEFAULT_RUNS_DIR, *, run_id: str | None = None, force: bool = False
) -> list[Removed]:
    """Remove the remains of every dead run, or of one run; returns what was removed, in order.

    `force` (only with `run_id`) also removes a run whose owner is alive: its children and namespaces, not the
    owner. Raises TestbedError when the named run is unknown or alive, ReapError when something resisted.
    """
    if force and run_id is None:
        raise TestbedError("--force needs --run ID: name the one run whose owner may still be alive")
    removed: list[Removed] = []
    problems: list[str] = []
    for state in _chosen(survey(runs_dir), run_id, force=force):
        if state.contents is None:
            problems.append(state.problem or "unreadable")
            continue
        gone, resisted = remove_run(state.directory, force=force)
        removed += gone
        problems += resisted
    if run_id is None:
        removed += _remove_unborn(runs_dir)
    if problems:
        raise ReapError(problems, removed)
    return removed


def _state(directory: Path) -> RunState:
    try:
        contents = journal.read(directory / journal.FILE_NAME)
    except (TestbedError, OSError) as error:
        return RunState(directory.name, directory, None, alive=False, problem=str(error))
    if contents.run_id != directory.name:
        problem = f"{directory}: its journal is that of run {contents.run_id}; a copy? left alone"
        return RunState(directory.name, directory, None, alive=False, problem=problem)
    if contents.pid_namespace == procfs.pid_namespace():
        alive = contents.owner.alive()
    else:  # its pid means nothing here (a container), but a living owner holds its journal
        with journal.locked(directory / journal.FILE_NAME) as free:
            alive = not free
    return RunState(contents.run_id, directory, contents, alive=alive)


def _chosen(states: list[RunState], run_id: str | None, *, force: bool) -> list[RunState]:
    """The runs to remove; those alive are left out, or refused when asked for by name."""
    if run_id is None:
        return [state for state in states if not state.alive]
    named = [state for state in states if state.run_id == run_id]
    if not named:
        known = ", ".join(state.run_id for state in states) or "none"
        raise TestbedError(f"no run {run_id} here; known runs: {known}")
    if named[0].alive and not force and named[0].contents is not None:
        pid = named[0].contents.owner.pid
        raise TestbedError(f"run {run_id} is alive (pid {pid}); end that process first, or add --force")
    return named


def _remove_unborn(runs_dir: Path) -> list[Removed]:
    """Delete directories whose owner died while it made or deleted them (see `hidden_name`)."""
    removed = []
    for hidden in runs_dir.glob(".*.*.*") if runs_dir.is_dir() else []:
        _, name, pid, started = hidden.name.split(".", 3)
        if pid.isdigit() and started.isdigit() and not Identity(int(pid), int(started), boot_id()).alive():
            with contextlib.suppress(FileNotFoundError):  # another reap is faster
                remove_directory(hidden)
                removed.append(Removed(name, "directory", str(hidden)))
    return removed
