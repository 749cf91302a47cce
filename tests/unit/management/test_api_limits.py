# SPDX-License-Identifier: Apache-2.0
"""`/limits`, `neurowall limits`, what metrics and explain say of limits, and an unblock that ends a ban."""

import re
import time

import pytest

from neurowall.logic.engine import Engine
from neurowall.model.counters import Counter
from neurowall.model.limits import LimitBan, LimitCounters
from tests.unit.management.commands import Cli
from tests.unit.management.conftest import POLICY, Api, StandIn, done

LIMITS = """
limits:
  - {name: syn, key: source, match: tcp-syn, ports: [443, 8000-8010], packets_per_second: 100, burst: 200}
  - {name: watch, zones: internal, key: source-prefix, bytes_per_second: 5000000, action: monitor}
"""


@pytest.fixture(autouse=True)
def limited(engine: Engine, dataplane: StandIn) -> None:
    """Two limits in force that counted something, and a ban."""
    engine.apply_policy(POLICY + LIMITS, "policy.yaml")
    dataplane.limiter.counted = {
        "syn": LimitCounters(Counter(50, 3000), Counter(7, 420)),
        "watch": LimitCounters(would=Counter(9, 900)),
    }
    dataplane.limiter.banned["203.0.113.200"] = LimitBan("203.0.113.200", time.time() + 60, "syn")
    dataplane.limiter.banned["198.51.100.1"] = LimitBan("198.51.100.1", time.time() + 600, "syn")


def test_limits_are_told_with_what_they_counted(api: Api) -> None:
    """Every member by name; what is over is what was dropped, or would have been."""
    answer = done(api.get("/limits"))
    syn, watch = answer["limits"]
    assert (syn["rate"], syn["burst"], syn["unit"], syn["ports"]) == (100, 200, "packets", [443, "8000-8010"])
    assert (syn["interfaces"], syn["unguarded"], syn["prefix4"]) == (["wan0"], [], None)
    assert syn["over"] == syn["dropped"] == {"packets": 7, "bytes": 420}
    assert (watch["burst"], watch["unit"], watch["prefix4"], watch["prefix6"]) == (5_000_000, "bytes", 24, 64)
    assert watch["over"] == watch["would_drop"] == {"packets": 9, "bytes": 900}
    assert watch["interfaces"] == ["lan0"]
    assert answer["ban_count"] == 2
    assert [each["address"] for each in answer["bans"]] == ["203.0.113.200", "198.51.100.1"]
    assert 55 < answer["bans"][0]["remaining_seconds"] <= 60


def test_limits_are_drawn(cli: Cli) -> None:
    """A row for each, and whom they banned."""
    text = cli.ok("limits")
    assert "tcp-syn 443,8000-8010" in text
    assert "source-prefix /24 /64" in text
    assert "5,000,000 B/s" in text
    assert re.search(r"banned by syn: 203\.0\.113\.200, for another (1 min|5\d s)", text)


def test_metrics_have_no_addresses(api: Api) -> None:
    """Counters by limit and outcome, the number of bans."""
    text = api.get("/metrics").text
    assert 'neurowall_limit_packets_total{limit="syn",outcome="dropped"} 7.0' in text
    assert 'neurowall_limit_packets_total{limit="watch",outcome="would_drop"} 9.0' in text
    assert "neurowall_bans 2.0" in text
    assert "198.51.100.1" not in text


def test_explain_tells_of_a_ban(api: Api) -> None:
    """Of a listed source the list decides; of another one the ban."""
    banned = done(api.get("/explain/198.51.100.1"))
    assert (banned["verdict"], banned["reason"], banned["ban"]["limit"]) == ("drop", "banned", "syn")
    listed = done(api.get("/explain/203.0.113.200"))
    assert (listed["verdict"], listed["reason"], listed["ban"]["limit"]) == ("drop", "block-list", "syn")
    assert done(api.get("/explain/198.51.100.2"))["ban"] is None


def test_unblock_ends_a_ban(api: Api, dataplane: StandIn) -> None:
    """And says that it did."""
    answer = done(api.post("/unblock", json={"addresses": ["198.51.100.1", "198.51.100.2"]}))
    assert [each["outcome"] for each in answer["addresses"]] == ["removed", "unchanged"]
    assert dataplane.limiter.banned.keys() == {"203.0.113.200"}


def test_housekeeping_takes_out_what_is_over(engine: Engine, dataplane: StandIn) -> None:
    """Through the engine."""
    dataplane.limiter.clock = lambda: time.time() + 100
    assert engine.tend_limits() == 1
    assert dataplane.limiter.banned.keys() == {"198.51.100.1"}


def test_where_nothing_asks_it_is_said(api: Api, dataplane: StandIn) -> None:
    """As a warning of status too."""
    dataplane.without_xdp = frozenset({"wan0"})
    said = "limit 'syn' is not enforced on wan0: no XDP program is there"
    assert said in done(api.get("/limits"))["warnings"]
    assert said in done(api.get("/status"))["warnings"]
