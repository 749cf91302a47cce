# SPDX-License-Identifier: Apache-2.0
"""The CLI's side of the API: HTTP over a unix socket or TLS, errors as CommandError."""

import json
import ssl
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from neurowall.management.cli.failures import Refused, not_reached
from neurowall.management.cli.target import Target, Terms
from neurowall.management.errors import CommandError, UsageProblem

__all__ = ["Client", "Refused"]

PAGE = 1000  # items asked for at once; every route that pages gives so many
APPLY_TIMEOUT = 600.0  # seconds; a million entries take seconds, a loaded machine longer
AGAIN_AFTER = 0.5  # seconds; a daemon that is replaced is back about then
STILL_AT_IT = 20  # times that a repeated request waits so long for the first one to be through
_STREAM = httpx.Timeout(5.0, read=60.0)  # the daemon sends something every 15 s
_UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout)
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)  # it may have been carried out

Json = dict[str, Any]
_Send = Callable[[], httpx.Response]


class Client:
    """A kept-alive connection to one daemon. Use as a context manager.

    Every method returns the decoded JSON body. Raises Unreachable when no daemon answers, Refused when it
    answers with a problem. *terms* hold for each change. A request whose connection breaks before the answer
    is sent once more, with the same key: a change is made once.
    """

    def __init__(self, target: Target, terms: Terms | None = None, timeout: float | None = None) -> None:
        self._target = target
        self._terms = terms or Terms()
        limits = httpx.Timeout(timeout or APPLY_TIMEOUT, connect=5.0)
        if target.url is None:
            # There is no TLS here, and a context for it takes 20 ms.
            transport = httpx.HTTPTransport(uds=str(target.instance.socket), verify=False)
            self._http = httpx.Client(transport=transport, base_url="http://neurowall", timeout=limits)
        else:
            self._http = httpx.Client(
                base_url=target.url,
                headers={"authorization": f"Bearer {target.token()}"},
                verify=_trust(target) if target.url.startswith("https:") else False,
                trust_env=False,  # no ~/.netrc in place of the token, no proxy between
                timeout=limits,
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

    def text(self, *path: str) -> str:
        """GET what is no JSON."""
        return self._send("GET", path, {}).text

    def pages(self, *path: str, items: str, limit: int, after: str | None, **query: str | None) -> Json:
        """GET as many pages as *limit* items take, as one answer: its `next` goes on after them."""
        answer = self.get(*path, limit=min(limit, PAGE), after=after, **query)
        while answer.get("next") is not None and (wanted := limit - len(answer[items])) > 0:
            more = self.get(*path, limit=min(wanted, PAGE), after=str(answer["next"]), **query)
            answer = answer | more | {items: answer[items] + more[items]}
        return answer

    def post(self, *path: str, json: Json | None = None) -> Json:
        """POST a JSON body."""
        return self._change("POST", path, {}, json=json)

    def apply(self, policy: bytes, file: str, session: str | None, **query: str | bool | None) -> Json:
        """POST a policy with the name of its file; *session*: the SSH connection that must survive."""
        headers = {"content-type": "application/yaml", "x-policy-file": quote(file)} | _spared(session)
        return self._change("POST", ("policy", "apply"), query, content=policy, headers=headers)

    def rollback(self, generation: int | None, session: str | None, **query: str | bool | None) -> Json:
        """POST the wish for an earlier policy."""
        body = {"generation": generation}
        return self._change("POST", ("policy", "rollback"), query, json=body, headers=_spared(session))

    def put(self, *path: str, content: bytes, **query: str | bool | None) -> Json:
        """PUT a list as text."""
        headers = {"content-type": "text/plain; charset=utf-8"}
        return self._change("PUT", path, query, content=content, headers=headers)

    def patch(self, *path: str, json: Json) -> Json:
        """PATCH with a JSON body."""
        return self._change("PATCH", path, {}, json=json)

    def delete(self, *path: str) -> Json:
        """DELETE."""
        return self._change("DELETE", path, {})

    def follow(self, *path: str, **query: str | None) -> Iterator[tuple[str, Json]]:
        """GET server-sent events: the type and the data of each message, until the daemon ends them."""
        url, params = _url(path, query)
        try:
            with self._http.stream("GET", url, params=params, timeout=_STREAM) as answer:
                if not answer.is_success:
                    answer.read()
                    raise Refused(answer.status_code, _problem(answer), answer.headers)
                yield from _messages(answer.iter_lines())
        except _UNREACHED as error:
            raise not_reached(self._target, error) from error
        except httpx.TransportError as error:
            raise CommandError(f"the daemon went away ({type(error).__name__}: {error})") from error
        raise CommandError("the daemon ended this: it is going down, or the token is not valid any more")

    def _change(
        self,
        method: str,
        path: Iterable[str],
        query: dict[str, Any],
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> Json:
        """A request that changes something, under the terms of this client."""
        terms, extra = self._terms, dict(headers or {})
        if terms.if_match is not None:
            extra["if-match"] = f'"{terms.if_match}"'
        if terms.dry_run:
            query = query | {"dry_run": True}
        else:
            extra["idempotency-key"] = terms.key or uuid.uuid4().hex
        return self._call(method, path, query, headers=extra, **body)

    def _call(self, method: str, path: Iterable[str], query: dict[str, Any], **body: Any) -> Json:
        return self._decoded(self._send(method, path, query, **body))

    def _send(self, method: str, path: Iterable[str], query: dict[str, Any], **body: Any) -> httpx.Response:
        """The answer of a success."""
        url, params = _url(path, query)

        def send() -> httpx.Response:
            return self._http.request(method, url, params=params, **body)

        try:
            answer = send()
        except _UNREACHED as error:
            raise not_reached(self._target, error) from error
        except _BROKEN as error:
            answer = self._again(send, error)
        except httpx.TransportError as error:
            raise _went_away(error) from error
        if answer.is_success:
            return answer
        raise Refused(answer.status_code, _problem(answer), answer.headers)

    def _again(self, send: _Send, first: httpx.TransportError) -> httpx.Response:
        """Send a request once more whose connection broke before the answer."""
        for _ in range(STILL_AT_IT):
            time.sleep(AGAIN_AFTER)
            try:
                answer = send()
            except httpx.TransportError:
                raise _went_away(first) from first
            if answer.status_code != httpx.codes.CONFLICT or not _is_under_way(answer):
                break
        return answer

    def _decoded(self, answer: httpx.Response) -> Json:
        try:
            return dict(answer.json())
        except (ValueError, TypeError) as error:
            raise CommandError(f"what answers at {self._target.name} is no Neurowall") from error


def _trust(target: Target) -> ssl.SSLContext:
    """Whose certificates are trusted. Raises UsageProblem for a file that holds none."""
    try:
        return ssl.create_default_context(cafile=target.ca)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageProblem(f"cannot use --ca {target.ca}: {why}") from error


def _went_away(error: Exception) -> CommandError:
    return CommandError(
        f"the daemon went away while it was answering ({type(error).__name__}: {error}); "
        "`neurowall status` says what is in force"
    )


def _is_under_way(answer: httpx.Response) -> bool:
    """Whether the first one of two requests with the same key is still being carried out."""
    return str(_problem(answer).get("type")).endswith(":idempotency-in-progress")


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
