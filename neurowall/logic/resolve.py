# SPDX-License-Identifier: Apache-2.0
"""Which lists are in force: what the policy declares, what was replaced or loaded at run time."""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from neurowall.model.entries import EntrySet
from neurowall.model.errors import ListError, ListInvalid, PolicyError, Problem
from neurowall.model.fields import OPERATOR_ALLOW, OPERATOR_BLOCK, TIMED_ALLOW, TIMED_BLOCK
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.listfile import ParsedList
from neurowall.model.policy import ListSpec, ListVerdict, Policy

Load = Callable[[ListRecord], HeldList]
Read = Callable[[Path], bytes]
Parse = Callable[[bytes | str], ParsedList]

_QUOTED = re.compile(r"'.*' ?")  # what a refusal repeats of an entry

_BUILT_IN: dict[str, ListVerdict] = {
    OPERATOR_ALLOW: "allow",
    OPERATOR_BLOCK: "block",
    TIMED_ALLOW: "allow",
    TIMED_BLOCK: "block",
}


@dataclass(frozen=True)
class Sources:
    """Where lists come from: *load* fetches a saved one, *read* a declared file, *parse* understands that.

    quotes: whether errors may show lines of a file: only to who may read every file anyway.
    """

    load: Load
    read: Read
    parse: Parse
    quotes: bool = True


@dataclass(frozen=True)
class Resolved:
    """The lists in force, in order: built-in, declared, loaded at run time, timed; what should be known."""

    lists: tuple[HeldList, ...]
    warnings: tuple[str, ...]


def resolve(policy: Policy, saved: tuple[ListRecord, ...], sources: Sources) -> Resolved:
    """Join the policy with what is saved.

    Raises ListError if a declared file cannot be used and there is no saved copy, StateError if `load` does.
    """
    by_name = {record.name: record for record in saved}
    declared = {spec.name for spec in policy.lists}
    warnings: list[str] = []
    built_in = {name: _built_in(name, by_name.get(name), sources.load) for name in _BUILT_IN}
    timed = [held for held in built_in.values() if held.record.timed]
    lists = [held for held in built_in.values() if not held.record.timed]
    lists += [_declared(spec, by_name.get(spec.name), sources, warnings) for spec in policy.lists]
    lists += [
        sources.load(record) for record in saved if record.origin == "runtime" and record.name not in declared
    ]
    return Resolved((*lists, *timed), tuple(warnings))


def _built_in(name: str, saved: ListRecord | None, load: Load) -> HeldList:
    if saved:
        return load(saved)
    return HeldList(ListRecord(name, _BUILT_IN[name], "operator", ""), EntrySet.empty())


def _declared(spec: ListSpec, saved: ListRecord | None, sources: Sources, warnings: list[str]) -> HeldList:
    if saved and saved.origin == "runtime":
        warnings.append(f"list '{spec.name}' was loaded at run time; the policy declares it now and wins")
        saved = None
    record = _record(spec, saved)
    try:
        text = _declared_text(spec, sources.read)
        digest = hashlib.sha256(text).hexdigest()
        if saved and saved.sha256 and saved.declared_sha256 == digest:
            return replace(sources.load(saved), record=record)  # as it was read, or replaced since
        # Who reads warnings later is not known: they show no line.
        entries = _parse(spec, text, sources.parse, quotes=sources.quotes and saved is None)
    except ListError as error:
        if saved is None:
            raise
        warnings.append(f"{error}; the last good copy of list '{spec.name}' is in force")
        return replace(sources.load(saved), record=record)
    if saved and saved.override:
        warnings.append(
            f"list '{spec.name}': its declaration changed, so what replaced it at run time is dropped"
        )
    return HeldList(replace(record, sha256="", declared_sha256=digest, override=False), entries)


def _record(spec: ListSpec, saved: ListRecord | None) -> ListRecord:
    """The record of a declared list, as saved but for verdict and monitoring.

    What the operator said of monitoring at run time holds until the policy says something else than before.
    """
    said = saved is not None and saved.declared_monitor == spec.monitor
    monitor = saved.monitor if saved and said else spec.monitor
    base = saved or ListRecord(spec.name, spec.verdict, "policy", "")
    return replace(base, verdict=spec.verdict, monitor=monitor, declared_monitor=spec.monitor)


def _declared_text(spec: ListSpec, read: Read) -> bytes:
    """The declared file and, after it, the entries written in the policy itself."""
    try:
        text = read(spec.file) if spec.file else b""
    except ListError as error:
        raise ListError(f"list '{spec.name}': {error}") from error
    return text + b"\n" + "\n".join(spec.entries).encode()


def _parse(spec: ListSpec, text: bytes, parse: Parse, *, quotes: bool) -> EntrySet:
    parsed = parse(text)
    if parsed.problems:
        problems = parsed.problems if quotes else tuple(map(_unquoted, parsed.problems))
        first = problems[0]
        shown = f"'{first.text}': " if quotes else ""
        raise ListInvalid(
            f"list '{spec.name}': {spec.file}:{first.line}: {shown}{first.why}"
            + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""),
            problems,
        )
    return parsed.entries


def _unquoted(problem: Problem) -> Problem:
    """Where and why, without anything that the line holds."""
    return Problem(problem.line, "", _QUOTED.sub("", problem.why))


def check_files(policy: Policy, config: Path | None) -> None:
    """Refuse list files outside of the folder of the daemon's own policy file. Raises PolicyError."""
    folder = Path(os.path.realpath(config.parent)) if config else None
    outside = [spec for spec in policy.lists if spec.file and not _is_below(spec.file, folder)]
    if outside:
        where = f"files below {folder}" if folder else "none, for the daemon was started without --config"
        fix = f"only root may name it, on the gateway's unix socket; others may name {where}"
        raise PolicyError([f"list '{spec.name}': file {spec.file}: {fix}" for spec in outside])


def _is_below(file: Path, folder: Path | None) -> bool:
    """Whether it is there, links followed, if it exists or not."""
    try:
        return folder is not None and folder in Path(os.path.realpath(file)).parents
    except (OSError, ValueError):  # no file can have this name
        return False
