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

NAMES = ("feed", "declared", "operator-block", "operator-block-timed", "fuzz", "fuzz-2")
ADDRESSES = ("203.0.113.7", "198.51.100.0/24", "2001:db8:bad::/48", "192.0.2.10", "10.0.0.0/8", "::1", "no")
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
    """The API's description as schemathesis reads it."""
    load_all_checks()
    return schemathesis.openapi.from_dict(published())


def cases(schema: Any, key: str) -> st.SearchStrategy[Any]:
    """Requests of one operation, such as `PUT /lists/{name}`: half of them as described, half not quite.

    Names and addresses that exist are rarely found by chance, so they are put into some.
    """
    method, path = key.split(" ")
    operation = schema[path][method]
    found = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in _BOTH))
    return st.builds(_likelier, found, st.sampled_from((None, *NAMES)), st.lists(st.sampled_from(ADDRESSES)))


def _likelier(case: Any, name: str | None, addresses: list[str]) -> Any:
    if name and "name" in (case.path_parameters or {}):
        case.path_parameters["name"] = name
    if addresses and isinstance(case.body, dict) and isinstance(case.body.get("addresses"), list):
        case.body["addresses"] = addresses
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
    answer = case.call(base_url=url, session=session, timeout=SECONDS, verify=session.verify)
    case.validate_response(answer, checks=checks())
    return int(answer.status_code)
