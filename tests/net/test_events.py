# SPDX-License-Identifier: Apache-2.0
"""Events of the real daemon, while traffic runs."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.testbed.process import Process
from bench.testbed.run import Run
from tests.net.conftest import MakeDaemon
from tests.net.daemon import NEUROWALL, POLICY, Daemon, until
from tests.net.probes import PORT, Probes

pytestmark = pytest.mark.root

SOURCE, SOURCE6 = "203.0.113.7", "2001:db8:bad::7"
LISTS = f"lists:\n  - {{name: abuse, verdict: block, entries: [203.0.113.0/24, '{SOURCE6}']}}\n"
PER_SECOND = 50
ABUSED = POLICY + LISTS + f"events: {{per_second: {PER_SECOND}}}\n"
CPUS = len(os.sched_getaffinity(0))


class Follower:
    """`neurowall events --follow` as a process of its own."""

    def __init__(self, run: Run, daemon: Daemon, *more: str) -> None:
        argv = (*NEUROWALL, "events", "--follow", *more, "--run-dir", str(daemon.run_dir))
        before = int(metric(daemon, "neurowall_event_subscribers"))
        self.process: Process = run.spawn(argv, name="follower")
        until(lambda: metric(daemon, "neurowall_event_subscribers") == before + 1)

    def lines(self) -> list[str]:
        """What it wrote so far."""
        return self.process.tail(1 << 22).splitlines()

    def objects(self) -> list[dict[str, Any]]:
        """The same as data; a line that is half written is left out."""
        return [json.loads(line) for line in self.lines() if line.endswith("}")]

    def end(self, number: int = signal.SIGINT) -> int:
        """Its exit code."""
        self.process.signal(number)
        return self.process.wait(10)


@pytest.fixture
def abused(make_daemon: MakeDaemon) -> Daemon:
    """A running daemon with a list."""
    daemon = make_daemon(ABUSED)
    daemon.start()
    return daemon


@pytest.fixture
def follow(run: Run, abused: Daemon) -> Iterator[Callable[..., Follower]]:
    """Starts followers, and ends them."""
    made: list[Follower] = []

    def start(*more: str) -> Follower:
        made.append(Follower(run, abused, *more))
        return made[-1]

    yield start
    for each in made:
        if each.process.alive():
            each.process.kill()


def metric(daemon: Daemon, name: str, **labels: str) -> float:
    """One sample of /metrics."""
    for family in text_string_to_metric_families(daemon.ask("GET", "/metrics").text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    raise AssertionError(f"no {name} {labels}")


def flood(probes: Probes, seconds: float) -> int:
    """Packets from a listed source, as fast as it goes; how many."""
    frame, until_then, sent = probes.frame(SOURCE, 0), time.monotonic() + seconds, 0
    while time.monotonic() < until_then:
        for _ in range(100):
            probes._wire.send(frame)
        sent += 100
    return sent


def resident(daemon: Daemon) -> int:
    """Bytes of memory of the daemon."""
    assert daemon.process
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) << 10


def test_a_follower_sees_who_was_dropped_and_by_which_list(
    abused: Daemon, probes: Probes, follow: Callable[..., Follower]
) -> None:
    """Both families, with addresses, ports, interface and list; and nothing of what passes."""
    everything, other = follow("-o", "json"), follow("-o", "json", "--address", SOURCE6)
    plain = follow("--reason", "block-list")
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert probes.arrived(SOURCE, SOURCE6, "198.18.0.2") == {"198.18.0.2"}
    until(lambda: len(everything.objects()) == 2 and len(other.objects()) == 1 and len(plain.lines()) == 2)
    first, second = everything.objects()
    moments = [datetime.fromisoformat(each["time"]) for each in (first, second)]
    assert before < moments[0] <= moments[1] < before + timedelta(seconds=10)
    shared = {"kind": "drop", "reason": "block-list", "verdict": "drop", "interface": "g0", "list": "abuse"}
    transport = {"protocol": "udp", "source_port": PORT, "destination_port": PORT, "flags": None}
    assert shared.items() <= first.items()
    assert transport.items() <= first.items()
    assert (first["source"], first["destination"]) == (SOURCE, probes._chain.server_if.v4)
    assert first["bytes"] == len(probes.frame(SOURCE, 0))
    assert (second["source"], second["destination"]) == (SOURCE6, probes._chain.server_if.v6)
    assert other.objects() == [second]
    assert f"udp {SOURCE}:{PORT} -> {probes._chain.server_if.v4}:{PORT}" in plain.lines()[0]
    assert "list abuse" in plain.lines()[0]
    recent = abused.ok("events")
    assert recent == {"per_second": PER_SECOND, "events": [first, second]}
    assert SOURCE6 in abused.cli("events", "--address", SOURCE6).stdout
    assert abused.ok("events", "--kind", "ban")["events"] == []
    assert metric(abused, "neurowall_events_total", kind="drop") == 2
    assert [each.end() for each in (everything, other, plain)] == [130] * 3
    until(lambda: metric(abused, "neurowall_event_subscribers") == 0)


def test_a_limit_is_told_by_its_name(abused: Daemon, probes: Probes, tmp_path: Path) -> None:
    """Put in force beside a running daemon; its drops are told too."""
    policy = tmp_path / "limited.yaml"
    limit = "{name: few, key: source, match: udp, packets_per_second: 1, burst: 1, zones: [external]}"
    policy.write_text(f"{ABUSED}limits: [{limit}]\n")
    abused.ok("apply", str(policy))
    for _ in range(5):
        probes._wire.send(probes.frame("192.0.2.77", 0))
    until(lambda: abused.ok("events", "--kind", "limit-over")["events"] != [])
    over = abused.ok("events", "--kind", "limit-over")["events"][0]
    assert (over["limit"], over["source"], over["interface"]) == ("few", "192.0.2.77", "g0")
    drops = abused.ok("events", "--kind", "drop", "--reason", "limited")["events"]
    assert {each["source"] for each in drops} == {"192.0.2.77"}


def test_wrong_filters_are_refused_with_what_there_is(abused: Daemon) -> None:
    """Each with exit code 2, followed or not."""
    for option, wrong, right in (("--reason", "rain", "block-list"), ("--kind", "dorp", "flow-open")):
        for how in ((), ("--follow",)):
            done = abused.cli("events", *how, option, wrong)
            assert done.returncode == 2, done.stderr
            assert right in done.stderr


def test_a_closed_pipe_ends_a_follower_quietly(abused: Daemon, probes: Probes, run: Run) -> None:
    """As under `| head -1`."""
    before = metric(abused, "neurowall_event_subscribers")
    command = " ".join((*NEUROWALL, "events --follow --run-dir", str(abused.run_dir)))
    piped = run.spawn(("bash", "-c", f"set -o pipefail; {command} | head -1"), name="piped")
    until(lambda: metric(abused, "neurowall_event_subscribers") == before + 1)
    for _ in range(3):
        probes.arrived(SOURCE)
        time.sleep(0.2)
    assert piped.wait(5) == 0
    assert len(piped.tail().splitlines()) == 1


def test_events_go_on_after_a_crash(abused: Daemon, probes: Probes, follow: Callable[..., Follower]) -> None:
    """What happened without a daemon is told by the next one, then what happens."""
    follower = follow("-o", "json")
    probes.arrived(SOURCE)
    until(lambda: len(follower.objects()) == 1)
    abused.kill()
    assert follower.process.wait(10) == 1
    assert "daemon" in follower.lines()[-1]
    assert probes.arrived(SOURCE6) == set()
    abused.start()
    until(lambda: [each["source"] for each in abused.ok("events")["events"]] == [SOURCE6])
    assert probes.arrived(SOURCE) == set()
    until(lambda: [each["source"] for each in abused.ok("events")["events"]] == [SOURCE6, SOURCE])


def test_a_flood_is_told_within_its_budget(abused: Daemon, probes: Probes) -> None:
    """In a second no more than the budget of each CPU, no less than that of one; the rest is counted."""
    begun = time.monotonic()
    sent = flood(probes, 2.5)
    seconds = time.monotonic() - begun
    told, suppressed = (
        metric(abused, f"neurowall_events{each}_total", kind="drop") for each in ("", "_suppressed")
    )
    assert PER_SECOND * int(seconds - 1) <= told <= PER_SECOND * CPUS * (seconds + 1)
    assert told + suppressed == sent
    assert metric(abused, "neurowall_events_lost_total") == 0


def test_the_budget_is_changed_without_loading_a_program(
    abused: Daemon, probes: Probes, tmp_path: Path
) -> None:
    """0 tells nothing and counts nothing; the next policy tells again."""
    links = sorted(path.name for path in abused.bpffs.glob("links/*"))
    off, on = tmp_path / "off.yaml", tmp_path / "on.yaml"
    off.write_text(POLICY + LISTS + "events: {per_second: 0}\n")
    on.write_text(POLICY + LISTS + "events: {per_second: 1}\n")
    programs = _programs(abused)
    abused.ok("apply", str(off))
    flood(probes, 0.2)
    assert abused.ok("events") == {"per_second": 0, "events": []}
    assert "they are off" in abused.cli("events").stdout
    assert metric(abused, "neurowall_events_suppressed_total", kind="drop") == 0
    abused.ok("apply", str(on))
    flood(probes, 0.2)
    until(lambda: 1 <= len(abused.ok("events")["events"]) <= 2 * CPUS)
    assert metric(abused, "neurowall_events_suppressed_total", kind="drop") > 100
    assert _programs(abused) == programs
    assert sorted(path.name for path in abused.bpffs.glob("links/*")) == links


def _programs(daemon: Daemon) -> list[int]:
    """The id of the program of each link."""
    from neurowall.kernel import libbpf

    found = []
    for path in sorted(daemon.bpffs.glob("links/*")):
        fd = libbpf.get_pinned(path)
        found.append(int(libbpf.link_info(fd).prog_id))
        os.close(fd)
    return found


def test_a_stopped_follower_costs_its_own_events_only(
    make_daemon: MakeDaemon, probes: Probes, run: Run
) -> None:
    """The daemon stays as large as it was and answers, packets are dropped, others follow; and it is told."""
    daemon = make_daemon(POLICY + LISTS + "events: {per_second: 10000}\n")
    daemon.start()
    flood(probes, 0.5)
    stuck, well = (
        Follower(run, daemon, "-o", "json"),
        Follower(run, daemon, "-o", "json", "--address", SOURCE6),
    )
    before = resident(daemon)
    stuck.process.signal(signal.SIGSTOP)
    flood(probes, 2.0)
    time.sleep(1.5)  # a new window: the flood has spent the one of now
    assert probes.arrived(SOURCE, SOURCE6, "198.18.0.2") == {"198.18.0.2"}
    until(lambda: len(well.objects()) == 1)
    assert resident(daemon) - before < 16 << 20
    assert metric(daemon, "neurowall_event_subscribers_lost_total") > 1000
    stuck.process.signal(signal.SIGCONT)
    until(lambda: any("lost" in each for each in stuck.objects()), 10)
    assert stuck.end() == 130
    assert well.end() == 130


def test_the_daemon_ends_at_once_with_followers(abused: Daemon, follow: Callable[..., Follower]) -> None:
    """They are told, and do not hold it up."""
    follower = follow()
    begun = time.monotonic()
    assert abused.stop() == 0
    assert time.monotonic() - begun < 3
    assert follower.process.wait(10) == 1
    assert "it is going down" in follower.lines()[-1]
