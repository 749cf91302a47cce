# SPDX-License-Identifier: Apache-2.0
"""Connections of honest people, that must live through whatever is done to the gateway.

with Idle(site, ...) as session, Bulk(site, ...) as transfer:
    attack()
    assert session.lives() and transfer.lives()
"""

import re
import selectors
import socket
import time
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from threading import Event, Thread
from typing import Self

from bench.testbed.namespace import Namespace
from tests.net.daemon import until

BEAT = 0.2  # seconds between two messages of a session
PATIENCE = 3.0  # seconds in which a beat or more bytes must come: more than two retransmissions
_MESSAGE = b"ls -l\n"
_RATE = "20M"  # bits per second: enough to be hurt, and it leaves the machine to others
_INTERVAL = re.compile(r"\]\s+[\d.]+-[\d.]+\s+sec\s+([\d.]+) \w*Bytes")


def family_of(address: str) -> socket.AddressFamily:
    """Of sockets for that address."""
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET


class Echo:
    """Answers what it is sent, on as many connections as there are, until closed."""

    def __init__(self, place: Namespace, address: str, port: int) -> None:
        with place.enter():
            self._listener = socket.create_server((address, port), family=family_of(address))
        self._stop = Event()
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as waiting, ExitStack() as stack:
            waiting.register(self._listener, selectors.EVENT_READ)
            while not self._stop.is_set():
                for key, _ in waiting.select(0.1):
                    if key.fileobj is self._listener:
                        connection = stack.enter_context(self._listener.accept()[0])
                        waiting.register(connection, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket) and not _echoed(key.fileobj):
                        waiting.unregister(key.fileobj)
                        key.fileobj.close()


def _echoed(connection: socket.socket) -> bool:
    """Send back what came; false at the end."""
    with suppress(OSError):
        said = connection.recv(4096)
        connection.sendall(said)
        return bool(said)
    return False


class Idle:
    """A session in which a word is said now and then, and answered: SSH with somebody who thinks."""

    def __init__(self, place: Namespace, source: str, target: tuple[str, int], beat: float = BEAT) -> None:
        with place.enter():
            self.socket = socket.socket(family_of(source))
        self.socket.settimeout(PATIENCE)
        self.socket.bind((source, 0))
        self.socket.connect(target)
        self.port, self.target_port = int(self.socket.getsockname()[1]), target[1]
        self.beats, self.worst, self.error = 0, 0.0, ""
        self._beat = beat
        self._stop = Event()
        self._thread = Thread(target=self._talk)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.socket.close()

    def _talk(self) -> None:
        try:
            while not self._stop.wait(self._beat):
                begun = time.monotonic()
                self.socket.sendall(_MESSAGE)
                got = b""
                while len(got) < len(_MESSAGE):
                    piece = self.socket.recv(len(_MESSAGE) - len(got))
                    if not piece:
                        raise ConnectionResetError("the peer says that it is over")
                    got += piece
                self.worst = max(self.worst, time.monotonic() - begun)
                self.beats += 1
        except OSError as error:
            self.error = repr(error)

    def lives(self) -> bool:
        """Whether two more words are answered from now on."""
        due, deadline = self.beats + 2, time.monotonic() + PATIENCE
        while self.beats < due and not self.error and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.beats >= due and not self.error


class Bulk:
    """An iperf3 transfer without end, counted where it arrives."""

    def __init__(self, client: Namespace, server: Namespace, target: str, port: int) -> None:
        here = ("-p", str(port), "-i", "0.1", "--forceflush")
        self._server = server.spawn(("iperf3", "-s", "-B", target, *here), name="iperf3-server")
        until(lambda: "Server listening" in self._server.tail(), PATIENCE)
        argv = ("iperf3", "-c", target, "-t", "0", "-b", _RATE, *here)
        self._client = client.spawn(argv, name="iperf3-client")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._client, self._server):
            process.kill()

    def _moved(self) -> int:
        """Tenths of a second in which something arrived."""
        return sum(float(amount) > 0 for amount in _INTERVAL.findall(self._server.log.read_text()))

    def lives(self) -> bool:
        """Whether bytes arrive from now on."""
        due, deadline = self._moved() + 3, time.monotonic() + PATIENCE
        while self._moved() < due and self._client.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self._moved() >= due and self._client.alive()
