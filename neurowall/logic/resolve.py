# SPDX-License-Identifier: Apache-2.0
"""Which lists are in force: what the policy declares, what was replaced or loaded at run time."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from neurowall.model.entries import EntrySet
from neurowall.model.errors import ListError, ListInvalid
from neurowall.model.fields import OPERATOR_ALLOW, OPERATOR_BLOCK, TIMED_ALLOW, TIMED_BLOCK
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.listfile import ParsedList
from neurowall.model.policy import ListSpec, ListVerdict, Policy

Load = Callable[[ListRecord], HeldList]
Read = Callable[[Path], bytes]
Parse = Callable[[bytes | str], ParsedList]

_BUILT_IN: dict[str, ListVerdict] = {
    OPERATOR_ALLOW: "allow",
    OPERATOR_BLOCK: "block",
    TIMED_ALLOW: "allow",
    TIMED_BLOCK: "block",
}


@dataclass(frozen=True)
class Sources:
    """Where lists come from: *load* fetches a saved one, *read* a declared file, *parse* understands that."""

    load: Load
    read: Read
    parse: Parse


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
        entries = _parse(spec, text, sources.parse)
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


def _parse(spec: ListSpec, text: bytes, parse: Parse) -> EntrySet:
    parsed = parse(text)
    if parsed.problems:
        first = parsed.problems[0]
        raise ListInvalid(
            f"list '{spec.name}': {spec.file}:{first.line}: '{first.text}': {first.why}"
            + (f" (and {len(parsed.problems) - 1} more)" if len(parsed.problems) > 1 else ""),
            parsed.problems,
        )
    return parsed.entries
