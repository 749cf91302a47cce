# SPDX-License-Identifier: Apache-2.0
"""An operator elsewhere: HTTPS with a token, over one connection that is kept alive."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from bench.operations.base import COMMAND_SECONDS, Verb
from bench.sut.base import SutError, excerpt

if TYPE_CHECKING:
    from pathlib import Path

    from bench.testbed.namespace import Namespace

PORT = 8443
SCOPES = ("read", "rules:write")
PAGES = ("/status", "/top?limit=20", "/bans?limit=100", "/lists", "/rules", "/policy/generations?limit=20")
"""What somebody who looks at a gateway asks for, as the console does; in turn."""
LOOK_SECONDS = 1.0
"""How often a console asks for one of them."""


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate that signs itself, and of its key."""

    certificate: Path
    key: Path


def available() -> str | None:
    """Why there can be no certificate here, or None."""
    return None if shutil.which("openssl") else "not installed: openssl, which makes the certificate"


def make_certificate(directory: Path, address: str) -> Certificate:
    """A new one for an address, of the kind that most have now: ECDSA on P-256. SutError if openssl fails."""
    made = Certificate(directory / "api.crt", directory / "api.key")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    argv += ["-days", "2", "-subj", "/CN=gateway", "-addext", f"subjectAltName=IP:{address}"]
    argv += ["-keyout", str(made.key), "-out", str(made.certificate)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SutError(f"openssl made no certificate: {excerpt(done.stderr)}")
    return made


class Remote:
    """A client in a namespace. Everything about the connection is checked as an operator's tool would."""

    def __init__(self, place: Namespace, address: str, certificate: Path, token: str) -> None:
        self._place = place
        self._client = httpx.Client(
            base_url=f"https://{address}:{PORT}",
            verify=ssl.create_default_context(cafile=str(certificate)),
            headers={"authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_connections=1),
            timeout=COMMAND_SECONDS,
            trust_env=False,
        )

    def get(self, path: str) -> httpx.Response:
        """One answer; SutError with what it said unless it is 200."""
        return self._asked("GET", path)

    def change(self, verb: Verb, addresses: Sequence[str]) -> None:
        """POST /block or /unblock."""
        self._asked("POST", f"/{verb}", json={"addresses": list(addresses)})

    @contextmanager
    def events(self) -> Iterator[list[str]]:
        """Follow the events for a while, in a thread; the list grows by each message's name."""
        with self._place.enter(), self._client.stream("GET", "/events") as answer:
            if answer.status_code != httpx.codes.OK:
                answer.read()
                raise SutError(f"GET /events said {answer.status_code}: {excerpt(answer.text)}")
            names: list[str] = []
            thread = threading.Thread(target=_follow, args=(answer, names), name="events")
            thread.start()
            try:
                yield names
            finally:
                # Whoever reads sees the end; closing alone would leave it waiting.
                answer.extensions["network_stream"].get_extra_info("socket").shutdown(2)
                thread.join()

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        # A connection that was lost is made again, and must not be made from somewhere else.
        with self._place.enter():
            answer = self._client.request(method, path, **more)
        if answer.status_code != httpx.codes.OK:
            raise SutError(f"{method} {path} said {answer.status_code}: {excerpt(answer.text)}")
        return answer


def _follow(answer: httpx.Response, names: list[str]) -> None:
    try:
        names.extend(line for line in answer.iter_lines() if line.startswith("event:"))
    except httpx.HTTPError:  # the end, in the middle of a chunk
        return


class Console:
    """A browser with the console open: it follows events over one connection and asks over another."""

    def __init__(self, asks: Remote, follows: Remote) -> None:
        self._asks, self._follows = asks, follows
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self.answers = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Until the block ends; raises what it was refused."""
        self._asks.get("/console/")
        thread = threading.Thread(target=self._look, name="console")
        with self._follows.events():
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
        if self._error is not None:
            raise self._error

    def _look(self) -> None:
        try:
            while True:
                for page in PAGES:
                    json.loads(self._asks.get(page).content)
                    self.answers += 1
                if self._stop.wait(LOOK_SECONDS):
                    return
        except (SutError, httpx.HTTPError, OSError, ValueError) as error:
            self._error = error
