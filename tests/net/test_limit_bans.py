# SPDX-License-Identifier: Apache-2.0
"""Bans by limits through the real daemon: after a connection was established, for a time, until lifted."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.conftest import MakeDaemon, daemons
from tests.net.daemon import POLICY, Daemon, until
from tests.net.probes import Probes

pytestmark = pytest.mark.root
PORT = 4712
BANNING = """
flows: {mode: loose}
limits:
  - {name: greedy, key: source, packets_per_second: 40, burst: 40, action: ban, ban_ttl: TTL}
"""


@pytest.fixture(scope="module")
def make(run: Run, chain: Chain) -> Iterator[MakeDaemon]:
    """Makes daemons in the chain's gateway."""
    with daemons(run, chain) as made:
        yield made


@pytest.fixture(scope="module")
def daemon(make: MakeDaemon) -> Daemon:
    """A running daemon whose limit bans for a long time."""
    daemon = make(POLICY + BANNING.replace("TTL", "1h"))
    daemon.start()
    return daemon


@contextmanager
def connection(chain: Chain) -> Iterator[socket.socket]:
    """The client's end of a TCP connection to a host behind the gateway."""
    with chain.server.enter(), socket.create_server((chain.server_if.v4, PORT)) as listener:
        listener.settimeout(5)
        with chain.client.enter():
            sending = socket.create_connection((chain.server_if.v4, PORT), timeout=5)
        with sending:
            accepted, _ = listener.accept()
            with accepted:
                sending.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield sending


def exceed(sending: socket.socket) -> None:
    """More packets at once than the limit takes."""
    with suppress(TimeoutError, BlockingIOError):
        for _ in range(200):
            sending.send(b"x")
            time.sleep(0.0005)


def banned(daemon: Daemon) -> list[str]:
    """Whom limits banned."""
    return [each["address"] for each in daemon.get("/limits")["bans"]]


def test_forged_sources_are_limited_and_never_banned(daemon: Daemon, probes: Probes) -> None:
    """However many packets come in somebody's name."""
    source = "203.0.113.99"
    probes.sent(*[source] * 400)
    until(lambda: daemon.packets("limited") >= 300)
    assert banned(daemon) == []
    assert daemon.get(f"/explain/{source}")["ban"] is None


def test_who_answered_is_banned_and_unblock_lifts_it(daemon: Daemon, chain: Chain) -> None:
    """The ban is told by limits, explain, metrics; it outlives the daemon; an operator ends it."""
    client = chain.client_if.v4
    with connection(chain) as sending:
        exceed(sending)
    until(lambda: banned(daemon) == [client])
    found = daemon.get(f"/explain/{client}")
    assert (found["verdict"], found["reason"], found["ban"]["limit"]) == ("drop", "banned", "greedy")
    assert "limit greedy banned it for another" in " ".join(found["steps"])
    assert "neurowall_bans 1.0" in daemon.ask("GET", "/metrics").text
    until(lambda: bool(daemon.get("/bans/history")["bans"]))
    (past,) = daemon.get("/bans/history")["bans"]
    assert (past["entry"], past["kind"], past["limit"], past["by"]) == (client, "limit", "greedy", "daemon")
    daemon.kill()
    daemon.start()
    assert banned(daemon) == [client]
    before = daemon.packets("banned")
    with chain.client.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        anything.sendto(b"x", (chain.server_if.v4, PORT))
    until(lambda: daemon.packets("banned") > before)
    answer = daemon.post("unblock", client)
    assert [each["outcome"] for each in answer["addresses"]] == ["removed"]
    assert banned(daemon) == []
    until(lambda: daemon.get("/bans/history")["bans"][0]["ended_by"] == "uid:0 root")
    assert daemon.get(f"/explain/{client}")["verdict"] == "pass"
    time.sleep(1)  # the budget is used up
    with connection(chain) as sending:
        sending.sendall(b"again")


def test_a_ban_ends_by_itself(daemon: Daemon, chain: Chain) -> None:
    """After ban_ttl packets pass again, and the entry is taken out."""
    daemon.ok("apply", "-", stdin=POLICY + BANNING.replace("TTL", "2s"))
    time.sleep(1)
    with connection(chain) as sending:
        exceed(sending)
    until(lambda: banned(daemon) == [chain.client_if.v4])
    until(lambda: "neurowall_bans 0.0" in daemon.ask("GET", "/metrics").text, 6)
    assert banned(daemon) == []
    with connection(chain) as sending:
        sending.sendall(b"again")
