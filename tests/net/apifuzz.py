# SPDX-License-Identifier: Apache-2.0
"""Requests made of the API's description, sent to a real daemon, and its answers held against it."""

import socket
from collections.abc import Callable
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from schemathesis.checks import CHECKS, load_all_checks, not_a_server_error
from schemathesis.generation import GenerationMode
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from neurowall.management.api.openapi.document import published
from neurowall.management.api.openapi.operations import OPERATIONS

NAMES = ("declared", "declared", "operator-block", "operator-allow-timed", "feed", "fuzz")
PACKET = "tcp 203.0.113.7:4711 -> 192.0.2.10:443 via g0"
ADDRESSES = ("203.0.113.7", "198.51.100.0/24", "2001:db8:bad::/48", "192.0.2.10", "10.0.0.0/8", "::1")
UNENDING = "GET /events"  # what is asked by itself
_BOTH = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
SECONDS = 30


class UnixAdapter(HTTPAdapter):
    """requests over a unix socket."""

    def __init__(self, path: str) -> None:
        self._pool = _UnixPool(path)
        super().__init__()

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        """The one pool, whatever the URL says."""
        return self._pool


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("neurowall", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


class _UnixPool(HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("neurowall")
        self._path = path

    def _new_conn(self) -> Any:
        return _UnixConnection(self._path)


def described() -> Any:
    """The API's description as schemathesis reads it.

    Not what it says of tokens: they would be guessed, and most requests end at that.
    """
    load_all_checks()
    document = published()
    del document["components"]["securitySchemes"]
    for item in document["paths"].values():
        for operation in item.values():
            del operation["security"]
    return schemathesis.openapi.from_dict(document)


def cases(schema: Any, key: str) -> st.SearchStrategy[Any]:
    """Requests of one operation, such as `PUT /lists/{name}`: half of them as described, half not quite.

    What exists, and fits what is in force, is rarely found by chance, so it is put into some.
    """
    method, path = key.split(" ")
    operation = schema[path][method]
    found = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in _BOTH))
    addresses = st.lists(st.sampled_from(ADDRESSES), max_size=5)
    return st.builds(_likelier, st.just(key), found, st.sampled_from(NAMES), addresses, st.integers(0, 3))


def _likelier(key: str, case: Any, name: str, addresses: list[str], luck: int) -> Any:
    """The request as it is, or one that may well succeed."""
    if not luck:
        return case
    parameters = case.path_parameters or {}
    likely = {"name": name, "address": ADDRESSES[0]}
    parameters |= {each: likely[each] for each in likely.keys() & parameters.keys()}
    case.headers = {}  # terms that nothing fits
    if luck > 1:
        known = (dict(OPERATIONS[key].parameters) | {"packet": PACKET}).items()
        tries = {"dry_run": "true"} if luck == 3 and not key.startswith("GET") else {}
        case.query = tries | {name: value for name, value in known if name in (case.query or {})}
    if "addresses" in (OPERATIONS[key].example or ()):
        case.body = {"addresses": addresses}
    elif luck > 1 and (OPERATIONS[key].text or key.startswith("PATCH")):
        case.body = OPERATIONS[key].example
    return case


def checks(*names: str) -> list[Callable[..., Any]]:
    """The checks of schemathesis that an answer must pass."""
    wanted = (
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        *names,
    )
    return [not_a_server_error, *CHECKS.get_by_names(wanted)]


def ask(case: Any, url: str, session: requests.Session) -> int:
    """Send it, judge the answer, and tell its status. Raises what schemathesis raises."""
    # schemathesis would write a policy as one string of YAML.
    is_text = case.media_type == "application/yaml" and isinstance(case.body, str)
    raw = {"data": case.body.encode()} if is_text else {}
    answer = case.call(base_url=url, session=session, timeout=SECONDS, verify=session.verify, **raw)
    case.validate_response(answer, checks=checks())
    return int(answer.status_code)
