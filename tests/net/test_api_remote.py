# SPDX-License-Identifier: Apache-2.0
"""Operators elsewhere: TLS, tokens, streams, certificates and logs, with the real daemon."""

import json
import logging
import signal
import ssl
import threading
import time

import httpx
import pytest

from bench.testbed.chain import Chain
from tests.net.conftest import MakeDaemon
from tests.net.daemon import until
from tests.net.probes import Probes
from tests.net.remote import GATEWAY, PORT, Remote
from tests.tls import make_pair

pytestmark = [pytest.mark.root, pytest.mark.tool("openssl")]

log = logging.getLogger(__name__)

BANNED, OTHER = "203.0.113.7", "203.0.113.8"


@pytest.fixture
def remote(make_daemon: MakeDaemon, chain: Chain) -> Remote:
    """A daemon with TLS, not started yet."""
    return Remote(make_daemon(), chain)


def test_bans_over_a_kept_connection(remote: Remote, probes: Probes) -> None:
    """They are in force with the answer, soon; audit and history have them."""
    remote.start()
    _, text = remote.token("read", "rules:write")
    seconds = []
    with remote.client(text) as client:
        client.get("/status")
        for number in range(100):
            begun = time.perf_counter()
            address = f"198.51.100.{number}"
            answer = client.post("/block", json={"addresses": [address]})
            seconds.append(time.perf_counter() - begun)
            assert answer.status_code == 200, answer.text
        assert client.post("/block", json={"addresses": [BANNED]}).status_code == 200
    assert probes.arrived(BANNED, OTHER) == {OTHER}
    seconds.sort()
    p50, p99 = seconds[50] * 1000, seconds[98] * 1000
    log.info("ban over kept-alive HTTPS: p50 %.1f ms, p99 %.1f ms", p50, p99)
    assert p50 < 2000  # the bench has the bar
    until(lambda: len(remote.daemon.get("/bans/history?limit=1000")["bans"]) == 101)
    assert remote.daemon.get("/audit/verify")["ok"]


def test_a_revoked_token_ends_at_once(remote: Remote) -> None:
    """On the connection that it opened, and the stream that it follows."""
    remote.start()
    identifier, text = remote.token()
    ended = threading.Event()
    opened = threading.Event()

    def follow() -> None:
        with remote.client(text) as client, client.stream("GET", "/events") as stream:
            for _ in stream.iter_lines():
                opened.set()
        ended.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert opened.wait(10)
    with remote.client(text) as client:
        assert client.get("/status").status_code == 200
        assert remote.daemon.ask("DELETE", f"/tokens/{identifier}").status_code == 200
        begun = time.monotonic()
        assert client.get("/status").status_code == 401
    assert ended.wait(5)
    log.info("the stream ended %.2f s after the token", time.monotonic() - begun)
    thread.join()


def test_an_expired_token_ends_too(remote: Remote) -> None:
    """By the clock, without anybody asking."""
    remote.start()
    _, text = remote.token(expires="2s")
    with remote.client(text) as client, client.stream("GET", "/events") as stream:
        begun = time.monotonic()
        for _ in stream.iter_lines():
            pass
    assert time.monotonic() - begun < 8


def test_tokens_outlive_the_daemon(remote: Remote) -> None:
    """Also one that is killed; what was revoked stays so."""
    remote.start()
    _, good = remote.token()
    identifier, bad = remote.token()
    remote.daemon.ask("DELETE", f"/tokens/{identifier}")
    remote.daemon.kill()
    remote.start()
    with remote.client() as client:
        assert client.get("/status", headers={"x-api-key": good}).status_code == 200
        assert client.get("/status", headers={"x-api-key": bad}).status_code == 401


def test_a_renewed_certificate(remote: Remote) -> None:
    """SIGHUP; one that cannot be used changes nothing, and the status says so."""
    remote.start()
    process = remote.daemon.process
    assert process
    renewed = make_pair(remote.daemon.directory, "new", GATEWAY)
    remote.pair.certificate.write_text("no certificate")
    process.signal(signal.SIGHUP)
    until(lambda: any("certificate" in each for each in remote.daemon.get("/status")["warnings"]))
    with remote.client() as client:
        assert client.get("/liveness").status_code == 200
    renewed.certificate.replace(remote.pair.certificate)
    renewed.key.replace(remote.pair.key)
    process.signal(signal.SIGHUP)
    remote.daemon.wait_for("certificate reloaded")
    until(lambda: remote.daemon.get("/status")["warnings"] == [])
    with pytest.raises(httpx.ConnectError), remote.client() as client:
        client.get("/liveness")
    remote.trust = ssl.create_default_context(cafile=str(remote.pair.certificate))
    with remote.client() as client:
        assert client.get("/liveness").status_code == 200


def test_logs_as_json_name_the_request(remote: Remote) -> None:
    """Each line of the daemon is an object; a change says who made it."""
    remote.start("--log-format", "json")
    identifier, text = remote.token("rules:write")
    with remote.client(text) as client:
        client.post("/block", json={"addresses": [BANNED]}, headers={"x-request-id": "ticket-1"})
    assert remote.daemon.stop() == 0
    lines = [json.loads(line) for line in remote.daemon.log().splitlines()]
    (line,) = [each for each in lines if each["request_id"] == "ticket-1"]
    assert line["actor"].startswith(f"token:{identifier} ")
    assert "block of 1" in line["message"]
    assert text.rpartition("_")[2] not in remote.daemon.log()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--listen", f"{GATEWAY}:{PORT}"), "--tls-cert"),
        (("--listen", "0.0.0.0:8443", "--tls-cert", "/nowhere.crt"), "belong together"),
        (("--listen", "0.0.0.0:8443", "--tls-cert", "/nowhere.crt", "--tls-key", "/nowhere.key"), "PEM"),
        (("--listen", "8443"), "expected ADDRESS:PORT"),
        (("--log-format", "xml"), "text or json"),
    ],
)
def test_what_it_does_not_start_with(remote: Remote, options: tuple[str, ...], said: str) -> None:
    """A usage error before anything is enforced."""
    failed = remote.daemon.fails(*options)
    assert failed.returncode == 2, failed.stderr
    assert said in failed.stderr


def test_plain_http_on_loopback_needs_a_token_too(remote: Remote, chain: Chain) -> None:
    """For an SSH tunnel: whoever has an account on the gateway is nobody without one."""
    remote.daemon.start("--listen", "127.0.0.1:8080")
    _, text = remote.token()
    with chain.gateway.enter(), httpx.Client(base_url="http://127.0.0.1:8080") as client:
        assert client.get("/status").status_code == 401
        assert client.get("/readiness").json()["ready"] is True
        assert client.get("/status", headers={"authorization": f"Bearer {text}"}).status_code == 200
