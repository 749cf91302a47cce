# SPDX-License-Identifier: Apache-2.0
"""A real daemon against requests made of the API's description, over its socket and over TLS.

No answer is a server error, none has a status, a type or a shape that is not described, and whoever has no
token, or one that may only read, changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.management.api.openapi.document import published
from neurowall.management.api.openapi.operations import OPERATIONS
from tests.net import apifuzz
from tests.net.conftest import daemons
from tests.net.daemon import Daemon
from tests.tls import Pair, make_pair

pytestmark = [pytest.mark.root, pytest.mark.tool("openssl")]

POLICY = """\
interfaces:
  - {name: g0, zone: external}
  - {name: g1, zone: internal}
lists:
  - {name: declared, verdict: block, entries: [203.0.113.0/24, "2001:db8:bad::/48"]}
limits:
  - {name: syn, key: source, match: tcp-syn, packets_per_second: 1000, action: drop}
rules:
  - {name: web, from: external, to: gateway, protocol: tcp, ports: 443, action: accept}
nat:
  masquerade: [{from: internal, to: external}]
  port_forwards: [{name: mail, from: external, protocol: tcp, ports: 25, to: 10.2.0.2}]
"""
WORSE = POLICY.replace("443", "8443")
URL = "https://127.0.0.1:8443"
EXAMPLES = 8  # an operation and a listener
LONG = 1_500
ASKED = sorted(OPERATIONS.keys() - {apifuzz.UNENDING})
RARE = (  # what takes more luck than a few requests have
    "DELETE /lists/{name}",
    "DELETE /tokens/{identifier}",
    "POST /policy/confirm",
)
OPEN = ("GET /health", "GET /liveness", "GET /readiness")


@dataclass(frozen=True)
class Served:
    """A daemon, and a token of its database that may only read."""

    daemon: Daemon
    chain: Chain
    pair: Pair
    reader: str

    @contextmanager
    def session(self, token: str | None = None) -> Iterator[requests.Session]:
        """Somebody beyond the box, in the namespace where the listener is."""
        with requests.Session() as session, self.chain.gateway.enter():
            session.trust_env = False
            session.verify = str(self.pair.certificate)
            if token:
                session.headers["authorization"] = f"Bearer {token}"
            yield session

    @contextmanager
    def local(self) -> Iterator[requests.Session]:
        """Root, through the unix socket."""
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", apifuzz.UnixAdapter(str(self.daemon.socket)))
            yield session


@pytest.fixture(scope="module")
def served(run: Run, chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for the whole file, with something of everything."""
    pair = make_pair(tmp_path_factory.mktemp("tls"))
    with daemons(run, chain) as make:
        daemon = make(POLICY)
        daemon.start(
            "--listen",
            URL.removeprefix("https://"),
            "--tls-cert",
            str(pair.certificate),
            "--tls-key",
            str(pair.key),
        )
        daemon.put("feed", "198.51.100.0/24\n192.0.2.7\n")
        daemon.post("block", "203.0.113.9", "2001:db8:1::/48")
        daemon.ask("POST", "/allow", json={"addresses": ["192.0.2.77"], "ttl": "1h"})
        daemon.ask("POST", "/policy/apply", content=WORSE)
        made = daemon.ask("POST", "/tokens", json={"name": "reader", "scopes": ["read"]})
        reader = made.json()["token"]
        served = Served(daemon, chain, pair, reader)
        yield served
        assert daemon.process
        assert daemon.process.alive(), daemon.log()
        assert "Traceback" not in daemon.log()
        assert daemon.ask("GET", "/readiness").status_code == 200, daemon.log()


@pytest.fixture(scope="module")
def schema() -> Any:
    """The description."""
    return apifuzz.described()


def _fuzz(schema: Any, key: str, examples: int, url: str, session: requests.Session) -> set[int]:
    """Statuses of the answers to so many requests; raises at the first that is not as described."""
    seen = set[int]()

    @given(case=apifuzz.cases(schema, key), policy=st.sampled_from((POLICY, WORSE)))
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),  # to shrink a failure takes minutes, and says no more
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def tries(case: Any, policy: str) -> None:
        if key == "POST /policy/apply" and case.body == OPERATIONS[key].example:
            case.body = policy  # whose interfaces there are
        seen.add(apifuzz.ask(case, url, session))

    tries()
    return seen


class TestFuzz:
    @pytest.mark.parametrize("key", ASKED)
    def test_over_the_socket(self, served: Served, schema: Any, key: str) -> None:
        """As root: everything may be done, and nothing breaks it."""
        with served.local() as session:
            seen = _fuzz(schema, key, EXAMPLES, "http://neurowall", session)
        assert 200 in seen or key in RARE, seen

    @pytest.mark.parametrize("key", ASKED)
    def test_over_tls_with_a_token_that_may_only_read(self, served: Served, schema: Any, key: str) -> None:
        """None of its changes is made."""
        with served.session(served.reader) as session:
            seen = _fuzz(schema, key, EXAMPLES // 2, URL, session)
        if not key.startswith("GET"):
            assert 200 not in seen

    @pytest.mark.soak
    @pytest.mark.parametrize("key", ASKED)
    def test_for_long(self, served: Served, schema: Any, key: str) -> None:
        """Many more of them."""
        with served.local() as session:
            assert _fuzz(schema, key, LONG, "http://neurowall", session)


class TestAuthentication:
    @pytest.mark.parametrize("key", ASKED)
    def test_whoever_has_no_token_is_refused(self, served: Served, schema: Any, key: str) -> None:
        """On every route but the probes."""
        with served.session() as session:
            seen = _fuzz(schema, key, 2, URL, session)
        assert seen <= ({200, 422} if key in OPEN else {401, 429})

    def test_the_description_says_which_routes_are_open(self) -> None:
        """Those and no others need nothing."""
        document = published()
        free = [key for key in OPERATIONS if not _operation(document, key)["security"]]
        assert sorted(free) == sorted(OPEN)

    @pytest.mark.parametrize("key", [key for key in ASKED if not key.startswith("GET")])
    def test_reading_is_no_leave_to_write(self, served: Served, key: str) -> None:
        """The example of the description itself is refused, by the scope."""
        method, path = key.split(" ")
        operation = OPERATIONS[key]
        path = path.format_map({"name": "feed", "identifier": "abcdefghijkl"})
        body: dict[str, Any] = {"json": operation.example} if operation.example is not None else {}
        if operation.text:
            body = {"data": operation.example}
        with served.session(served.reader) as session:
            answer = session.request(method, URL + path, timeout=10, **body)
        assert answer.status_code == 403, answer.text
        assert answer.json()["type"] == "urn:neurowall:problem:insufficient-scope"


def _operation(document: Any, key: str) -> Any:
    method, path = key.split(" ")
    return document["paths"][path][method.lower()]


class TestEvents:
    def test_a_stream_begins_as_described(self, served: Served) -> None:
        """Its type, and its first line."""
        with (
            served.session(served.reader) as session,
            session.get(f"{URL}/events", stream=True, timeout=10) as answer,
        ):
            assert answer.status_code == 200
            assert answer.headers["content-type"].split(";")[0] == "text/event-stream"
            assert next(answer.iter_lines()) == b": open"

    def test_a_wrong_filter_is_described(self, served: Served) -> None:
        """A problem, not a stream."""
        with served.session(served.reader) as session:
            answer = session.get(f"{URL}/events?reason=bad-luck", timeout=10)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
