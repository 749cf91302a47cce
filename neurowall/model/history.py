# SPDX-License-Identifier: Apache-2.0
"""What the database remembers of bans and of answers; what is in force is not asked there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from neurowall.model.intent import GenerationRecord

BanKind = Literal["block", "allow", "limit"]
REASON = 200  # characters of a reason


@dataclass(frozen=True)
class BanChange:
    """A ban that began, was made longer, or (*ended*) was taken back. until None: it has no end.

    entry: address or prefix as the engine writes it. list: of a limit its name; "" if it ended: every limit's
    bans of the entry, and within it, that have not ended. actor: as in the audit.
    """

    entry: str
    kind: BanKind
    list: str
    actor: str
    when: float
    reason: str = ""
    until: float | None = None
    ended: bool = False


@dataclass(frozen=True)
class BanRow:
    """One ban as it is kept. ended: when it was taken back or replaced by a longer one, if it was."""

    id: int
    node: str
    entry: str
    kind: BanKind
    list: str
    actor: str
    reason: str
    since: float
    until: float | None
    ended: float | None
    ended_by: str | None


@dataclass(frozen=True)
class BanPage:
    """Bans, newest first; next is the `after` of the page behind, None at the end."""

    rows: tuple[BanRow, ...]
    next: int | None


@dataclass(frozen=True)
class Reply:
    """An answer that is kept for 24 hours, so that the same request twice does a thing once.

    digest: of the request. created: Unix seconds. body: empty, and cut true, if it was too long to be kept.
    """

    key: str
    actor: str
    digest: str
    created: float
    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


@dataclass(frozen=True)
class GenerationPage:
    """Policies that were in force, without texts, newest first; next is the `after` of the page behind."""

    records: tuple[GenerationRecord, ...]
    next: int | None


@dataclass(frozen=True)
class StorageFacts:
    """What is to be told of the database. size: bytes, None before it was asked. Counts are since the start.

    problem: why it cannot be used now, None if it can. audit_queued: rows of the audit that wait. waiting:
    other works that wait. lost: rows that were given up.
    """

    backend: str
    where: str
    problem: str | None
    size: int | None
    audit_queued: int
    waiting: int
    lost: int
