# SPDX-License-Identifier: Apache-2.0
import io
import json

from rich.console import Console

from bench.progress import Bar, Event, JsonLines, Lines, reporter

EVENTS = [
    Event("scenario-started", "drop-flood", "2 trials in 1 block", 0, 2),
    Event("configured", "drop-flood", "block 1: ipset configured", 0, 2),
    Event("refused", "drop-flood", "block 1: nft-set not configured: [red]syntax[/] error", 0, 2),
    Event("trial", "drop-flood", "block 1 round 1: ipset 0.70 Mpps", 1, 2, {"problem": ""}),
    Event(
        "trial",
        "drop-flood",
        "block 1 round 2: ipset 0.70 Mpps gate: leaks",
        2,
        2,
        {"problem": "gate: leaks"},
    ),
    Event("scenario-finished", "drop-flood", "2 trials measured", 2, 2),
]


def shown(mode: str) -> str:
    """All events as somebody sees them."""
    stream = io.StringIO()
    with reporter(mode, stream) as listener:  # type: ignore[arg-type]
        for event in EVENTS:
            listener.tell(event)
    return stream.getvalue()


def test_plain_lines_leave_out_trials_without_a_problem() -> None:
    """In a log hundreds of them would hide what matters."""
    text = shown("plain")
    assert len(text.splitlines()) == 5
    assert "leaks" in text
    assert "100%" in text


def test_json_has_every_event_with_all_its_fields() -> None:
    """One object a line."""
    found = [json.loads(line) for line in shown("json").splitlines()]
    assert [event["kind"] for event in found] == [event.kind for event in EVENTS]
    assert found[3]["done"] == 1
    assert found[4]["details"] == {"problem": "gate: leaks"}
    assert all(event["seconds"] >= 0 for event in found)


def test_the_bar_keeps_problems_on_the_screen_as_they_were_written() -> None:
    """Text of other programs is no markup."""
    text = shown("rich")
    assert "[red]syntax[/] error" in text
    assert "leaks" in text


def test_the_mode_follows_the_stream() -> None:
    """A bar only where somebody watches."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(reporter("auto", io.StringIO()), Lines)
    assert isinstance(reporter("auto", Terminal()), Bar)
    assert isinstance(reporter("json", Terminal()), JsonLines)
    assert isinstance(Bar(Console(file=io.StringIO())), Bar)
