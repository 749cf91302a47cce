# SPDX-License-Identifier: Apache-2.0
"""Errors of the HTTP API as RFC 9457 problem+json.

`type` is a stable URN a program may test; `detail` is a sentence for people that names the next step;
`errors` lists what is wrong with the input, the first SHOWN of `error_count`; `instance` names the request as
the log and the audit do.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from neurowall.logic.packettext import PacketInvalid
from neurowall.management.api.asked import asked
from neurowall.management.api.browsers import HEADERS
from neurowall.model.address import InvalidEntry
from neurowall.model.errors import (
    ApplyError,
    CapacityError,
    GenerationChanged,
    ListConflict,
    ListError,
    ListInvalid,
    ListMissing,
    LockOut,
    MapFull,
    NeurowallError,
    PendingError,
    PolicyError,
    Problem,
    RulesetError,
    StorageRefused,
    StorageUnavailable,
)

MEDIA_TYPE = "application/problem+json"
SHOWN = 100

log = logging.getLogger(__name__)

# The most specific class comes first: the first that matches answers.
_ANSWERS: tuple[tuple[type[Exception], tuple[int, str, str]], ...] = (
    (InvalidEntry, (422, "invalid-address", "Not an address or prefix")),
    (ListInvalid, (422, "invalid-list", "Entries that are not addresses")),
    (ListMissing, (404, "no-such-list", "No such list")),
    (ListConflict, (409, "list-conflict", "The list cannot be changed this way")),
    (ListError, (422, "list-refused", "Refused")),
    (PolicyError, (422, "invalid-policy", "The policy cannot be used")),
    (PacketInvalid, (422, "invalid-packet", "Not a packet")),
    (GenerationChanged, (412, "generation-changed", "Another generation is in force")),
    (LockOut, (409, "lock-out", "It would cut your own session")),
    (PendingError, (409, "pending", "Not while a policy waits, or does not wait, to be confirmed")),
    (CapacityError, (409, "capacity", "More than the configured capacity")),
    (MapFull, (507, "map-full", "A kernel map is full")),
    (RulesetError, (500, "nftables-failed", "nftables refused or failed")),
    (StorageUnavailable, (503, "storage-unavailable", "The database cannot be used now")),
    (StorageRefused, (409, "storage-refused", "The database keeps no more of these")),
    (ApplyError, (500, "apply-failed", "The kernel half of the change failed")),
    (NeurowallError, (500, "failed", "It failed")),
)


class ApiProblem(Exception):
    """Raise it in a request handler to answer with this problem."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.errors, self.more = status, kind, detail, errors, more
        self.headers = dict(headers or {})


def answer(
    status: int,
    kind: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, Any] | Problem] = (),
    **more: Any,
) -> JSONResponse:
    """A problem+json response."""
    body: dict[str, Any] = {
        "type": f"urn:neurowall:problem:{kind}",
        "title": title,
        "status": int(status),
        "detail": detail,
    }
    if now := asked():
        body["instance"] = f"urn:neurowall:request:{now.id}"
    if errors:
        body |= {"errors": [_plain(error) for error in errors[:SHOWN]], "error_count": len(errors)}
    return JSONResponse(body | more, status, media_type=MEDIA_TYPE)


def _plain(error: Mapping[str, Any] | Problem) -> dict[str, Any]:
    return asdict(error) if isinstance(error, Problem) else dict(error)


def install(app: FastAPI) -> None:
    """Make *app* answer every error with problem+json."""
    app.exception_handler(ApiProblem)(_raised)
    app.exception_handler(ClientDisconnect)(_gone)
    app.exception_handler(RequestValidationError)(_validation)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(NeurowallError)(_refused)
    app.exception_handler(InvalidEntry)(_refused)
    app.exception_handler(Exception)(_unexpected)


async def _raised(_request: Request, error: ApiProblem) -> Response:
    return answer_to(error)


async def _gone(_request: Request, _error: ClientDisconnect) -> Response:
    """He went away in the middle of his request: there is nobody to answer, and nothing to trace."""
    return Response(status_code=400)


def answer_to(error: ApiProblem) -> Response:
    """The response that *error* asks for."""
    title = HTTPStatus(error.status).phrase
    response = answer(error.status, error.kind, title, error.detail, error.errors, **error.more)
    response.headers.update(error.headers)
    return response


async def _validation(_request: Request, error: RequestValidationError) -> Response:
    """Wrong types, missing and unknown fields, and bodies that are no JSON."""
    errors = [{"field": _field(each), "why": _why(each)} for each in error.errors()]
    detail = "; ".join(f"{each['field']}: {each['why']}" for each in errors)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "Invalid request", detail, errors)


def _field(error: Mapping[str, Any]) -> str:
    """`addresses[0]`, `query.limit`: where in the request, the body unnamed."""
    place = ""
    location = error["loc"] if error["type"] != "json_invalid" else ("body",)
    for part in location[1:] if location[0] == "body" and len(location) > 1 else location:
        place += f"[{part}]" if isinstance(part, int) and place else f".{part}" if place else str(part)
    return place


def _why(error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"not valid JSON at character {error['loc'][-1]}: {error['ctx']['error']}"
    if error["type"] == "extra_forbidden":
        return "unknown field"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return str(error["msg"])


async def _http(request: Request, error: HTTPException) -> Response:
    title = HTTPStatus(error.status_code).phrase
    detail = str(error.detail)
    if detail == title:  # the framework's own: no such path, or not this method
        detail = f"{request.method} {request.url.path}: {title.lower()}; /openapi.json lists what there is"
    response = answer(error.status_code, title.lower().replace(" ", "-"), title, detail)
    response.headers.update(error.headers or {})
    return response


async def _refused(_request: Request, error: Exception) -> Response:
    """Whatever the engine refuses or fails to do."""
    error = _root(error)
    status, kind, title = next(rest for known, rest in _ANSWERS if isinstance(error, known))
    if isinstance(error, StorageUnavailable):  # the store has said so in the log, once
        response = answer(status, kind, title, str(error))
        response.headers["retry-after"] = "1"
        return response
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s: %s", kind, error, exc_info=error)
    if isinstance(error, PolicyError):
        return answer(status, kind, title, _said(error), [{"why": line} for line in error.lines])
    problems = error.problems if isinstance(error, ListError) else ()
    return answer(status, kind, title, str(error), problems, **_facts(error))


def _root(error: Exception) -> Exception:
    """What is to blame: a full map rather than the change that it ended."""
    is_full = isinstance(error, ApplyError) and error.reverted and isinstance(error.__cause__, MapFull)
    return error.__cause__ if is_full and isinstance(error.__cause__, Exception) else error


def status_of(error: Exception) -> int:
    """The status that an error is answered with."""
    if isinstance(error, ApiProblem):
        return error.status
    known = (rest[0] for known, rest in _ANSWERS if isinstance(_root(error), known))
    return next(known, int(HTTPStatus.INTERNAL_SERVER_ERROR))


def _said(error: PolicyError) -> str:
    """What is wrong with a policy if that is one line, else how many lines it takes."""
    what = error.lines[0] if len(error.lines) == 1 else f"{len(error.lines):,} problems"
    return f"the policy cannot be used: {what}"


def _facts(error: Exception) -> dict[str, Any]:
    match error:
        case CapacityError():
            facts = {"capacity": error.what, "limit": error.limit, "wanted": error.wanted}
            return facts | {"list": error.list_name}
        case GenerationChanged():
            return {"generation": error.generation}
        case MapFull():
            return {"capacity": error.what, "limit": error.limit}
        case RulesetError():
            return {"library": error.library}
        case ApplyError():
            return {"reverted": error.reverted}
        case _:
            return {}


async def _unexpected(_request: Request, error: Exception) -> Response:
    """A bug: say so without internals; the server logs the trace."""
    detail = (
        f"{type(error).__name__} in the daemon: its log has the details; "
        "`neurowall status` says what is in force"
    )
    response = answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    response.headers.update({**HEADERS, "cache-control": "no-store"})  # made outside of every middleware
    return response
