# SPDX-License-Identifier: Apache-2.0
"""The policies that were in force: those that the daemon keeps, and older ones from the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from neurowall.logic.policies import info_of
from neurowall.logic.policyresults import GenerationInfo
from neurowall.management.api.policies import Policies
from neurowall.management.api.problems import ApiProblem
from neurowall.model.errors import StorageUnavailable
from neurowall.model.history import GenerationPage
from neurowall.model.intent import GenerationRecord


class Older(Protocol):
    """Where older ones are: neurowall.data.store.generations.Generations. Raises StorageUnavailable."""

    def page(self, limit: int, after: int | None = None) -> GenerationPage:
        """Policies without texts, newest first."""

    def get(self, number: int) -> GenerationRecord | None:
        """One with its text; None if it is not there."""


@dataclass(frozen=True)
class PastPage:
    """Some of them, newest first. next: behind which the next page begins. oldest_kept: see PastPolicies."""

    infos: Sequence[GenerationInfo]
    next: int | None
    oldest_kept: int | None
    is_whole: bool


class PastPolicies:
    """Both as one history. What the daemon itself keeps can come back; of older ones there is the text."""

    def __init__(self, policies: Policies, older: Older | None) -> None:
        self._policies, self._older = policies, older

    def page(self, limit: int, after: int | None) -> PastPage:
        """Up to *limit*, newest first, older than *after*."""
        found = list(reversed(self._policies.generations(limit + 1, after)))
        kept = self._policies.kept_generations()
        is_whole = True
        if len(found) <= limit and self._older:
            behind = min((number for number in (after, *kept[:1]) if number is not None), default=None)
            try:
                records = self._older.page(limit + 1 - len(found), behind).records
                found += [info_of(record) for record in records]
            except StorageUnavailable:
                is_whole = False
        more = len(found) > limit
        shown = found[:limit]
        return PastPage(shown, shown[-1].generation if more else None, kept[0] if kept else None, is_whole)

    def get(self, number: int) -> GenerationInfo:
        """One with its text. Raises ApiProblem 404; StorageUnavailable if it may be in the database."""
        kept = self._policies.kept_generations()
        if number in kept:
            return self._policies.generation(number)
        record = self._older.get(number) if self._older and (not kept or number < kept[0]) else None
        if record is None:
            raise no_such(number, kept)
        return info_of(record, text=True)


def no_such(number: int, kept: Sequence[int]) -> ApiProblem:
    """The 404 of a generation."""
    known = ", ".join(map(str, kept)) or "none"
    detail = f"generation {number} put no policy in force, or is not kept any more; there are: {known}"
    return ApiProblem(404, "no-such-generation", detail)
