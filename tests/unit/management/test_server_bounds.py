# SPDX-License-Identifier: Apache-2.0
"""What one connection, and all of them together, may take: real sockets, with shorter patience."""

import asyncio
import json
import logging
import os
import socket
import ssl
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, StreamingResponse

from neurowall.management.api import acceptor, problems, protocol, server, sockets
from neurowall.management.api.acceptor import Bounds
from neurowall.management.api.server import Listener
from neurowall.management.api.tls import Certificate
from neurowall.management.errors import UsageProblem
from tests.tls import Pair, make_pair

BOUNDS = Bounds(connections=6, of_source=4)


def make_app() -> FastAPI:
    """Something to ask."""
    app = FastAPI()
    problems.install(app)

    @app.get("/peer")
    async def peer(request: Request) -> str:
        return str(getattr(request.state, "peer", None))

    @app.get("/client")
    async def client(request: Request) -> str:
        assert request.client
        return request.client.host

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    @app.post("/unread")
    async def unread() -> str:
        return "no"

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def text() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)

        return StreamingResponse(text())

    @app.get("/long")
    async def long() -> PlainTextResponse:
        return PlainTextResponse("x" * (8 << 20))

    return app


@dataclass
class Served:
    """A server in a thread."""

    port: int
    path: Path

    def connect(self) -> socket.socket:
        """A connection over TCP."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def get(self, path: str, **more: object) -> httpx.Response:
        """One answer over TCP."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10, **more)  # type: ignore[arg-type]


@contextmanager
def serving(tmp_path: Path, certificate: Certificate | None = None) -> Iterator[Served]:
    """The application on a unix socket and on TCP."""
    app, path = make_app(), tmp_path / "api.sock"
    remote, local = sockets.api_socket("127.0.0.1:0", encrypted=True), sockets.unix_socket(path)
    listeners = [Listener(app, local), Listener(app, remote, BOUNDS, certificate)]
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(server.run(listeners, stop, verbose=False),)
    )
    port = remote.getsockname()[1]
    thread.start()
    try:
        yield Served(port, path)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Without TLS, and not patient."""
    for name in ("HEADER_SECONDS", "BODY_SECONDS", "WRITE_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(protocol, name, 0.5)
    monkeypatch.setattr(server, "_DRAIN_SECONDS", 2)
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A certificate."""
    return make_pair(tmp_path)


def ends(connection: socket.socket, seconds: float = 5.0) -> bytes:
    """What comes until the other side ends the connection, which it must in that time."""
    begun, got = time.monotonic(), b""
    connection.settimeout(seconds)
    with suppress(ConnectionResetError):
        while data := connection.recv(65536):
            got += data
    assert time.monotonic() - begun < seconds
    return got


def until(connection: socket.socket, text: bytes) -> bytes:
    """What comes, to the end of *text*: headers and body may come apart."""
    got = b""
    while not got.endswith(text):
        data = connection.recv(4096)
        assert data
        got += data
    return got


def test_the_kernel_says_who_is_at_the_unix_socket(served: Served) -> None:
    """Over TCP nobody does."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(served.path))) as client:
        said = client.get("http://neurowall/peer").json()
    assert said.split()[0] == f"uid:{os.geteuid()}"
    assert served.get("/peer").json() == "None"


def test_answers_do_not_wait_for_acknowledgements(served: Served) -> None:
    """Head and body are sent apart: without TCP_NODELAY each answer took 40 ms."""
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}") as client:
        seconds = []
        for _ in range(20):
            begun = time.monotonic()
            client.get("/peer")
            seconds.append(time.monotonic() - begun)
    assert sorted(seconds)[10] < 0.03


def test_forwarded_for_is_not_believed(served: Served) -> None:
    """A client cannot choose its source."""
    assert served.get("/client", headers={"x-forwarded-for": "192.0.2.99"}).json() == "127.0.0.1"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8080", "[::1]", "192.0.2.1:80"]
)
def test_addresses_and_localhost_are_answered(served: Served, host: str) -> None:
    """An SSH tunnel has a port of its own."""
    assert served.get("/peer", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["rebound.example", "rebound.example:8080", "localhost.rebound.example", "127.0.0.1.nip.io", "2130706433",
     "127.0.0.1:1:1", "[::1", "::1", "[127.0.0.1]", "localhost.", "user@127.0.0.1", "", "127.0.0.1:"],
)  # fmt: skip
def test_names_are_not_answered_without_tls(served: Served, host: str) -> None:
    """A page whose name was made to point here gets a problem, whatever it asks for."""
    answer = served.get("/peer", headers={"host": host})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:neurowall:problem:misdirected-request"
    assert answer.headers["x-request-id"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("sent", [b"", b"GET /peer HT", b"GET /peer HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_slow_headers_end(served: Served, sent: bytes) -> None:
    """Also if another byte comes now and then."""
    with served.connect() as connection:
        connection.sendall(sent)
        begun = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - begun < 5:
                if sent:
                    connection.sendall(b"x")
                connection.settimeout(0.2)
                with suppress(TimeoutError):
                    if connection.recv(100) == b"":
                        break
        assert 0.4 < time.monotonic() - begun < 4


def test_slow_headers_end_on_a_connection_that_is_kept(served: Served) -> None:
    """The second request has as long as the first, however long nothing was asked in between."""
    with served.connect() as connection:
        connection.sendall(b"GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert until(connection, b'"None"').startswith(b"HTTP/1.1 200")
        time.sleep(2.5)
        connection.sendall(b"GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert until(connection, b'"None"').startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET ")
        assert ends(connection) == b""


def test_a_body_that_stops_coming_ends(served: Served) -> None:
    """Half of what was announced, and then nothing."""
    with served.connect() as connection:
        connection.sendall(
            b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + b"x" * 50
        )
        assert b"200" not in ends(connection)


def test_a_body_that_comes_slowly_is_taken(served: Served) -> None:
    """As long as it comes."""
    with served.connect() as connection:
        connection.sendall(b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.25)
            connection.sendall(b"x")
        assert until(connection, b"10").startswith(b"HTTP/1.1 200")


def test_a_body_that_nobody_wants_ends(served: Served) -> None:
    """After the answer there is little patience, however quickly it comes."""
    with served.connect() as connection:
        connection.sendall(b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n")
        begun = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - begun < 5:
                connection.sendall(b"x" * 10000)
                time.sleep(0.01)
        assert time.monotonic() - begun < 4


@pytest.mark.parametrize("path", ["/endless", "/long"])
def test_who_does_not_read_is_left(served: Served, path: str) -> None:
    """His answer is given up, and his connection closed."""
    with served.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(2.5)
        assert len(ends(connection)) < 8 << 20


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /peer HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /peer HTTP/1.1\r\n\r\n",
        b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"GET /peer HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http(served: Served, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A problem document, and nothing in the log: strangers could fill it."""
    with caplog.at_level(logging.WARNING), served.connect() as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        got = ends(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["type"] == "urn:neurowall:problem:bad-request"
    assert caplog.records == []


def test_a_body_that_breaks_off_in_the_middle(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Chunks that are none, while a route reads them: the connection ends, the server goes on."""
    with caplog.at_level(logging.WARNING), served.connect() as connection:
        head = b"POST /size HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"5\r\nhello\r\nno\r\n")
        ends(connection)
    assert served.get("/peer").status_code == 200
    assert caplog.records == []


def test_no_more_connections_than_there_may_be(served: Served) -> None:
    """Not from one source either; a place that is given back is another's. The unix socket has its own."""
    held = [served.connect() for _ in range(4)]
    try:
        assert ends(served.connect()) == b""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(served.path))) as client:
            assert client.get("http://neurowall/peer").status_code == 200
        held.pop().close()
        deadline = time.monotonic() + 5
        while True:
            try:
                assert served.get("/peer").status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        for each in held:
            each.close()


class TestTls:
    def test_it_is_1_2_at_least(self, tmp_path: Path, pair: Pair) -> None:
        """And what is no TLS gets nothing."""
        with serving(tmp_path, Certificate(pair.certificate, pair.key)) as served:
            context = ssl.create_default_context(cafile=str(pair.certificate))
            answer = httpx.get(f"https://127.0.0.1:{served.port}/client", verify=context)
            assert answer.json() == "127.0.0.1"
            named = {"host": "gateway.example"}  # the certificate says who may be called what
            answer = httpx.get(f"https://127.0.0.1:{served.port}/client", verify=context, headers=named)
            assert answer.status_code == 200
            with served.connect() as connection:
                connection.sendall(b"GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"200" not in ends(connection)
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with served.connect() as connection, pytest.raises(ssl.SSLError):
                old.wrap_socket(connection)

    def test_handshakes_that_do_not_end_give_their_place_back(
        self, tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They count as connections, and end by themselves."""
        monkeypatch.setattr(acceptor, "HANDSHAKE_SECONDS", 0.5)
        with serving(tmp_path, Certificate(pair.certificate, pair.key)) as served:
            held = [served.connect() for _ in range(4)]
            assert ends(served.connect()) == b""
            for each in held:
                ends(each)
                each.close()
            context = ssl.create_default_context(cafile=str(pair.certificate))
            assert httpx.get(f"https://127.0.0.1:{served.port}/client", verify=context).status_code == 200

    def test_a_renewed_certificate_is_for_new_connections(self, tmp_path: Path, pair: Pair) -> None:
        """Connections that are open go on; a pair that does not fit changes nothing."""
        certificate = Certificate(pair.certificate, pair.key)
        before = ssl.create_default_context(cafile=str(pair.certificate))
        with (
            serving(tmp_path, certificate) as served,
            httpx.Client(base_url=f"https://127.0.0.1:{served.port}", verify=before) as client,
        ):
            assert client.get("/client").status_code == 200
            renewed = make_pair(tmp_path, "new")
            renewed.certificate.replace(pair.certificate)
            with pytest.raises(UsageProblem, match="key values mismatch"):
                certificate.reload()
            assert httpx.get(f"{client.base_url}/client", verify=before).status_code == 200
            renewed.key.replace(pair.key)
            certificate.reload()
            assert client.get("/client").status_code == 200
            after = ssl.create_default_context(cafile=str(pair.certificate))
            assert httpx.get(f"{client.base_url}/client", verify=after).status_code == 200
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{client.base_url}/client", verify=before)

    @pytest.mark.parametrize("broken", ["gone", "empty", "swapped"])
    def test_a_certificate_that_cannot_be_used(self, pair: Pair, broken: str) -> None:
        """The error names the options and what is wrong."""
        if broken == "gone":
            pair.key.unlink()
        elif broken == "empty":
            pair.certificate.write_text("")
        else:
            pair = Pair(pair.key, pair.certificate)
        with pytest.raises(UsageProblem, match=r"--tls-cert .*--tls-key .*PEM"):
            Certificate(pair.certificate, pair.key)


class TestListen:
    @pytest.mark.parametrize("address", ["0.0.0.0:8443", "192.0.2.1:8443", "[::]:8443"])
    def test_beyond_loopback_there_must_be_tls(self, address: str) -> None:
        """Tokens would be read on the way."""
        with pytest.raises(UsageProblem, match=r"not a loopback address.*--tls-cert"):
            sockets.api_socket(address, encrypted=False)

    @pytest.mark.parametrize("address", ["", "8443", "localhost:8443", "127.0.0.1:https"])
    def test_an_address_and_a_port(self, address: str) -> None:
        """The error shows what is expected."""
        with pytest.raises(UsageProblem, match=r"expected ADDRESS:PORT, such as 192\.0\.2\.1:8443"):
            sockets.api_socket(address, encrypted=True)

    def test_an_address_that_is_not_there_yet(self) -> None:
        """Interfaces may come later than the daemon."""
        sockets.api_socket("192.0.2.1:0", encrypted=True).close()

    def test_both_families_on_one_socket(self) -> None:
        """What has no address is for all."""
        with sockets.api_socket("[::]:0", encrypted=True) as listener:
            socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5).close()
