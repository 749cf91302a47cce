# SPDX-License-Identifier: Apache-2.0
"""What nobody asked for, as history and audit have it: bans by limits, and policies that were taken back."""

from collections.abc import Sequence

from neurowall.logic.engine import Engine
from neurowall.management.api.changes import Audit, Bans
from neurowall.model.audit import Act, Outcome
from neurowall.model.events import EventKind, Told
from neurowall.model.history import BanChange

DAEMON = "daemon"  # the actor


def record_limit_bans(bans: Bans, told: Sequence[Told]) -> None:
    """Bans that the kernel told of; those beyond its budget of events are counted, and in no history."""
    found = [
        BanChange(
            each.event.source,
            "limit",
            each.name,
            DAEMON,
            each.time,
            until=each.time + each.event.extra / 1e9,
        )
        for each in told
        if each.event.kind is EventKind.BAN
    ]
    if found:
        bans.record(found)


def note_taken_back(audit: Audit, engine: Engine) -> None:
    """A policy that nobody confirmed in time."""
    why = {"why": "it was not confirmed in time"}
    outcome = Outcome("ok", after=engine.generation_now, detail=why)
    audit.fact(Act("policy-taken-back", DAEMON, DAEMON), outcome)
