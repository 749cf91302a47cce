# SPDX-License-Identifier: Apache-2.0
"""What strangers and careless clients send to the listener: memory stays bounded, and everything goes on.

"Everything" is the unix socket, which answers, and the data plane, which drops whom it is told to.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from tests.net.conftest import daemons
from tests.net.daemon import until
from tests.net.probes import Probes
from tests.net.remote import Remote, is_open

pytestmark = [pytest.mark.root, pytest.mark.tool("openssl")]

log = logging.getLogger(__name__)

BANNED, OTHER = "203.0.113.7", "203.0.113.8"
PATIENCE = 2.0  # seconds that the unix socket may take on a machine that others use too


@pytest.fixture(scope="module")
def remote(run: Run, chain: Chain) -> Iterator[Remote]:
    """A daemon with TLS, and one source banned."""
    with daemons(run, chain) as make:
        remote = Remote(make(), chain)
        remote.start()
        remote.daemon.post("block", BANNED)
        yield remote


@contextlib.contextmanager
def all_goes_on(remote: Remote, probes: Probes, mib: float) -> Iterator[None]:
    """While and after: answers, enforcement, and no more than so many MiB more in memory."""
    remote.local_seconds()
    before = remote.resident
    yield
    assert remote.local_seconds() < PATIENCE
    assert probes.arrived(BANNED, OTHER) == {OTHER}
    grown = remote.resident - before
    log.info("resident: %.1f MiB before, %+.1f", before, grown)
    assert grown < mib


def test_500_connections(remote: Remote, probes: Probes) -> None:
    """64 of a source are taken, with TLS or without; others are closed at once, and places come back."""
    held: list[socket.socket] = []
    try:
        with all_goes_on(remote, probes, 24):
            held.extend(remote.connect_tls() for _ in range(60))
            held.extend(remote.connect() for _ in range(440))
            until(lambda: sum(map(is_open, held)) <= 64)
            assert remote.local_seconds() < PATIENCE
    finally:
        for each in held:
            each.close()
    with remote.client(remote.token()[1]) as client:
        until(lambda: _answers(client))


def test_500_connections_to_the_unix_socket(remote: Remote, probes: Probes) -> None:
    """As many as there may be; when they go, it answers again, and the listener did all the time."""
    _, text = remote.token()
    held = []
    before = remote.resident
    try:
        for _ in range(500):
            connection = socket.socket(socket.AF_UNIX)  # it blocks while the backlog is full
            connection.connect(str(remote.daemon.socket))
            held.append(connection)
        with remote.client(text) as client:
            assert client.get("/status").status_code == 200
        assert remote.resident - before < 24
        assert probes.arrived(BANNED, OTHER) == {OTHER}
    finally:
        for each in held:
            each.close()
    until(lambda: remote.daemon.ask("GET", "/liveness").status_code == 200)


def test_handshakes_and_headers_that_do_not_end(remote: Remote, probes: Probes) -> None:
    """Half a ClientHello, half a request: each is given up, and meanwhile all goes on."""
    held: list[socket.socket] = []
    try:
        with all_goes_on(remote, probes, 24):
            for number in range(60):
                if number % 2:
                    each: socket.socket = remote.connect()
                    each.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
                else:
                    each = remote.connect_tls()
                    each.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                held.append(each)
        until(lambda: not any(map(is_open, held)), 30)
    finally:
        for each in held:
            each.close()


def test_what_is_not_http(remote: Remote, probes: Probes) -> None:
    """Over TLS and instead of it; the log has not a line of it."""
    lines = remote.daemon.log().count("\n")
    with all_goes_on(remote, probes, 16):
        for text in (
            b"\0" * 5000,
            b"GET\r\n\r\n",
            b"\xff" * 100 + b"\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            for connect in (remote.connect, remote.connect_tls):
                for _ in range(10):
                    with contextlib.suppress(OSError), connect() as connection:
                        connection.sendall(text)
                        connection.recv(100)
    assert remote.daemon.log().count("\n") == lines


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_100_mb(remote: Remote, probes: Probes, chunked: bool) -> None:
    """Too large, declared or arriving; a stranger's is not even read."""
    _, writer = remote.token("rules:write")
    block = b"x" * (1 << 20)

    def body() -> Iterator[bytes]:
        for _ in range(100):
            yield block

    headers = {} if chunked else {"content-length": str(100 << 20)}
    with all_goes_on(remote, probes, 16):
        for text, method, path, status in (
            ("", "PUT", "/lists/x", 401),
            ("", "POST", "/block", 401),
            (writer, "POST", "/block", 413),
            (writer, "PUT", "/lists/x", 413),
        ):
            with remote.client(text) as client:
                try:
                    answer = client.request(method, path, content=body(), headers=headers)
                    assert answer.status_code == status
                except httpx.WriteError:
                    pass  # it was answered and closed while we went on sending
        before = remote.resident
        time.sleep(3)  # what it took for a moment is given back to the system some seconds later
        log.info("resident: %.1f MiB, and after a while %.1f", before, remote.resident)


def test_large_bodies_at_once(remote: Remote, probes: Probes) -> None:
    """Four of 60 MB: there is room for two."""
    _, writer = remote.token("rules:write")
    before, peak, answers = remote.resident, [0.0], []
    block = b"# " + b"x" * ((1 << 20) - 3) + b"\n"

    def send(number: int) -> None:
        with contextlib.suppress(httpx.TransportError), remote.client(writer) as client:
            answer = client.put(f"/lists/l{number}", content=(block for _ in range(60)))
            answers.append(answer.status_code)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        peak[0] = max(peak[0], remote.resident)
        time.sleep(0.05)
    log.info("peak %.0f MiB more, answers %s", peak[0] - before, sorted(answers))
    assert remote.local_seconds() < PATIENCE
    assert 503 in answers
    assert peak[0] - before < 420
    assert probes.arrived(BANNED, OTHER) == {OTHER}


def test_guessing_tokens(remote: Remote, probes: Probes) -> None:
    """Ten wrong ones, then one a second; log and audit tell of some; who has a good one goes on."""
    _, text = remote.token()
    statuses = []
    with all_goes_on(remote, probes, 16), remote.client() as client:
        for number in range(200):
            answer = client.get("/status", headers={"authorization": f"Bearer nw_{number:012}_{'x' * 43}"})
            statuses.append(answer.status_code)
        assert client.get("/status", headers={"authorization": f"Bearer {text}"}).status_code == 200
    assert statuses[:10] == [401] * 10
    assert statuses.count(429) > 150
    assert remote.daemon.log().count("authentication failed") < 40
    rows = remote.daemon.get("/audit?action=authentication-failed")["audit"]
    assert 0 < len(rows) <= 20
    assert rows[0]["source"] == "198.18.0.2"


def test_followers_that_do_not_read(remote: Remote, probes: Probes) -> None:
    """32 of them while events come: each has its bounded queue; the next one is told that they are many."""
    _, text = remote.token()
    request = f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {text}\r\n\r\n".encode()
    held = []
    try:
        with all_goes_on(remote, probes, 32):
            for _ in range(32):
                connection = remote.connect_tls()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(request)
                held.append(connection)
            until(lambda: "neurowall_event_subscribers 32.0" in remote.daemon.ask("GET", "/metrics").text)
            with remote.client(text) as client:
                assert client.get("/events").status_code == 503
            for _ in range(50):
                probes.sent(*[BANNED] * 20)
    finally:
        for each in held:
            each.close()
    until(lambda: "neurowall_event_subscribers 0.0" in remote.daemon.ask("GET", "/metrics").text)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/status").status_code == 200
    except httpx.TransportError:
        return False
