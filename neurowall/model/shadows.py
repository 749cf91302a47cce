# SPDX-License-Identifier: Apache-2.0
"""Rules that an earlier one leaves nothing to."""

from collections.abc import Iterator, Sequence

from neurowall.model.matches import Match, Pair
from neurowall.model.spans import Span

Key = tuple[str, int, int]
"""What a block is of, its position, and its size in bits."""


class _Earlier:
    """Rules for one pair of zones, found by what a rule that they cover must share with them.

    Comparing each with each would take seconds for thousands of rules. A rule that names destinations, else
    sources, else ports, covers only rules that ask for some of the same: it is kept under the smallest
    aligned blocks of a power of two that hold them.
    """

    def __init__(self) -> None:
        self._by_key: dict[Key, list[int]] = {}
        self._sizes: dict[str, set[int]] = {}

    def add(self, index: int, match: Match) -> None:
        for name, parts in _kept_under(match):
            for start, bits in {_enclosing(span) for span in parts}:
                self._by_key.setdefault((name, start, bits), []).append(index)
                self._sizes.setdefault(name, set()).add(bits)

    def candidates(self, match: Match) -> Iterator[int]:
        """Every earlier rule that may cover this one."""
        for name, span in _asked_for(match):
            start, own = _enclosing(span)
            for bits in self._sizes.get(name, ()):
                if bits >= own:
                    yield from self._by_key.get((name, start >> (bits - own), bits), ())


def _kept_under(match: Match) -> Iterator[tuple[str, Sequence[Span]]]:
    """What a rule that this one covers must have some of."""
    for name, part in (("destination", match.destination), ("source", match.source)):
        if part is not None:
            for spans in part.values():
                yield name, spans.spans
            return
    yield ("ports", match.ports.spans) if match.ports is not None else ("all", [(0, 0)])


def _asked_for(match: Match) -> Iterator[tuple[str, Span]]:
    """One span of each kind that a rule which covers this one must hold, if it holds any of that kind."""
    yield "all", (0, 0)
    for name, part in (("destination", match.destination), ("source", match.source)):
        if part is not None and match.families:
            yield name, part[min(match.families)].spans[0]
    if match.ports is not None:
        yield "ports", match.ports.spans[0]


def _enclosing(span: Span) -> tuple[int, int]:
    """The smallest aligned block of a power of two that holds a span: (position, size in bits)."""
    bits = (span[0] ^ span[1]).bit_length()
    return span[0] >> bits, bits


def shadowed(matches: Sequence[Match]) -> dict[int, int]:
    """For each rule that never decides, by its position: the position of the first rule that covers it.

    Only one rule is looked for; what several cover together is not found.
    """
    by_pair: dict[Pair, _Earlier] = {}
    found: dict[int, int] = {}
    for index, match in enumerate(matches):
        if not match.rule.enabled or not match.pairs:
            continue
        pair = min(match.pairs)
        earlier = by_pair.get(pair)
        covers = (
            []
            if earlier is None
            else [first for first in earlier.candidates(match) if matches[first].covers(match)]
        )
        if covers:
            found[index] = min(covers)
            continue
        if match.decides and not match.limited:
            for pair in match.pairs:
                by_pair.setdefault(pair, _Earlier()).add(index, match)
    return found
