# SPDX-License-Identifier: Apache-2.0
"""What the operator says is what packets get, from the command to the wire."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.daemon import Daemon
from tests.net.engines import ENGINES, started
from tests.net.probes import Probes

pytestmark = pytest.mark.root

DECLARED = "lists:\n  - {name: declared, verdict: block, entries: [192.0.2.0/28]}\n"
CAPACITY = "capacity: {hosts4: 1000, grow: false}\n"

HOSTS = ("203.0.113.7", "2001:db8::7")
NEIGHBOURS = ("203.0.113.6", "203.0.113.8", "2001:db8::6", "2001:db8::8")


@pytest.fixture(scope="module", params=ENGINES)
def running(request: pytest.FixtureRequest, run: Run, chain: Chain) -> Iterator[Daemon]:
    """A daemon of each engine."""
    with started(run, chain, request.param, DECLARED + CAPACITY) as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    """The daemon, with nothing but what is declared."""
    yield running
    running.forget()


def test_block_and_unblock(daemon: Daemon, probes: Probes) -> None:
    """A ban holds when the command returns, for that source only, and ends when it is taken back."""
    everyone = {*HOSTS, *NEIGHBOURS}
    assert probes.arrived(*everyone) == everyone
    assert daemon.ok("block", *HOSTS)["added"] == 2
    assert probes.blocked(*everyone) == set(HOSTS)
    assert daemon.ok("unblock", *HOSTS)["removed"] == 2
    assert probes.arrived(*everyone) == everyone


def test_prefixes_cover_their_members_only(daemon: Daemon, probes: Probes) -> None:
    """Both edges are inside, one beyond each is not."""
    daemon.post("block", "203.0.113.64/26", "2001:db8:bad::/48")
    inside = {"203.0.113.64", "203.0.113.127", "2001:db8:bad::", "2001:db8:bad:ffff:ffff:ffff:ffff:ffff"}
    outside = {"203.0.113.63", "203.0.113.128", "2001:db8:bac:ffff::1", "2001:db8:bae::"}
    assert probes.blocked(*inside, *outside) == inside


def test_allow_beats_block_whatever_the_lengths(daemon: Daemon, probes: Probes) -> None:
    """A hole in a blocked prefix, and a blocked host inside an allowed one."""
    holes = {"203.0.113.7", "198.51.100.9", "2001:db8:bad:1::5"}
    daemon.post("block", "203.0.113.0/24", "198.51.100.9", "2001:db8:bad::/48")
    daemon.post("allow", "203.0.113.7", "198.51.100.0/24", "2001:db8:bad:1::/64")
    assert probes.arrived(*holes, "203.0.113.8", "2001:db8:bad::5") == holes
    daemon.post("unallow", "203.0.113.7", "198.51.100.0/24", "2001:db8:bad:1::/64")
    assert probes.arrived(*holes) == set()


def test_lists_load_replace_remove(daemon: Daemon, probes: Probes, tmp_path: Path) -> None:
    """Each command is in force when it returns."""
    sources = ("203.0.113.1", "203.0.113.2", "198.51.100.200", "2001:db8:1::1")
    path = tmp_path / "feed.txt"
    path.write_text("203.0.113.1 # one\n203.0.113.2,x\n198.51.100.0/24\n")
    daemon.ok("lists", "load", str(path))
    assert probes.blocked(*sources) == {"203.0.113.1", "203.0.113.2", "198.51.100.200"}
    daemon.ok("lists", "replace", "feed", "-", stdin="203.0.113.2\n2001:db8:1::/48\n")
    assert probes.blocked(*sources) == {"203.0.113.2", "2001:db8:1::1"}
    daemon.ok("lists", "remove", "feed")
    assert probes.blocked(*sources) == set()


def test_explain_agrees_with_the_wire(daemon: Daemon, probes: Probes) -> None:
    """What explain says of intent and kernel is what a packet of that source gets."""
    daemon.post("block", "203.0.113.0/24", "2001:db8::7")
    daemon.post("allow", "203.0.113.9")
    for source, verdict, decided_by in (
        ("203.0.113.7", "drop", "operator-block"),
        ("203.0.113.9", "pass", "operator-allow"),
        ("2001:db8::7", "drop", "operator-block"),
        ("192.0.2.5", "drop", "declared"),
        ("198.51.100.1", "pass", None),
    ):
        found = daemon.get(f"/explain/{source}")
        assert (found["verdict"], found["list"]) == (verdict, decided_by)
        assert found["kernel"]["as_intended"]
        assert probes.arrived(source) == ({source} if verdict == "pass" else set())
    assert daemon.cli("explain", "192.0.2.5").stdout.startswith("192.0.2.5: drop\n")


def test_every_probe_is_counted_once(daemon: Daemon, probes: Probes) -> None:
    """Metrics and status grow by exactly the packets that were sent, by reason and by list."""
    daemon.post("block", *HOSTS)
    daemon.post("allow", "198.51.100.1")
    before, status_before = scrape(daemon), daemon.packets("block-list")
    for _ in range(5):
        probes.arrived(*HOSTS, "198.51.100.1")
    after = scrape(daemon)

    def grown(*sample: str) -> float:
        return after[sample] - before[sample]

    frames = sum(len(probes.frame(host, 0)) for host in HOSTS)
    assert grown("neurowall_packets_total", "block-list", "drop") == 10
    assert grown("neurowall_bytes_total", "block-list", "drop") == 5 * frames
    assert grown("neurowall_packets_total", "allow-list", "pass") == 5
    assert grown("neurowall_packets_total", "default", "pass") == 10  # the fences
    assert grown("neurowall_list_packets_total", "drop", "operator-block") == 10
    assert grown("neurowall_list_packets_total", "operator-allow", "pass") == 5
    assert after["neurowall_interface_up", "g0", "native"] == 1
    assert after["neurowall_list_entries", "4", "operator-block"] == 1
    assert daemon.packets("block-list") == status_before + 10


def scrape(daemon: Daemon) -> dict[tuple[str, ...], float]:
    """/metrics by name and sorted label values."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(daemon.ask("GET", "/metrics").text)
        for sample in family.samples
    }


def test_a_bad_list_changes_nothing(daemon: Daemon, probes: Probes) -> None:
    """Refused as a whole with line numbers; the list of before is in force, on the wire too."""
    daemon.put("feed", "203.0.113.1\n")
    generation = daemon.get("/status")["generation"]
    done = daemon.cli("lists", "replace", "feed", "-", stdin="203.0.113.2\nexample.org\n203.0.113.3\n")
    assert done.returncode == 2
    assert "  line 2: 'example.org': " in done.stderr
    assert probes.blocked("203.0.113.1", "203.0.113.2", "203.0.113.3") == {"203.0.113.1"}
    assert daemon.get("/status")["generation"] == generation


def test_more_than_the_capacity_changes_nothing(daemon: Daemon, probes: Probes) -> None:
    """The error names the key to raise; what was blocked is."""
    daemon.post("block", "203.0.113.1")
    text = "".join(f"10.0.{i >> 8}.{i & 255}\n" for i in range(1, 1002))
    done = daemon.cli("lists", "load", "-", "--name", "feed", stdin=text)
    assert done.returncode == 1
    assert "capacity.hosts4" in done.stderr
    assert probes.blocked("203.0.113.1", "10.0.0.7") == {"203.0.113.1"}
    daemon.put("feed", text[: text.index("10.0.3.200")])
    assert probes.blocked("203.0.113.1", "10.0.0.7", "10.0.3.201") == {"203.0.113.1", "10.0.0.7"}


def test_status_shows_what_runs(daemon: Daemon) -> None:
    """A person's view of the same."""
    text = daemon.cli("status").stdout
    for expected in ("instance main: ok", "g0", "external", "native", "declared", "operator-block", "hosts4"):
        assert expected in text
