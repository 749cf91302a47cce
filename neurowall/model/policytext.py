# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a policy, in an operator's words: one line a problem, in the order of the file."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from neurowall.model.checks import Finding, check
from neurowall.model.checks.finding import did_you_mean, suggestion
from neurowall.model.draft import broken_draft, names_in
from neurowall.model.yamltext import Document, Location

_EXPECTED = {
    "bool_type": "expected true or false",
    "float_type": "expected a number, without quotes",
    "int_type": "expected a whole number, without quotes",
    "model_type": "expected keys and values",
    "model_attributes_type": "expected keys and values",
    "path_type": "expected a file name",
    "string_type": "expected text: put it in quotes",
    "tuple_type": "expected a list: one '- ' item a line, or []",
    "union_tag_not_found": "expected true, false, or keys such as `prefix:`",
}
_LIMITS = {
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "string_pattern_mismatch": "letters, digits and signs of ASCII only",
    "string_too_long": "{max_length} characters at most",
}

# What the same thing is called elsewhere: keys, then values.
_OTHER_KEYS = {
    "dest": "destination",
    "destinations": "destination",
    "dport": "ports",
    "dst": "destination",
    "family": "families",
    "icmp_type": "icmp_types",
    "iface": "interface",
    "limit": "rate",
    "port": "ports",
    "proto": "protocol",
    "protocols": "protocol",
    "sources": "source",
    "sport": "source_ports",
    "sports": "source_ports",
    "src": "source",
    "target": "to",
    "types": "icmp_types",
    "verdict": "action",
}
_OTHER_VALUES = {
    "allow": ("accept", "pass", "allow"),
    "accept": ("allow", "accept", "pass"),
    "pass": ("accept", "allow"),
    "permit": ("accept", "allow"),
    "block": ("drop", "block"),
    "deny": ("drop", "block"),
    "drop": ("block", "drop"),
    "false": ("off",),
    "inside": ("internal",),
    "lan": ("internal",),
    "none": ("off",),
    "outside": ("external",),
    "wan": ("external",),
    "icmp6": ("icmpv6",),
    "ipv6-icmp": ("icmpv6",),
    "inet": ("ipv4",),
    "inet6": ("ipv6",),
    "ip": ("ipv4",),
    "ip6": ("ipv6",),
}


def field_text(location: Location) -> str:
    """`rules[3].from`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def problem_lines(
    document: Document, error: ValidationError, policy: type[BaseModel], context: Mapping[str, Any]
) -> list[str]:
    """Every problem of a policy that could not be built, sorted by line; none is reported twice."""
    lines: list[tuple[int, str]] = []
    findings: list[Finding] = []
    broken: list[Location] = []
    problems = error.errors()
    inner = {problem["loc"][:-1] for problem in problems}
    for problem in problems:
        if problem["type"] == "policy":
            findings.extend(problem["ctx"]["findings"])
            continue
        broken.append(problem["loc"])
        if problem["type"] == "too_short" and problem["loc"] in inner:
            continue  # its items were refused, and only that is wrong with it
        location = _written(document, problem["loc"])
        key = problem["type"] == "extra_forbidden"
        text = document.message(location, _explain(problem, policy, document), key=key)
        lines.append((document.line(location, key=key), text))
    if broken:
        findings = check(broken_draft(document.data, broken, context), document.place)
    for finding in findings:
        location = _written(document, finding.location)
        lines.append((document.line(location), document.message(location, finding.text)))
    return list(dict.fromkeys(text for _, text in sorted(lines, key=lambda line: line[0])))


def _written(document: Document, location: Location) -> Location:
    """The location in the file's own terms.

    What pydantic adds goes: the alternatives of a field, and the position where a single value was given
    instead of a list.
    """
    value, kept = document.data, []
    for part in location:
        if isinstance(part, str) and part.startswith("("):
            continue
        if isinstance(part, int) and not isinstance(value, list):
            continue
        kept.append(part)
        if isinstance(part, int):
            value = value[part] if part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return tuple(kept)


def _meant_set(document: Document, problem: ErrorDetails) -> str | None:
    """The fix where the name of a set was written without its sign."""
    given, at = problem.get("input"), problem["loc"]
    names = names_in(document.data.get("sets"))
    if {"source", "destination"} & {*at} and isinstance(given, str) and given in names:
        return f"'{given}' is no address: did you mean the set, '@{given}'?"
    return None


def _explain(problem: ErrorDetails, policy: type[BaseModel], document: Document) -> str:
    """What pydantic found, and the fix."""
    kind, context, given = problem["type"], problem.get("ctx", {}), problem.get("input")
    if kind == "extra_forbidden":
        key, known = str(problem["loc"][-1]), known_keys(policy, problem["loc"][:-1])
        other = _OTHER_KEYS.get(key.lower())
        near = did_you_mean(key, known) if other is None else ""
        if other in known:
            near = f"did you mean '{other}'? "
        return f"unknown key; {near}known here: {', '.join(known)}"
    if kind == "missing":
        return "required, but missing"
    if kind == "literal_error":
        return f"{_shown(given)}: expected {context['expected']}{_meant(given, context['expected'])}"
    if kind == "value_error":
        return _meant_set(document, problem) or str(context["error"])
    if kind == "too_short":
        return "is empty: give at least one"
    return f"{_shown(given)}: {_expected(problem)}"


def _expected(problem: ErrorDetails) -> str:
    """What a field takes."""
    kind, field = problem["type"], problem["loc"][-1] if problem["loc"] else ""
    if kind in _LIMITS:
        bounds = {name: _plain(value) for name, value in problem["ctx"].items()}
        return "expected " + _LIMITS[kind].format(**bounds)
    if kind == "model_type" and field in ("rate", "connection_limit"):
        return f"write {field}: {{at_most: {problem['input']}}}"
    return _EXPECTED.get(kind) or f"{problem['msg'][0].lower()}{problem['msg'][1:]}"


def _plain(value: object) -> object:
    """A whole number without its decimals."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _meant(given: object, expected: str) -> str:
    """The suggestion for one of some words, as pydantic lists them."""
    words = expected.replace(" or ", ", ").replace("'", "").split(", ")
    text = str(given).lower()
    other = next((word for word in _OTHER_VALUES.get(text, ()) if word in words), None)
    near = other or suggestion(text, words)
    return f": did you mean '{near}'?" if near else ""


def known_keys(policy: type[BaseModel], location: Location) -> list[str]:
    """The keys that the part of a policy at *location* may have, as they are written."""
    model = policy
    for part in location:
        if isinstance(part, str) and not part.startswith("("):
            field = next(each for name, each in model.model_fields.items() if part in (each.alias, name))
            model = _model_in(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: itself, several of them, or as an alternative."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is None and not isinstance(annotation, UnionType):
        return None
    inner = (_model_in(part) for part in get_args(annotation))
    return next((model for model in inner if model), None)


def _shown(value: object) -> str:
    if value is None:
        return "is empty"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
