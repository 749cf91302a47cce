# SPDX-License-Identifier: Apache-2.0
"""Which lists are in force: what the policy declares, what was replaced or loaded at run time."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from neurowall.model.entries import EntrySet
from neurowall.model.errors import ListError, ListInvalid
from neurowall.model.intent import HeldList, ListRecord
from neurowall.model.listfile import parse_list
from neurowall.model.policy import OPERATOR_ALLOW, OPERATOR_BLOCK, ListSpec, ListVerdict, Policy

Load = Callable[[ListRecord], EntrySet]
Read = Callable[[Path], bytes]


@dataclass(frozen=True)
class Resolved:
    """The lists in force, in order: built-in, declared, loaded at run time; what the operator should know."""

    lists: tuple[HeldList, ...]
    warnings: tuple[str, ...]


def resolve(policy: Policy, saved: tuple[ListRecord, ...], load: Load, read: Read) -> Resolved:
    """Join the policy with what is saved. *load* fetches saved entries, *read* a declared file.

    Raises ListError if a declared file cannot be used and there is no saved copy, StateError if *load* does.
    """
    by_name = {record.name: record for record in saved}
    declared = {spec.name for spec in policy.lists}
    warnings: list[str] = []
    lists = [_built_in(OPERATOR_ALLOW, by_name, load), _built_in(OPERATOR_BLOCK, by_name, load)]
    lists += [_declared(spec, by_name.get(spec.name), load, read, warnings) for spec in policy.lists]
    lists += [
        HeldList(record, load(record))
        for record in saved
        if record.origin == "runtime" and record.name not in declared
    ]
    return Resolved(tuple(lists), tuple(warnings))


def _built_in(name: str, saved: Mapping[str, ListRecord], load: Load) -> HeldList:
    record = saved.get(name)
    if record:
        return HeldList(record, load(record))
    verdict: ListVerdict = "allow" if name == OPERATOR_ALLOW else "block"
    return HeldList(ListRecord(name, verdict, "operator", ""), EntrySet.empty())


def _declared(
    spec: ListSpec, saved: ListRecord | None, load: Load, read: Read, warnings: list[str]
) -> HeldList:
    if saved and saved.origin == "runtime":
        warnings.append(f"list '{spec.name}' was loaded at run time; the policy declares it now and wins")
        saved = None
    try:
        text = _declared_text(spec, read)
        digest = hashlib.sha256(text).hexdigest()
        if saved and saved.override and saved.declared_sha256 == digest:
            return HeldList(replace(saved, verdict=spec.verdict), load(saved))
        entries = _parse(spec, text)
    except ListError as error:
        if saved is None:
            raise
        warnings.append(f"{error}; the last good copy of list '{spec.name}' is in force")
        return HeldList(replace(saved, verdict=spec.verdict), load(saved))
    if saved and saved.override:
        warnings.append(
            f"list '{spec.name}': its declaration changed, so what replaced it at run time is dropped"
        )
    return HeldList(ListRecord(spec.name, spec.verdict, "policy", "", digest), entries)


def _declared_text(spec: ListSpec, read: Read) -> bytes:
    """The declared file and, after it, the entries written in the policy itself."""
    try:
        text = read(spec.file) if spec.file else b""
    except ListError as error:
        raise ListError(f"list '{spec.name}': {error}") from error
    return text + b"\n" + "\n".join(spec.entries).encode()


def _parse(spec: ListSpec, text: bytes) -> EntrySet:
    parsed = parse_list(text)
    if parsed.problems:
        first = parsed.problems[0]
        raise ListInvalid(
            f"list '{spec.name}': {spec.file}:{first.line}: '{first.text}': {first.why}"
            + (f" (and {len(parsed.problems) - 1} more)" if len(parsed.problems) > 1 else ""),
            parsed.problems,
        )
    return parsed.entries
