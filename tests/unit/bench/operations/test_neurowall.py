# SPDX-License-Identifier: Apache-2.0
"""Policies as Neurowall's operator sends them: what goes over the socket, and what becomes of the answer."""

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.operations.base import Policed
from bench.operations.neurowall import OperatedNeurowall
from bench.rulebook import Size, make
from bench.sut.base import Rules, RulesetRejected
from bench.sut.neurowall import INSTANCE, policy_text
from neurowall.model.entries import EntrySet
from neurowall.model.policy import load_policy

CHAIN = cast(
    "Any", SimpleNamespace(gateway_in=SimpleNamespace(name="g0"), gateway_out=SimpleNamespace(name="g1"))
)
BOOK = make(Size(40), 1)


class Answering(BaseHTTPRequestHandler):
    """Keeps every request, and answers as told."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str | None, str]]
    status = 200

    def do_POST(self) -> None:
        """One request."""
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.seen.append((self.path, self.headers["x-policy-file"], body))
        self.send_response(self.status)
        text = b'{"title": "rules[3]: no such set"}' if self.status >= 400 else b"{}"
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self) -> str:
        """A unix socket has none."""
        return "local"

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def daemon() -> Iterator[tuple[OperatedNeurowall, type[Answering]]]:
    """An operated system whose daemon is a stub on a unix socket."""
    handler = type("Handler", (Answering,), {"seen": [], "status": 200})
    with TemporaryDirectory(prefix="nw-") as name:
        directory = Path(name)
        (directory / INSTANCE).mkdir()
        operated = OperatedNeurowall()
        operated._chain = CHAIN
        argv = ["neurowall", "--run-dir", name, "run"]
        operated._daemon = cast("Any", SimpleNamespace(argv=argv))
        with socketserver.UnixStreamServer(str(directory / INSTANCE / "api.sock"), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield operated, handler
            operated.close()
            server.shutdown()
            thread.join()


def test_a_policy_is_posted_as_the_file_that_the_daemon_began_with(
    daemon: tuple[OperatedNeurowall, type[Answering]],
) -> None:
    """Its text is the body, valid as it stands, with the name for messages; the connection is kept."""
    operated, handler = daemon
    assert isinstance(operated, Policed)
    for _ in range(2):
        operated.put(BOOK)
    (path, name, body), again = handler.seen
    assert path == "/policy/apply"
    assert name == str(operated.directory / "policy.yaml")
    assert body == again[2]
    policy = load_policy(body, "policy.yaml")
    assert [rule.name for rule in policy.rules or ()] == [rule.name for rule in BOOK.rules]


def test_a_refused_policy_is_told_with_the_answer(
    daemon: tuple[OperatedNeurowall, type[Answering]],
) -> None:
    """A figure of a policy that was not applied would be worth nothing."""
    operated, handler = daemon
    handler.status = 422
    with pytest.raises(RulesetRejected, match=r"422: .*no such set"):
        operated.put(BOOK)


def test_the_policy_file_has_zones_where_there_are_rules() -> None:
    """From the client's interface to the server's; without a word on rules it is as ever."""
    text = policy_text("buckets", CHAIN, Rules(EntrySet.empty(), book=BOOK))
    policy = load_policy(text, "policy.yaml")
    assert {each.name: each.zone for each in policy.interfaces} == {"g0": "external", "g1": "internal"}
    assert len(policy.rules or ()) == 40
    none = load_policy(
        policy_text("classic", CHAIN, Rules(EntrySet.empty(), book=make(Size(0), 1))), "p.yaml"
    )
    assert not none.filters
    assert len(none.interfaces) == 2
    plain = load_policy(policy_text("buckets", CHAIN, Rules(EntrySet.empty())), "p.yaml")
    assert [each.name for each in plain.interfaces] == ["g0"]
