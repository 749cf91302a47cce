# SPDX-License-Identifier: Apache-2.0
"""The values of a YAML document that has nothing unusual, quickly: lines and messages are yamltext's.

A policy of thousands of rules is read whenever one of them changes. Without remembering where each value
stands, that takes a third of the time.
"""

import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml import MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent

MAX_DEPTH = 20
"""Levels of a document; a policy has no more than six."""

WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
"""Plain text that is no text."""

NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(?:(\.)[0-9]*(?:[eE][-+]?[0-9]+)?)?")
OCTAL_LOOKING = re.compile(r"[-+]?0[0-9_]+")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_SURELY_TEXT = re.compile(r"[^-+0-9tfn~]")
"""What begins otherwise may be a number or one of WORDS."""


class _Unclear(Exception):
    """Something that the other reader must look at."""


def fast_loader(text: str) -> type[Any] | None:
    """libyaml, which takes a tenth of the time, where it is there and says the same as the slow reader.

    It takes tabs between tokens, which the slow reader does not, and refuses what is no UTF-8 in another way.
    """
    if "\t" in text or _SURROGATES.search(text):
        return None
    return getattr(yaml, "CSafeLoader", None)


def plain_mapping(text: str) -> dict[str, Any] | None:
    """The mapping that the document is; None if it is none, or only the slow reader can tell."""
    loader = fast_loader(text)
    if loader is None:
        return None
    parser = loader(text)
    try:
        return _document(parser.get_event)
    except (_Unclear, yaml.YAMLError):
        return None
    finally:
        parser.dispose()


def _document(next_event: Callable[[], Any]) -> dict[str, Any]:
    next_event()  # the start of the stream
    if type(next_event()) is not yaml.DocumentStartEvent:
        raise _Unclear
    top = next_event()
    if type(top) is not MappingStartEvent or top.tag is not None:
        raise _Unclear
    found = _mapping(next_event, 1)
    next_event()  # the end of the document
    if type(next_event()) is not yaml.StreamEndEvent:
        raise _Unclear
    return found


def _value(event: Any, next_event: Callable[[], Any], depth: int) -> Any:
    kind = type(event)
    if kind is yaml.AliasEvent or event.tag is not None or depth > MAX_DEPTH:
        raise _Unclear
    if kind is ScalarEvent:
        return _plain(event.value) if event.implicit[0] else event.value
    if kind is MappingStartEvent:
        return _mapping(next_event, depth + 1)
    items = []
    while type(item := next_event()) is not SequenceEndEvent:
        items.append(_value(item, next_event, depth + 1))
    return items


def _mapping(next_event: Callable[[], Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while type(event := next_event()) is not MappingEndEvent:
        if type(event) is not ScalarEvent or event.value in found:
            raise _Unclear
        found[event.value] = _value(next_event(), next_event, depth)
    return found


def _plain(text: str) -> Any:
    if _SURELY_TEXT.match(text):
        return text
    if text in WORDS:
        return WORDS[text]
    number = NUMBER.fullmatch(text)
    if not number:
        return text
    if OCTAL_LOOKING.fullmatch(text):
        raise _Unclear
    try:
        return float(text) if number[1] else int(text)
    except ValueError:
        raise _Unclear from None
