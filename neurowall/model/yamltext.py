# SPDX-License-Identifier: Apache-2.0
"""YAML text to plain values, remembering the line of each: errors must point at what the operator wrote.

A strict subset of YAML: no repeated keys, no aliases, no tags, and the scalars of YAML 1.2, so that `022` is
refused rather than 18, and `off` is the text "off", not false.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from neurowall.model.errors import PolicyError
from neurowall.model.yamlplain import MAX_DEPTH, NUMBER, OCTAL_LOOKING, WORDS, fast_loader, plain_mapping

Location = tuple[str | int, ...]

_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_TEXT = "tag:yaml.org,2002:str"
_TRUE_FALSE = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True)
class Document:
    """data holds mappings, lists and scalars, read from *text*."""

    filename: str
    data: Any
    text: str = field(repr=False)

    @cached_property
    def places(self) -> tuple[dict[Location, int], dict[Location, int]]:
        """The lines where each location's value and key begin. Found only when they are asked for."""
        builder = _build(self.text, self.filename)
        return builder.lines, builder.key_lines

    def line(self, location: Location, *, key: bool = False) -> int:
        """The line of a location, or of the nearest thing around it that was written."""
        lines = self.places[1 if key else 0]
        if location in lines:
            return lines[location]
        return self.line(location[:-1]) if location else 1

    def place(self, location: Location) -> str:
        """`line 7`."""
        return f"line {self.line(location)}"

    def message(self, location: Location, text: str, *, key: bool = False) -> str:
        """`policy.yaml:7: interfaces[0].zone: text`."""
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
        return f"{self.filename}:{self.line(location, key=key)}: {field + ': ' if field else ''}{text}"


def read_yaml(text: str | bytes, filename: str) -> Document:
    """Read one YAML document whose top is a mapping. Raises PolicyError naming file and line."""
    decoded = _decode(text, filename)
    data = plain_mapping(decoded)
    if data is None:
        data = _build(decoded, filename).data
    return Document(filename, data, decoded)


def _build(text: str, filename: str) -> "_Builder":
    """Read with all that messages need. Raises PolicyError."""
    fast = fast_loader(text)
    if fast:
        with suppress(yaml.YAMLError):  # said below, in the words of the other reader
            return _read(text, filename, fast)
    try:
        return _read(text, filename, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise PolicyError([_syntax_message(error, text, filename)]) from error


def _read(text: str, filename: str, loader: type[Any]) -> "_Builder":
    builder = _Builder(filename, yaml.parse(text, loader))
    next(builder.events)  # the start of the stream
    empty = PolicyError([f"{filename}: is empty: a policy needs at least `interfaces:`"])
    if isinstance(next(builder.events), yaml.StreamEndEvent):
        raise empty
    top = next(builder.events)
    builder.data = builder.value(top, ())
    next(builder.events)  # the end of the document
    another = next(builder.events)
    if isinstance(another, yaml.DocumentStartEvent):
        raise _not_yaml(another, "but found another document")
    if builder.data is None and isinstance(top, yaml.ScalarEvent) and not builder.problems:
        raise empty
    if not isinstance(top, yaml.MappingStartEvent):
        raise PolicyError([f"{filename}:{_line(top)}: expected keys and values, such as `interfaces:`"])
    if builder.problems:
        raise PolicyError(builder.problems)
    return builder


def _decode(text: str | bytes, filename: str) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise PolicyError([f"{filename}:{line}: is not UTF-8 text: save it as UTF-8"]) from error


def _syntax_message(error: yaml.YAMLError, text: str, filename: str) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        context = f" {error.context}" if error.context else ""
        return f"{filename}{line}: not valid YAML: {error.problem}{context}"
    if isinstance(error, yaml.reader.ReaderError):
        line = f":{text.count(chr(10), 0, error.position) + 1}"
        return f"{filename}{line}: not valid YAML: character U+{ord(text[error.position]):04X} is not allowed"
    return f"{filename}: not valid YAML: {error}"


def _not_yaml(event: Any, problem: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Builder:
    """Turns events into values and collects lines and problems on the way."""

    def __init__(self, filename: str, events: Iterator[Any]) -> None:
        self.filename = filename
        self.events = events
        self.data: Any = None
        self.lines: dict[Location, int] = {}
        self.key_lines: dict[Location, int] = {}
        self.problems: list[str] = []

    def value(self, event: Any, location: Location) -> Any:
        """The value that begins with *event*; all its events are taken."""
        self.lines[location] = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.AliasEvent):
            raise _not_yaml(event, "aliases are not supported: repeat the value")
        if len(location) >= MAX_DEPTH:
            raise PolicyError([f"{self.filename}: nested too deeply to be a policy"])
        if event.tag not in (None, "!"):
            self._refuse(event, f"tag '{event.tag}' is not supported")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(location)
        items: list[Any] = []
        while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
            items.append(self.value(item, (*location, len(items))))
        return items

    def _mapping(self, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(event, "a key must be plain text")
                self.value(event, (*location, ""))
                self.value(next(self.events), (*location, ""))
                continue
            key, here = event.value, (*location, event.value)
            if key in result:
                first = self.key_lines[here]
                self._refuse(event, f"key '{key}' is already used in line {first}: remove one")
                self.value(next(self.events), (*location, ""))
                continue
            self.key_lines[here] = _line(event)
            result[key] = self.value(next(self.events), here)
        return result

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        kind = event.tag
        if kind is None:
            kind = _kind(text) if event.implicit[0] else _TEXT
        if kind in (_TEXT, "!"):
            return text
        if kind == _NULL:
            return None
        if kind == _TRUE_FALSE and text in ("true", "false"):
            return text == "true"
        if kind in (_INTEGER, _FLOAT):
            return self._number(event, text, kind)
        self._refuse(event, f"tag '{kind}' is not supported")
        return None

    def _number(self, event: Any, text: str, kind: str) -> Any:
        if OCTAL_LOOKING.fullmatch(text):
            self._refuse(
                event, f"{text}: a leading zero means octal to some programs: write the plain number"
            )
            return None
        try:
            return int(text) if kind == _INTEGER else float(text)
        except ValueError:
            self._refuse(event, f"'{text[:60]}' is not a number")
            return None

    def _refuse(self, event: Any, problem: str) -> None:
        self.problems.append(f"{self.filename}:{_line(event)}: {problem}")


def _kind(text: str) -> str:
    """What plain text is, by the rules of YAML 1.2 (without its rarer forms of numbers)."""
    if text in WORDS:
        return _NULL if WORDS[text] is None else _TRUE_FALSE
    number = NUMBER.fullmatch(text)
    if not number:
        return _TEXT
    return _FLOAT if number[1] else _INTEGER
