# SPDX-License-Identifier: Apache-2.0

from collections.abc import Iterable

from neurowall.logic.engine import Engine
from neurowall.management.daemon.history import note_taken_back, record_limit_bans
from neurowall.model.audit import Act, Entry, Outcome
from neurowall.model.events import Event, EventKind, Told
from neurowall.model.history import BanChange
from neurowall.model.reasons import Reason


class Notebook:
    """What was recorded and noted."""

    def __init__(self) -> None:
        self.bans: list[BanChange] = []
        self.facts: list[tuple[Act, Outcome]] = []

    def record(self, changes: Iterable[BanChange]) -> None:
        """Bans."""
        self.bans += changes

    def begin(self, act: Act) -> Entry:
        """Nobody does."""
        raise NotImplementedError

    def end(self, entry: Entry, outcome: Outcome) -> None:
        """Nobody does."""
        raise NotImplementedError

    def note(self, act: Act, outcome: Outcome) -> None:
        """Nobody does: a budget might swallow it."""
        raise NotImplementedError

    def fact(self, act: Act, outcome: Outcome) -> None:
        """Audit."""
        self.facts.append((act, outcome))


def told(kind: EventKind) -> Told:
    """A told event at 1000.0 of one source."""
    reason = Reason.LIMITED
    event = Event(0, kind, reason, 2, "203.0.113.7", "192.0.2.1", 6, 1, 2, 60, 3, 90 * 10**9, 0, 0x0800)
    return Told(event, 1000.0, "wan0", "logins")


def test_bans_by_limits_are_history() -> None:
    """With the limit's name and their end; other events are none."""
    notebook = Notebook()
    record_limit_bans(notebook, [told(EventKind.DROP), told(EventKind.BAN)])
    assert notebook.bans == [
        BanChange("203.0.113.7", "limit", "logins", "daemon", 1000.0, until=1090.0),
    ]
    record_limit_bans(notebook, [told(EventKind.LIMIT_OVER)])
    assert len(notebook.bans) == 1


def test_a_policy_that_is_taken_back_is_noted(engine: Engine) -> None:
    """Nobody asked for it at that moment, and it changes what is enforced."""
    notebook = Notebook()
    note_taken_back(notebook, engine)
    ((act, outcome),) = notebook.facts
    assert (act.action, act.actor, outcome.result, outcome.after) == ("policy-taken-back", "daemon", "ok", 1)
