# SPDX-License-Identifier: Apache-2.0
"""An operator elsewhere, against a server of the test's own: what is asked, checked and refused."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from bench.operations import asking, https
from bench.operations.asking import Reader
from bench.operations.https import PAGES, Certificate, Console, Remote, make_certificate
from bench.operations.site import SiteError
from bench.sut.base import SutError

pytestmark = pytest.mark.tool("openssl")

HERE = "127.0.0.1"


class Answering(BaseHTTPRequestHandler):
    """Keeps who asked for what over which connection; a path may be refused or be slow."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, str | None, int]]
    refused: dict[str, int]
    slow: dict[str, float]

    def do_GET(self) -> None:
        """Events without end, else something empty."""
        self._note()
        time.sleep(self.slow.get(self.path, 0))
        if self.path != "/events":
            self._answer()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"event: drop\ndata: {}\n\n")
        self.rfile.read(1)  # until the client goes
        self.close_connection = True

    def do_POST(self) -> None:
        """One change."""
        self.rfile.read(int(self.headers["content-length"]))
        self._note()
        self._answer()

    def _note(self) -> None:
        asked = (self.command, self.path, self.headers["authorization"], self.client_address[1])
        self.seen.append(asked)

    def _answer(self) -> None:
        self.send_response(self.refused.get(self.path, 200))
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Place:
    """A namespace: this one. How often it was entered."""

    def __init__(self) -> None:
        self.entered = 0

    def enter(self) -> AbstractContextManager[None]:
        """As a namespace."""
        self.entered += 1
        return nullcontext()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for the server's address."""
    return make_certificate(tmp_path_factory.mktemp("tls"), HERE)


@pytest.fixture
def server(pair: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answering]]:
    """Answers at https.PORT, which is a free one."""
    handler = type("Handler", (Answering,), {"seen": [], "refused": {}, "slow": {}})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with ThreadingHTTPServer((HERE, 0), handler) as listening:
        listening.daemon_threads = True
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        monkeypatch.setattr(https, "PORT", listening.server_address[1])
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield handler
        listening.shutdown()
        thread.join()


@pytest.fixture
def place() -> Place:
    """Where the client is."""
    return Place()


@pytest.fixture
def remote(pair: Certificate, server: type[Answering], place: Place) -> Iterator[Remote]:
    """A client."""
    made = Remote(cast("Any", place), HERE, pair.certificate, "nw_a_b")
    yield made
    made.close()


def test_one_connection_carries_everything_with_the_token(
    remote: Remote, server: type[Answering], place: Place
) -> None:
    """Kept alive, and made in the namespace, as is each request: it may have to be made again."""
    remote.get("/status")
    remote.change("block", ["192.0.2.1"])
    remote.change("unblock", ["192.0.2.1"])
    assert [asked[:3] for asked in server.seen] == [
        ("GET", "/status", "Bearer nw_a_b"),
        ("POST", "/block", "Bearer nw_a_b"),
        ("POST", "/unblock", "Bearer nw_a_b"),
    ]
    assert len({asked[3] for asked in server.seen}) == 1
    assert place.entered == 3


def test_what_is_refused_is_an_error(remote: Remote, server: type[Answering]) -> None:
    """A refusal answered quickly is no fast answer."""
    server.refused["/status"] = 401
    with pytest.raises(SutError, match="GET /status said 401"):
        remote.get("/status")
    server.refused["/events"] = 403
    server.refused["/block"] = 503
    with pytest.raises(SutError, match="POST /block said 503"):
        remote.change("block", ["192.0.2.1"])


def test_another_certificate_is_not_trusted(server: type[Answering], place: Place, tmp_path: Path) -> None:
    """Nor the same one for another name."""
    other = make_certificate(tmp_path, HERE)
    stranger = Remote(cast("Any", place), HERE, other.certificate, "nw_a_b")
    with pytest.raises(httpx.ConnectError, match="certificate"):
        stranger.get("/status")
    stranger.close()
    assert server.seen == []


def test_a_console_follows_and_asks(
    pair: Certificate, remote: Remote, server: type[Answering], place: Place
) -> None:
    """Over two connections, until it is closed; every page at least once."""
    follows = Remote(cast("Any", place), HERE, pair.certificate, "nw_a_b")
    console = Console(remote, follows)
    with console.open():
        deadline = time.monotonic() + 10
        while console.answers < len(PAGES) and time.monotonic() < deadline:
            time.sleep(0.01)
    follows.close()
    assert {asked[1] for asked in server.seen} == {*PAGES, "/events", "/console/"}
    assert len({asked[3] for asked in server.seen}) == 2


def test_a_console_that_is_refused_is_an_error(
    pair: Certificate, remote: Remote, server: type[Answering], place: Place
) -> None:
    """Else an idle daemon would be weighed."""
    server.refused[PAGES[0]] = 429
    follows = Remote(cast("Any", place), HERE, pair.certificate, "nw_a_b")
    with pytest.raises(SutError, match="said 429"), Console(remote, follows).open():
        time.sleep(0.2)
    follows.close()


def test_who_had_to_wait_for_a_slow_answer_has_waited(remote: Remote, server: type[Answering]) -> None:
    """Reads are due at a rate: one slow answer is a long wait for those behind it too."""
    server.slow[PAGES[0]] = 0.3
    with Reader(remote, 50) as reader:
        time.sleep(0.6)
    taken = reader.taken()
    assert taken[0] > 300
    assert taken[1] > 250
    assert [asked[1] for asked in server.seen[: len(PAGES)]] == list(PAGES)


def test_a_reader_without_an_answer_is_an_error(remote: Remote, server: type[Answering]) -> None:
    """There is nothing to judge."""
    server.refused[PAGES[0]] = 500
    with Reader(remote, 50) as reader:
        time.sleep(0.2)
    with pytest.raises(SutError, match="said 500"):
        reader.taken()


def test_a_scrape_must_show_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of all lists, and a row for each rule."""
    rules = type("Rules", (), {"entries": range(5), "book": type("Book", (), {"rules": (1, 2)})})
    site = cast("Any", type("Site", (), {"rules": rules}))
    entries = (
        'neurowall_list_entries{family="4",list="a"} 3.0\nneurowall_list_entries{family="6",list="a"} 2.0\n'
    )
    rows = "".join(f'neurowall_rule_packets_total{{kind="rule",rule="{n}"}} 0.0\n' for n in range(2))
    asking.prove(site, entries + rows)
    with pytest.raises(SiteError, match="1 rules of 2"):
        asking.prove(site, entries + rows.partition("\n")[0] + "\n")
    with pytest.raises(SiteError, match="3 entries of 5"):
        asking.prove(site, entries.partition("\n")[0] + "\n" + rows)
