# SPDX-License-Identifier: Apache-2.0
"""`/top`: totals, a clock, and who was dropped most."""

import time

from neurowall.logic.engine import Engine
from neurowall.model.counters import Counter
from neurowall.model.events import Event, EventKind, Told
from neurowall.model.reasons import Reason
from tests.unit.management.conftest import Api, StandIn, done, refused

DECLARED = {
    "list": "declared",
    "verdict": "block",
    "monitor": False,
    "packets": 0,
    "bytes": 0,
    "matched_packets": 0,
    "matched_bytes": 0,
}


def test_counters_are_totals_and_the_clock_goes_forward(api: Api, dataplane: StandIn) -> None:
    """Two answers make a rate."""
    first = done(api.get("/top"))
    dataplane.reasons[Reason.SPOOFED] = Counter(7, 420)
    second = done(api.get("/top"))
    assert {"reason": "spoofed", "verdict": "drop", "packets": 0, "bytes": 0} in first["packets"]
    assert {"reason": "spoofed", "verdict": "drop", "packets": 7, "bytes": 420} in second["packets"]
    assert len(second["packets"]) == len(Reason)
    assert 0 < second["seconds"] - first["seconds"] < 60
    assert abs(second["seconds"] - time.monotonic()) < 60
    assert DECLARED in second["lists"]
    assert (second["limits"], second["sources"], second["sampled"], second["banned"]) == ([], [], True, 0)
    assert second["generation"] == done(api.get("/status"))["generation"]


def test_sources_are_who_events_tell_of(api: Api, engine: Engine) -> None:
    """As many as asked for."""
    made = [("198.51.100.1", 1, ""), ("2001:db8::9", 3, "abuse")]
    for source, times, name in made:
        reason = Reason.BLOCK_LIST if name else Reason.BOGON
        event = Event(0, EventKind.DROP, reason, 2, source, "192.0.2.1", 17, 1, 2, 60)
        engine.top.note([Told(event, 1_700_000_000.25, "wan0", name)] * times)
    busiest, other = done(api.get("/top"))["sources"]
    assert 2.9 < busiest.pop("events") <= 3
    assert 0.9 < other.pop("events") <= 1
    last = "2023-11-14T22:13:20.250Z"
    assert busiest == {"address": "2001:db8::9", "reason": "block-list", "list": "abuse", "last": last}
    assert other == {"address": "198.51.100.1", "reason": "bogon", "list": None, "last": last}
    assert len(done(api.get("/top?limit=1"))["sources"]) == 1
    assert done(api.get("/top?limit=0"))["sources"] == []


def test_wrong_questions_are_refused(api: Api) -> None:
    """A misspelt parameter, a number out of bounds."""
    refused(api.get("/top?limits=1"), 422, "invalid-request")
    refused(api.get("/top?limit=-1"), 422, "invalid-request")
    refused(api.get("/top?limit=1025"), 422, "invalid-request")
