# SPDX-License-Identifier: Apache-2.0
"""What a check finds, and words that several checks use."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from neurowall.model.draft import Draft
from neurowall.model.yamltext import Location

Where = Callable[[Location], str]

SHOWN_NAMES = 12
"""As many names as a message lists."""


@dataclass(frozen=True)
class Finding:
    """A problem: the location to blame, and what is wrong with it and the fix."""

    location: Location
    text: str


@dataclass
class Report:
    """The findings about one draft."""

    draft: Draft
    where: Where
    findings: list[Finding] = field(default_factory=list)

    def add(self, location: Location, text: str) -> None:
        """Remember one problem."""
        self.findings.append(Finding(location, text))


_OTHER_NAMES = {
    "all": "any",
    "firewall": "gateway",
    "host": "gateway",
    "inside": "internal",
    "internet": "external",
    "lan": "internal",
    "local": "gateway",
    "outside": "external",
    "self": "gateway",
    "wan": "external",
}
"""What built-in zones are called elsewhere."""


def suggestion(given: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, if one is near."""
    names = {name.lower(): name for name in known}
    other = _OTHER_NAMES.get(given.lower())
    if other in names and given.lower() not in names:
        return other
    near = {name: SequenceMatcher(None, given.lower()[:60], name).ratio() for name in names}
    best = max(near, key=near.__getitem__, default=None)
    return names[best] if best is not None and near[best] >= 0.6 else None


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`did you mean 'lan'? ` or nothing."""
    near = suggestion(given, known)
    return f"did you mean '{near}'? " if near else ""


def listed(names: Iterable[str]) -> str:
    """Some names, and how many more there are."""
    unique = list(dict.fromkeys(names))
    more = len(unique) - SHOWN_NAMES
    return ", ".join(unique[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def check_repeats(report: Report, at: Location, values: Iterable[object]) -> None:
    """Report values of one field that are given twice."""
    seen: set[object] = set()
    for index, value in enumerate(values):
        if value in seen:
            report.add((*at, index), f"'{value}' is given twice: remove one")
        seen.add(value)
