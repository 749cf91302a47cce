# SPDX-License-Identifier: Apache-2.0
"""The daemon answers while it works."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

from tests.net.conftest import MakeDaemon
from tests.net.daemon import POLICY, Daemon

pytestmark = pytest.mark.root

ENTRIES = 600_000
LEAST_ANSWERS = 10  # of each kind while one list is applied


def hosts(seed: int) -> str:
    """A list of ENTRIES lines."""
    values = np.random.default_rng(seed).integers(1 << 24, 0xE0000000, ENTRIES, dtype=np.uint32)
    octets = np.ascontiguousarray(values.astype(">u4")).view(np.uint8).reshape(-1, 4).tolist()
    return "".join(f"{a}.{b}.{c}.{d}\n" for a, b, c, d in octets)


@contextmanager
def connection(daemon: Daemon) -> Iterator[httpx.Client]:
    """Kept alive, so that only the daemon's time is seen, and patient."""
    transport = httpx.HTTPTransport(uds=str(daemon.socket))
    with httpx.Client(transport=transport, base_url="http://neurowall", timeout=300) as client:
        yield client


def put(daemon: Daemon, text: str) -> httpx.Response:
    """Load the list."""
    with connection(daemon) as client:
        return client.put("/lists/feed", content=text)


def waits_during(daemon: Daemon, path: str, text: str) -> tuple[httpx.Response, float, list[float]]:
    """Load a list and ask all the while: what became of the list, its seconds, and those of each answer."""
    waits = []
    with connection(daemon) as client, ThreadPoolExecutor(1) as background:
        begun = time.monotonic()
        change = background.submit(put, daemon, text)
        while not change.done():
            asked = time.monotonic()
            client.get(path).raise_for_status()
            waits.append(time.monotonic() - asked)
        return change.result(), time.monotonic() - begun, waits


@pytest.mark.parametrize("path", ["/liveness", "/status"])
@pytest.mark.parametrize("capacity", ["", "capacity: {hosts4: 1000}\n"], ids=["fits", "grows"])
def test_questions_do_not_wait_for_a_large_list(make_daemon: MakeDaemon, path: str, capacity: str) -> None:
    """None takes as long as half of the change; one that waited for it would take all that is left of it."""
    daemon = make_daemon(POLICY + capacity)
    daemon.start()
    answer, seconds, waits = waits_during(daemon, path, hosts(1))
    assert answer.json()["added"] > ENTRIES * 0.99  # a few were drawn twice
    assert len(waits) >= LEAST_ANSWERS
    assert max(waits) < seconds / 2


def test_questions_do_not_wait_for_a_list_of_garbage(daemon: Daemon) -> None:
    """Each refused line takes far longer than one that is an entry."""
    answer, seconds, waits = waits_during(daemon, "/status", "example.org\n" * 1_000_000)
    assert answer.status_code == 422
    assert answer.json()["error_count"] == 1_000_000
    assert len(waits) >= LEAST_ANSWERS
    assert max(waits) < seconds / 2


def test_an_exit_during_a_change_is_clean(daemon: Daemon) -> None:
    """The list is in force as a whole after the next start, or not at all."""
    with ThreadPoolExecutor(1) as background:
        change = background.submit(put, daemon, hosts(2))
        time.sleep(0.5)  # into the change on a quiet machine; anywhere is right
        assert daemon.stop() == 0
        assert change.exception() or change.result().status_code in (200, 422)
    assert "Traceback" not in daemon.log()
    daemon.start()
    sizes = {each["name"]: each["entries"]["4"] for each in daemon.get("/lists")["lists"]}
    assert sizes.get("feed", 0) == 0 or sizes["feed"] > ENTRIES * 0.99
