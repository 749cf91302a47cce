# SPDX-License-Identifier: Apache-2.0
"""Who was refused, for the log and the audit: as much of it as they can bear."""

import logging

from neurowall.management.api.asked import Actor, asked
from neurowall.management.api.attempts import Attempts
from neurowall.management.api.changes import Audit
from neurowall.model.audit import Act, Outcome

STRANGER = "unknown"

log = logging.getLogger(__name__)


class Refusals:
    """Tells of them. Ten lines at once, then one a second; the audit has a budget of its own."""

    def __init__(self, audit: Audit | None) -> None:
        self._audit = audit
        self._budget = Attempts()
        self._untold = 0

    def failed(self, source: str, why: str) -> None:
        """A token that is not valid."""
        self._tell(f"authentication failed: {why}", STRANGER, source)
        self._note("authentication-failed", STRANGER, source, why, 401)

    def forbidden(self, actor: Actor, what: str) -> None:
        """Somebody who asked for what he may not."""
        self._tell(f"not allowed: {what}", actor.name, actor.source)
        self._note("not-allowed", actor.name, actor.source, what, 403)

    def _tell(self, text: str, who: str, source: str) -> None:
        if self._budget.wait("log"):
            self._untold += 1
            return
        self._budget.failed("log")
        more, self._untold = self._untold, 0
        log.warning("%s, %s from %s%s", text, who, source, f"; {more:,} more were not logged" if more else "")

    def _note(self, action: str, who: str, source: str, what: str, status: int) -> None:
        if self._audit:
            now = asked()
            act = Act(action, who, source, what, now.id if now else "")
            self._audit.note(act, Outcome("refused", status))
