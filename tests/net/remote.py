# SPDX-License-Identifier: Apache-2.0
"""The daemon's listener for operators, and clients in the network who use and abuse it."""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.testbed.chain import CLIENT, Chain
from tests.net.daemon import Daemon
from tests.tls import Pair, make_pair

GATEWAY = CLIENT.peer_v4
PORT = 8443


class Remote:
    """One daemon that listens on the gateway's address, seen from the client's namespace."""

    def __init__(self, daemon: Daemon, chain: Chain) -> None:
        self.daemon, self._chain = daemon, chain
        self.pair: Pair = make_pair(daemon.directory, "gw", GATEWAY)
        self.trust = ssl.create_default_context(cafile=str(self.pair.certificate))

    def start(self, *more: str) -> None:
        """Start the daemon."""
        files = ("--tls-cert", str(self.pair.certificate), "--tls-key", str(self.pair.key))
        self.daemon.start("--listen", f"{GATEWAY}:{PORT}", *files, *more)

    def token(self, *scopes: str, **more: Any) -> tuple[str, str]:
        """A new token of root's: its id and its text."""
        body = {"name": f"t{time.monotonic_ns()}", "scopes": scopes or ("read",), **more}
        answer = self.daemon.ask("POST", "/tokens", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"], answer.json()["token"]

    @contextlib.contextmanager
    def client(self, text: str = "", **more: Any) -> Iterator[httpx.Client]:
        """A client whose connection is kept. Its connections begin in the block's own thread."""
        headers = {"authorization": f"Bearer {text}"} if text else {}
        url = f"https://{GATEWAY}:{PORT}"
        with (
            self._chain.client.enter(),
            httpx.Client(base_url=url, verify=self.trust, headers=headers, timeout=20, **more) as client,
        ):
            yield client

    def connect(self) -> socket.socket:
        """A TCP connection and nothing more."""
        with self._chain.client.enter():
            return socket.create_connection((GATEWAY, PORT), timeout=10)

    def connect_tls(self) -> ssl.SSLSocket:
        """One whose handshake is done."""
        return self.trust.wrap_socket(self.connect(), server_hostname=GATEWAY)

    @property
    def resident(self) -> float:
        """MiB that the daemon has in memory."""
        assert self.daemon.process
        text = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        found = re.search(r"^RssAnon:\s*(\d+) kB$", text, re.MULTILINE)
        assert found
        return int(found[1]) / 1024

    def local_seconds(self) -> float:
        """How long the unix socket takes for an answer; the worst of some."""
        worst = 0.0
        for _ in range(10):
            begun = time.monotonic()
            assert self.daemon.ask("GET", "/status").status_code == 200
            worst = max(worst, time.monotonic() - begun)
        return worst


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not ended it."""
    connection.settimeout(0.01)
    try:
        return connection.recv(1) != b""
    except (TimeoutError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
