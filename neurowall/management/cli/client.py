# SPDX-License-Identifier: Apache-2.0
"""The CLI's side of the API: HTTP over the instance's unix socket, errors as CommandError."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from neurowall.management.errors import CommandError, ExitCode, Unreachable

APPLY_TIMEOUT = 600.0  # seconds; a million entries take seconds, a loaded machine longer
SHOWN_ERRORS = 20
_STREAM = httpx.Timeout(5.0, read=60.0)  # the daemon sends something every 15 s

Json = dict[str, Any]


class Refused(CommandError):
    """The daemon answered with a problem (RFC 9457); nothing was changed."""

    def __init__(self, status: int, problem: Json) -> None:
        message = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        super().__init__(message, _details(message, problem))
        self.status = status
        self.problem = problem
        # 400 and 422 speak of the caller's input; all others of the daemon's state.
        self.exit_code = ExitCode.USAGE if status in (400, 422) else ExitCode.FAILED


def _details(message: str, problem: Json) -> tuple[str, ...]:
    """What is wrong with the input, a line each, unless *message* says all of it already."""
    errors = problem.get("errors") or []
    count = int(problem.get("error_count") or len(errors))
    if not any(error.get("line") for error in errors) and all(error["why"] in message for error in errors):
        return ()
    shown = [_line(error) for error in errors[:SHOWN_ERRORS]]
    return (*shown, f"... and {count - len(shown):,} more") if count > len(shown) else tuple(shown)


def _line(error: Json) -> str:
    where = f"line {error['line']}: " if error.get("line") else ""
    text = f"{error['text']!r}: " if error.get("text") else ""
    return f"{where}{text}{error.get('why', '')}"


class Client:
    """A kept-alive connection to one daemon. Use as a context manager.

    Every method returns the decoded JSON body. Raises Unreachable when no daemon answers on the
    socket, Refused when it answers with a problem.
    """

    def __init__(self, socket: Path, instance: str) -> None:
        self._socket = socket
        self._instance = instance
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)),
            base_url="http://neurowall",
            timeout=httpx.Timeout(APPLY_TIMEOUT, connect=5.0),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, *path: str, **query: str | int | None) -> Json:
        """GET a path given in parts, which are quoted here; a query value of None is left out."""
        return self._call("GET", path, query)

    def post(self, *path: str, json: Json | None = None) -> Json:
        """POST a JSON body."""
        return self._call("POST", path, {}, json=json)

    def apply(self, policy: bytes, file: str, session: str | None, **query: str | bool | None) -> Json:
        """POST a policy with the name of its file; *session*: the SSH connection that must survive."""
        headers = {"content-type": "application/yaml", "x-policy-file": quote(file)} | _spared(session)
        return self._call("POST", ("policy", "apply"), query, content=policy, headers=headers)

    def rollback(self, generation: int | None, session: str | None, **query: str | bool | None) -> Json:
        """POST the wish for an earlier policy."""
        body = {"generation": generation}
        return self._call("POST", ("policy", "rollback"), query, json=body, headers=_spared(session))

    def put(self, *path: str, content: bytes, **query: str | bool | None) -> Json:
        """PUT a list as text."""
        headers = {"content-type": "text/plain; charset=utf-8"}
        return self._call("PUT", path, query, content=content, headers=headers)

    def patch(self, *path: str, json: Json) -> Json:
        """PATCH with a JSON body."""
        return self._call("PATCH", path, {}, json=json)

    def delete(self, *path: str) -> Json:
        """DELETE."""
        return self._call("DELETE", path, {})

    def follow(self, *path: str, **query: str | None) -> Iterator[tuple[str, Json]]:
        """GET server-sent events: the type and the data of each message, until the daemon ends them."""
        url, params = _url(path, query)
        try:
            with self._http.stream("GET", url, params=params, timeout=_STREAM) as answer:
                if not answer.is_success:
                    answer.read()
                    raise Refused(answer.status_code, _problem(answer))
                yield from _messages(answer.iter_lines())
        except httpx.ConnectError as error:
            raise self._unreachable(error) from error
        except httpx.TransportError as error:
            raise CommandError(f"the daemon went away ({type(error).__name__}: {error})") from error
        raise CommandError("the daemon ends; follow again when it is back")

    def _call(self, method: str, path: Iterable[str], query: dict[str, Any], **body: Any) -> Json:
        url, params = _url(path, query)
        try:
            answer = self._http.request(method, url, params=params, **body)
        except httpx.ConnectError as error:
            raise self._unreachable(error) from error
        except httpx.TransportError as error:
            raise CommandError(
                f"the daemon went away while it was answering ({type(error).__name__}: {error}); "
                "`neurowall status` says what is in force"
            ) from error
        if answer.is_success:
            return dict(answer.json())
        raise Refused(answer.status_code, _problem(answer))

    def _unreachable(self, error: Exception) -> Unreachable:
        if "Permission denied" in str(error):
            return Unreachable(
                f"no permission to use {self._socket}; run this as root or as a member of group 'neurowall'"
            )
        return Unreachable(
            f"no daemon answers on {self._socket}; start one with `neurowall run --config FILE --instance "
            f"{self._instance}`, or name another with --instance or --run-dir"
        )


def _url(path: Iterable[str], query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path, its parts quoted, and the query values that are given."""
    url = "/" + "/".join(quote(part, safe="") for part in path)
    return url, {name: value for name, value in query.items() if value is not None}


def _messages(lines: Iterable[str]) -> Iterator[tuple[str, Json]]:
    """Type and data of each message of a text/event-stream; comments are passed over."""
    kind = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            kind = value
        elif field == "data":
            yield kind, json.loads(value)


def _spared(session: str | None) -> dict[str, str]:
    """The header that names the caller's own SSH connection."""
    return {"x-session": session} if session else {}


def _problem(answer: httpx.Response) -> Json:
    """The problem document of a failed answer; made up from the status if the body is something else."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        return problem
    return {"title": f"HTTP {answer.status_code}", "detail": answer.text}
