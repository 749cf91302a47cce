# SPDX-License-Identifier: Apache-2.0
"""A server that answers as it is told: for what a healthy daemon never does, such as hanging up."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer, TCPServer, ThreadingMixIn, UnixStreamServer
from typing import Any

from tests.unit.management.certificates import Certificate

HANG_UP = None


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: dict[str, Any]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What was received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def problem(status: int, kind: str, detail: str, **headers: str) -> Answer:
    """A problem document as the daemon sends it."""
    body = {"type": f"urn:neurowall:problem:{kind}", "title": kind, "status": status, "detail": detail}
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


class Script:
    """Answers in their order, and what they were asked."""

    def __init__(self, *answers: Answer | None) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.url = ""


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append(Asked(self.command, self.path, headers, body))
            answer = script.answers.pop(0)
            if answer is HANG_UP:
                self.close_connection = True
                return
            text = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


class _Tcp(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: Any) -> None:
        """A client that trusts nobody hangs up: that is what is tested."""


class _Unix(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


@contextmanager
def on_socket(path: Path, *answers: Answer | None) -> Iterator[Script]:
    """Answers on a unix socket."""
    path.parent.mkdir(parents=True, exist_ok=True)
    script = Script(*answers)
    with _Unix(str(path), _handler(script)) as server, _serving(server):
        yield script


@contextmanager
def by_tls(
    certificate: Certificate | None, *answers: Answer | None, most: ssl.TLSVersion | None = None
) -> Iterator[Script]:
    """Answers on loopback, by TLS if there is a certificate; *most*: no newer version than this."""
    script = Script(*answers)
    with _Tcp(("127.0.0.1", 0), _handler(script)) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.cert, certificate.key)
            if most:
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = most
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if certificate else "http"
        script.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        with _serving(server):
            yield script


@contextmanager
def _serving(server: BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(10)
