# SPDX-License-Identifier: Apache-2.0
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from neurowall.logic.engine import Engine
from neurowall.management.api.answers import About
from neurowall.management.api.exposition import exposition
from neurowall.management.api.metrics import collector_of
from neurowall.model.counters import Counter
from neurowall.model.events import EventKind, Filter, Tally
from neurowall.model.reasons import Reason
from tests.unit.management.conftest import StandIn

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f:]+:")


def sample(samples: Samples, name: str, **labels: str) -> float:
    """The value of the one sample of that name and exactly these labels."""
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def scrape(engine: Engine, about: About) -> Any:
    """What Prometheus reads, parsed by its own parser."""
    collector = collector_of(engine, about)

    def parsed() -> Samples:
        body, content_type = exposition(collector, "")
        assert content_type.startswith("text/plain; version=0.0.4")
        return {
            (each.name, frozenset(each.labels.items())): each.value
            for family in text_string_to_metric_families(body.decode())
            for each in family.samples
        }

    return parsed


def test_every_reason_is_there_before_its_first_packet(scrape: Any) -> None:
    """rate() needs a 0 to start from."""
    samples = scrape()
    for reason in Reason:
        labels = {"reason": reason.label, "verdict": reason.verdict.label}
        assert sample(samples, "neurowall_packets_total", **labels) == 0
        assert sample(samples, "neurowall_bytes_total", **labels) == 0


def test_counters_are_the_kernels(scrape: Any, dataplane: StandIn) -> None:
    """Packets and bytes by reason, and by the list that decided."""
    dataplane.reasons[Reason.BLOCK_LIST] = Counter(7, 420)
    dataplane.counted = {dataplane.class_of("203.0.113.9"): Counter(7, 420)}
    samples = scrape()
    assert sample(samples, "neurowall_packets_total", reason="block-list", verdict="drop") == 7
    assert sample(samples, "neurowall_bytes_total", reason="block-list", verdict="drop") == 420
    assert sample(samples, "neurowall_list_packets_total", list="declared", verdict="drop") == 7
    assert sample(samples, "neurowall_list_bytes_total", list="declared", verdict="drop") == 420
    assert sample(samples, "neurowall_list_packets_total", list="operator-allow", verdict="pass") == 0


def test_a_monitor_list_matches_and_decides_nothing(scrape: Any, engine: Engine, dataplane: StandIn) -> None:
    """Alone or beside a list that decides; and it has its zeros from the start."""
    engine.load_list("trial", "block", "203.0.113.9\n198.51.100.7", monitor=True)
    assert sample(scrape(), "neurowall_list_matched_packets_total", list="trial") == 0
    dataplane.counted = {
        dataplane.class_of("203.0.113.9"): Counter(7, 420),
        dataplane.class_of("198.51.100.7"): Counter(2, 120),
    }
    samples = scrape()
    assert sample(samples, "neurowall_list_matched_packets_total", list="trial") == 9
    assert sample(samples, "neurowall_list_matched_bytes_total", list="trial") == 540
    assert sample(samples, "neurowall_list_matched_packets_total", list="declared") == 7
    assert sample(samples, "neurowall_list_packets_total", list="declared", verdict="drop") == 7
    assert sample(samples, "neurowall_list_packets_total", list="trial", verdict="drop") == 0
    verdicts = {value for _, labels in samples for name, value in labels if name == "verdict"}
    assert verdicts == {"pass", "drop"}


def test_timed_entries_are_counted_by_list(scrape: Any, engine: Engine) -> None:
    """Both families together; the lists that are not timed have no such gauge."""
    assert sample(scrape(), "neurowall_timed_entries", list="operator-block-timed") == 0
    engine.block(["198.51.100.7", "2001:db8::7"], 3600)
    engine.allow(["203.0.113.9"], 60)
    samples = scrape()
    assert sample(samples, "neurowall_timed_entries", list="operator-block-timed") == 2
    assert sample(samples, "neurowall_timed_entries", list="operator-allow-timed") == 1
    assert sum(name == "neurowall_timed_entries" for name, _ in samples) == 2


def test_gauges_follow_the_engine(scrape: Any, engine: Engine) -> None:
    """Generation, entries and tables change with an apply."""
    before = scrape()
    assert sample(before, "neurowall_list_entries", list="operator-block", family="4") == 0
    engine.block(["198.51.100.7", "198.51.100.8", "2001:db8::1"])
    after = scrape()
    assert sample(after, "neurowall_list_entries", list="operator-block", family="4") == 2
    assert sample(after, "neurowall_list_entries", list="operator-block", family="6") == 1
    assert sample(after, "neurowall_generation") == sample(before, "neurowall_generation") + 1
    assert sample(after, "neurowall_map_entries", map="hosts4") == 2
    assert sample(after, "neurowall_map_capacity", map="hosts4") == 1000


def test_interfaces_and_problems(scrape: Any, dataplane: StandIn) -> None:
    """A lost interface is a 0 that an alert can see."""
    assert sample(scrape(), "neurowall_interface_up", interface="wan0", mode="native") == 1
    assert sample(scrape(), "neurowall_problems") == 0
    dataplane.lose_interface()
    assert sample(scrape(), "neurowall_interface_up", interface="wan0", mode="none") == 0
    assert sample(scrape(), "neurowall_problems") == 1


def test_failing_housekeeping_is_a_problem(scrape: Any, about: About) -> None:
    """An alert on problems sees it."""
    about.say_housekeeping("no space left")
    assert sample(scrape(), "neurowall_problems") == 1


def test_the_daemon_describes_itself(scrape: Any, about: About) -> None:
    """Version, engine and start time."""
    samples = scrape()
    assert sample(samples, "neurowall_build_info", version="1.2.3", engine="buckets") == 1
    assert sample(samples, "neurowall_daemon_start_time_seconds") == pytest.approx(about.started)


def test_no_address_is_a_label(scrape: Any, engine: Engine) -> None:
    """Their number is unbounded: attackers would choose how much memory Prometheus takes."""
    engine.block(["198.51.100.7", "2001:db8::7"])
    for name, labels in scrape():
        assert not any(ADDRESS.search(value) for _, value in labels), (name, labels)


def test_names_follow_the_conventions(scrape: Any) -> None:
    """One prefix, and only counters end in _total."""
    counters = {"neurowall_packets_total", "neurowall_bytes_total"}
    counters |= {"neurowall_list_packets_total", "neurowall_list_bytes_total"}
    counters |= {"neurowall_list_matched_packets_total", "neurowall_list_matched_bytes_total"}
    counters |= {"neurowall_drift_repairs_total", "neurowall_event_subscribers_lost_total"}
    counters |= {"neurowall_flow_inserts_total", "neurowall_flow_spared_packets_total"}
    counters |= {f"neurowall_events{each}_total" for each in ("", "_suppressed", "_lost")}
    names = {name for name, _ in scrape()}
    assert all(name.startswith("neurowall_") for name in names)
    assert {name for name in names if name.endswith("_total")} == counters


def test_a_removed_list_keeps_what_it_counted(scrape: Any, engine: Engine, dataplane: StandIn) -> None:
    """Sums over lists must not fall."""
    engine.load_list("feed", "block", "198.51.100.7")
    dataplane.counted = {dataplane.class_of("198.51.100.7"): Counter(5, 300)}
    assert sample(scrape(), "neurowall_list_packets_total", list="feed", verdict="drop") == 5
    engine.remove_list("feed")
    assert sample(scrape(), "neurowall_list_packets_total", list="feed", verdict="drop") == 5


def test_openmetrics_is_served_on_request(engine: Engine, about: About) -> None:
    """Prometheus asks for it by its Accept header."""
    body, content_type = exposition(
        collector_of(engine, about), "application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_events_are_counted_by_what_became_of_them(scrape: Any, engine: Engine, dataplane: StandIn) -> None:
    """Told and suppressed by kind, lost in all; who follows, and what they missed."""
    dataplane.tallies = {EventKind.DROP: Tally(5, 70, 2), EventKind.BAN: Tally(1, 0, 1)}
    engine.events.subscribe(Filter(), lambda: None)
    engine.events.lost = 9
    samples = scrape()
    assert sample(samples, "neurowall_events_total", kind="drop") == 5
    assert sample(samples, "neurowall_events_total", kind="ban") == 1
    assert sample(samples, "neurowall_events_suppressed_total", kind="drop") == 70
    assert sample(samples, "neurowall_events_lost_total") == 3
    assert sample(samples, "neurowall_event_subscribers") == 1
    assert sample(samples, "neurowall_event_subscribers_lost_total") == 9
