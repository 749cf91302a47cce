# SPDX-License-Identifier: Apache-2.0
"""Timed blocks and allows, as requests and answers."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from neurowall.logic.engine import Engine
from tests.unit.management.conftest import Api, Json, StandIn, done

HOST = "198.51.100.7"


def moment(text: str) -> float:
    """An RFC 3339 moment in UTC as Unix seconds."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def outcome(answer: Json) -> Json:
    """The only address of a change's answer."""
    (only,) = answer["addresses"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize(
    ("ttl", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), (7200, 7200), (0.5, 0.5)]
)
def test_a_ban_says_when_it_ends(api: Api, ttl: Any, seconds: float) -> None:
    """As a duration or as seconds; the answer has the moment and what is left."""
    begun = time.time()
    answer = done(api.post("/block", json={"addresses": [HOST], "ttl": ttl}))
    ended = time.time()
    assert (answer["added"], outcome(answer)["outcome"]) == (1, "added")
    assert begun + seconds - 1 <= moment(outcome(answer)["expires"]) <= ended + seconds
    assert seconds - (ended - begun) - 0.01 <= outcome(answer)["remaining_seconds"] <= seconds


def test_a_ban_without_a_ttl_does_not_end(api: Api) -> None:
    """Absent and null mean the same."""
    for body in ({"addresses": [HOST]}, {"addresses": ["198.51.100.8"], "ttl": None}):
        assert outcome(done(api.post("/block", json=body)))["expires"] is None
    assert done(api.get("/lists/operator-block"))["items"] == [HOST, "198.51.100.8"]
    assert done(api.get("/lists/operator-block"))["timed"] == []


def test_the_timed_list_shows_what_is_left(api: Api) -> None:
    """Each entry with its end."""
    done(api.post("/block", json={"addresses": [HOST, "2001:db8::/48"], "ttl": "1h"}))
    page = done(api.get("/lists/operator-block-timed"))
    assert page["items"] == [HOST, "2001:db8::/48"]
    assert [each["entry"] for each in page["timed"]] == page["items"]
    for each in page["timed"]:
        assert 3500 < each["remaining_seconds"] <= 3600
        assert abs(moment(each["expires"]) - time.time() - each["remaining_seconds"]) < 2


def test_a_second_ban_extends_the_first(api: Api) -> None:
    """By the policy's factor, and the answer counts it as neither new nor unchanged."""
    done(api.post("/block", json={"addresses": [HOST], "ttl": "1h"}))
    answer = done(api.post("/block", json={"addresses": [HOST], "ttl": "1h"}))
    assert (answer["added"], answer["extended"]) == (0, 1)
    assert outcome(answer)["outcome"] == "extended"
    assert 7100 < outcome(answer)["remaining_seconds"] <= 7200


def test_an_unblock_says_what_it_removed(api: Api, dataplane: StandIn) -> None:
    """The timed entry with the time that it had left."""
    done(api.post("/block", json={"addresses": [HOST], "ttl": "1h"}))
    answer = done(api.post("/unblock", json={"addresses": [HOST]}))
    assert (answer["removed"], outcome(answer)["outcome"]) == (1, "removed")
    assert 3500 < outcome(answer)["remaining_seconds"] <= 3600
    assert dataplane.lookup(HOST) is None


def test_a_ban_for_good_stays_one(api: Api) -> None:
    """A ttl does not shorten it, and the answer says why nothing happened."""
    done(api.post("/block", json={"addresses": [HOST]}))
    answer = done(api.post("/block", json={"addresses": [HOST], "ttl": "1h"}))
    assert (answer["unchanged"], outcome(answer)["expires"]) == (1, None)
    assert answer["notes"] == [
        f"{HOST} is listed without an end already and stays so: take it out to give it one"
    ]
    assert done(api.post("/block", json={"addresses": [HOST]}))["notes"] == []


def test_notes_have_a_bound(api: Api) -> None:
    """A hundred of them and how many more."""
    addresses = [f"192.0.2.{index}" for index in range(120)]
    notes = done(api.post("/unblock", json={"addresses": addresses}))["notes"]
    assert len(notes) == 101
    assert notes[-1] == "and 20 more"


def test_an_ended_ban_passes_before_housekeeping_came(api: Api, engine: Engine) -> None:
    """Explain goes by the clock, as the kernel does."""
    done(api.post("/block", json={"addresses": [HOST], "ttl": 0.05}))
    due = engine.next_expiry()
    assert due
    while time.time() < due:
        time.sleep(0.01)
    found = done(api.get(f"/explain/{HOST}"))
    assert (found["verdict"], found["list"], found["expires"]) == ("pass", None, None)
    assert "no list holds it" in found["steps"]


def test_a_timed_allow_opens_a_blocked_prefix(api: Api) -> None:
    """Explain tells until when, and the status counts it."""
    done(api.post("/allow", json={"addresses": ["203.0.113.9"], "ttl": "8h"}))
    found = done(api.get("/explain/203.0.113.9"))
    assert (found["verdict"], found["list"]) == ("pass", "operator-allow-timed")
    assert 28700 < found["remaining_seconds"] <= 28800
    assert any(step.startswith("that lasts another ") for step in found["steps"])
    timed = done(api.get("/status"))["timed"]
    assert (timed["block"], timed["allow"]) == (0, 1)
    assert timed["next"]["expires"] == found["expires"]


def test_what_is_not_timed_has_no_end(api: Api) -> None:
    """Neither in explain nor among its steps."""
    found = done(api.get("/explain/203.0.113.9"))
    assert (found["expires"], found["remaining_seconds"]) == (None, None)
    assert not any("lasts" in step for step in found["steps"])


def test_an_ended_ban_is_gone_after_housekeeping(api: Api, engine: Engine) -> None:
    """The list, the status and explain agree."""
    done(api.post("/block", json={"addresses": [HOST], "ttl": 0.05}))
    assert done(api.get("/status"))["timed"]["block"] == 1
    due = engine.next_expiry()
    assert due
    while time.time() < due:
        time.sleep(0.01)
    assert engine.expire() == 1
    assert done(api.get("/lists/operator-block-timed"))["items"] == []
    assert done(api.get("/status"))["timed"]["block"] == 0
    assert done(api.get(f"/explain/{HOST}"))["verdict"] == "pass"


def test_a_banned_ipv6_host_offers_its_64(api: Api) -> None:
    """Nothing else does, and neither does one that passes all the same or is let go."""
    done(api.post("/allow", json={"addresses": ["2001:db8:1::/48"]}))
    hosts = ["2001:db8::7", "2001:db8:1::7", "2001:db8:2::/48", "fe80::7", HOST]
    answer = done(api.post("/block", json={"addresses": hosts}))
    assert [each["whole_64"] for each in answer["addresses"]] == ["2001:db8::/64", None, None, None, None]
    answer = done(api.post("/unblock", json={"addresses": ["2001:db8::7"]}))
    assert outcome(answer)["whole_64"] is None
    assert outcome(done(api.post("/allow", json={"addresses": ["2001:db8::7"]})))["whole_64"] is None


def test_explain_names_the_monitor_lists(api: Api, engine: Engine) -> None:
    """They count it and do not decide, also where nothing else does."""
    engine.load_list("trial", "block", "198.51.100.0/24\n203.0.113.9", monitor=True)
    found = done(api.get(f"/explain/{HOST}"))
    assert (found["verdict"], found["list"], found["monitored_by"]) == ("pass", None, ["trial"])
    now = found["generation"]
    assert found["steps"] == [
        "block list trial holds it through 198.51.100.0/24 and only counts it: it is a monitor list",
        "so its packets pass on to the stack, unless they are malformed",
        f"the kernel holds 198.51.100.0/24 (decides nothing), as intended in generation {now}",
    ]
    found = done(api.get("/explain/203.0.113.9"))
    assert (found["verdict"], found["list"], found["monitored_by"]) == ("drop", "declared", ["trial"])


def test_a_monitor_list_beats_nothing(api: Api, engine: Engine) -> None:
    """An allowed source that only a monitor list would block: allow did not beat a block."""
    engine.load_list("trial", "block", HOST, monitor=True)
    done(api.post("/allow", json={"addresses": [HOST]}))
    steps = done(api.get(f"/explain/{HOST}"))["steps"]
    assert "so its packets pass: list operator-allow allows it" in steps
