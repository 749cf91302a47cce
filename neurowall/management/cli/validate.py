# SPDX-License-Identifier: Apache-2.0
"""`neurowall validate`: everything that can be said of a policy without a daemon and without root."""

import re
from typing import Any

from neurowall.data.sources import read_source
from neurowall.model.errors import ListError, PolicyError
from neurowall.model.listfile import parse_list
from neurowall.model.policy import Policy, load_policy
from neurowall.model.policywarnings import warnings_of

Json = dict[str, Any]

_MESSAGE = re.compile(r"(?P<line>\d+): (?:(?P<field>[a-z_0-9.\[\]-]+): )?(?P<why>.*)", re.DOTALL)


def examine(text: bytes, filename: str, *, table: bool = False) -> Json:
    """What is wrong with a policy and what is odd; *table*: who may talk to whom as well."""
    try:
        policy = load_policy(text, filename)
    except PolicyError as error:
        return _answer(filename, errors=[problem(line, filename) for line in error.lines])
    errors, entries = _list_files(policy)
    if errors:
        return _answer(filename, errors=errors)
    return _answer(
        filename,
        warnings=list(warnings_of(policy)),
        counts=_counts(policy, entries),
        table=_table(policy) if table else None,
    )


def _answer(filename: str, **more: Any) -> Json:
    without: Json = {"errors": [], "warnings": [], "counts": {}, "table": None}
    return {"file": filename, "valid": not more.get("errors"), **without, **more}


def problem(text: str, filename: str) -> Json:
    """One message of load_policy in its parts: line and field are None where it names none."""
    found = _MESSAGE.fullmatch(text.removeprefix(f"{filename}:"))
    if found is None:
        return {"line": None, "field": None, "why": text, "text": text}
    return {"line": int(found["line"]), "field": found["field"], "why": found["why"], "text": text}


def _list_files(policy: Policy) -> tuple[list[Json], int]:
    """What is wrong with the files of declared lists, and how many entries all lists have."""
    errors: list[Json] = []
    entries = 0
    for spec in policy.lists:
        entries += len(spec.entries)
        if spec.file is None:
            continue
        try:
            parsed = parse_list(read_source(spec.file))
        except ListError as error:
            errors.append(_list_problem(spec.name, str(error)))
            continue
        entries += len(parsed.entries)
        errors += [
            _list_problem(spec.name, f"{spec.file}:{each.line}: {each.text!r}: {each.why}")
            for each in parsed.problems[:20]
        ]
    return errors, entries


def _list_problem(name: str, why: str) -> Json:
    return {"line": None, "field": f"lists.{name}.file", "why": why, "text": f"list {name}: {why}"}


def _counts(policy: Policy, entries: int) -> dict[str, int]:
    return {
        "interfaces": len(policy.interfaces),
        "lists": len(policy.lists),
        "list_entries": entries,
        "rules": len(policy.rules or ()),
        "port_forwards": len(policy.nat.port_forwards),
    }


def _table(policy: Policy) -> str:
    from neurowall.logic.reachability import markdown, matrix

    return markdown(matrix(policy))
