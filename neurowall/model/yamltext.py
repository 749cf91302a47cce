# SPDX-License-Identifier: Apache-2.0
"""YAML text to plain values, remembering the line of each: errors must point at what the operator wrote.

A strict subset of YAML: no repeated keys, no aliases, no tags, and the scalars of YAML 1.2, so that `022` is
refused rather than 18, and `off` is the text "off", not false.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from neurowall.model.errors import PolicyError

Location = tuple[str | int, ...]

_NUMBER_KINDS = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_TEXT = "tag:yaml.org,2002:str"
_TRUE_FALSE = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"
_OCTAL_LOOKING = re.compile(r"[-+]?0[0-9_]+")


class _Loader(yaml.SafeLoader):
    """Composes nodes only; values are built below."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - yaml's own shape

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            mark = event.start_mark
            raise yaml.MarkedYAMLError(
                problem="aliases are not supported: repeat the value", problem_mark=mark
            )
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(_TRUE_FALSE, re.compile(r"(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(_NULL, re.compile(r"(~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver(_NUMBER_KINDS[0], re.compile(r"[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _NUMBER_KINDS[1], re.compile(r"[-+]?[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Document:
    """data holds mappings, lists and scalars; lines and key_lines where a location's value and key begin."""

    filename: str
    data: Any
    lines: dict[Location, int]
    key_lines: dict[Location, int]

    def line(self, location: Location, *, key: bool = False) -> int:
        """The line of a location, or of the nearest thing around it that was written."""
        lines = self.key_lines if key else self.lines
        if location in lines:
            return lines[location]
        return self.line(location[:-1]) if location else 1

    def message(self, location: Location, text: str, *, key: bool = False) -> str:
        """`policy.yaml:7: interfaces[0].zone: text`."""
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
        return f"{self.filename}:{self.line(location, key=key)}: {field + ': ' if field else ''}{text}"


def read_yaml(text: str | bytes, filename: str) -> Document:
    """Read one YAML document whose top is a mapping. Raises PolicyError naming file and line."""
    decoded = _decode(text, filename)
    try:
        node = yaml.compose(decoded, _Loader)
    except yaml.YAMLError as error:
        raise PolicyError([_syntax_message(error, decoded, filename)]) from error
    except RecursionError as error:
        raise PolicyError([f"{filename}: nested too deeply to be a policy"]) from error
    if node is None:
        raise PolicyError([f"{filename}: is empty: a policy needs at least `interfaces:`"])
    if not isinstance(node, yaml.MappingNode):
        raise PolicyError([f"{filename}:{_line(node)}: expected keys and values, such as `interfaces:`"])
    builder = _Builder(filename)
    data = builder.value(node, ())
    if builder.problems:
        raise PolicyError(builder.problems)
    return Document(filename, data, builder.lines, builder.key_lines)


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


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Builder:
    """Turns nodes into values and collects lines and problems on the way."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.lines: dict[Location, int] = {}
        self.key_lines: dict[Location, int] = {}
        self.problems: list[str] = []

    def value(self, node: yaml.Node, location: Location) -> Any:
        self.lines[location] = _line(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key must be plain text")
                continue
            key, here = key_node.value, (*location, key_node.value)
            if key in result:
                self._refuse(
                    key_node, f"key '{key}' is already used in line {self.key_lines[here]}: remove one"
                )
                continue
            self.key_lines[here] = _line(key_node)
            result[key] = self.value(value_node, here)
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        if node.tag == _TEXT:
            return text
        if node.tag == _NULL:
            return None
        if node.tag == _TRUE_FALSE and text in ("true", "false"):
            return text == "true"
        if node.tag in _NUMBER_KINDS:
            return self._number(node, text)
        self._refuse(node, f"tag '{node.tag}' is not supported")
        return None

    def _number(self, node: yaml.Node, text: str) -> Any:
        if _OCTAL_LOOKING.fullmatch(text):
            self._refuse(node, f"{text}: a leading zero means octal to some programs: write the plain number")
            return None
        try:
            return int(text) if node.tag == _NUMBER_KINDS[0] else float(text)
        except ValueError:
            self._refuse(node, f"'{text[:60]}' is not a number")
            return None

    def _refuse(self, node: yaml.Node, problem: str) -> None:
        self.problems.append(f"{self.filename}:{_line(node)}: {problem}")
