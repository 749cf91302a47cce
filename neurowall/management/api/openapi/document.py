# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document: FastAPI's, which knows requests, and `operations`, which knows answers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from neurowall.management.api.gate import OPEN
from neurowall.management.api.openapi import common
from neurowall.management.api.openapi.operations import OPERATIONS, PLAIN, Operation

if TYPE_CHECKING:
    from neurowall.logic.engine import Engine

Json = dict[str, Any]

DESCRIPTION = """\
The API of one Neurowall daemon, over its unix socket and, where it was told to listen, over TLS.

On the unix socket the kernel says who asks, and no token is needed. Elsewhere every route but the probes
needs a bearer token with the scope that it names. Without TLS every request whose Host is neither an IP
address nor localhost is answered with 421. Errors are RFC 9457 problems: test `type`, show `detail`.
Every answer carries `X-Request-ID`, which logs and the audit name too. Unknown parameters and members are
refused.
Pages: `limit` and `after`; `next` of a page is the `after` of the following one, null at the end.
Changes take `dry_run=true`: everything is checked and answered, and nothing is changed.
"""
TAGS = {
    "health": "Probes, open to everybody.",
    "state": "What is in force, and what it counted.",
    "events": "What happens.",
    "bans": "Single addresses, blocked or allowed.",
    "lists": "Lists of addresses.",
    "policy": "The declared policy and its generations.",
    "tokens": "Who may use the API.",
    "audit": "Who did what.",
}
WHY = {
    400: "The body cannot be read.",
    401: "No valid token.",
    403: "The token lacks the scope.",
    404: "There is no such thing.",
    409: "It conflicts with what is in force, or with a request under way.",
    412: "Another generation is in force than If-Match names.",
    413: "The body is too large.",
    422: "The request is wrong; `errors` says where.",
    429: "Too many failed attempts; Retry-After says how long.",
    500: "It failed, and nothing was changed, unless `detail` says otherwise.",
    501: "This kernel cannot do it.",
    503: "Not now.",
    507: "A kernel map is full.",
}
_AUTHENTICATION = (401, 403, 429)
_TERMS: dict[str, Json] = {
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        "description": "The same request with the same key within 24 hours gets the same answer, and "
        "`Idempotency-Replayed: true`; nothing is done a second time.",
    },
    "If-Match": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "example": '"12"',
        "description": "Only while the generation of this ETag is in force; else 412.",
    },
}
_HEADERS: Json = {
    "X-Request-ID": {
        "description": "The one that was sent, or a new one; logs and audit name it.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "ETag": {
        "description": "The generation in force, for If-Match.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
    },
    "Idempotency-Replayed": {
        "description": "`true`: the kept answer to an earlier request.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_PROBLEM = "application/problem+json"


def document(app: FastAPI) -> Json:
    """The whole of it."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    made.setdefault("components", {})["headers"] = _HEADERS
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    models: dict[str, type[BaseModel]] = {
        each.answer.__name__: each.answer
        for each in OPERATIONS.values()
        if not isinstance(each.answer, tuple)
    }
    ordered: list[type[BaseModel]] = [common.Problem, *(models[name] for name in sorted(models))]
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "serialization") for model in ordered]
    _, added = models_json_schema(inputs, ref_template="#/components/schemas/{model}")
    if both := schemas.keys() & added["$defs"].keys():
        raise ValueError(f"answers named like requests: {', '.join(sorted(both))}")
    made["components"]["schemas"] = dict(sorted({**schemas, **added["$defs"]}.items()))
    for key, route in routes_of(app):
        method, path = key.split(" ")
        _complete(made["paths"][path][method.lower()], route, OPERATIONS.get(key))
    made["paths"] = dict(sorted(made["paths"].items()))
    return made


def published() -> Json:
    """The document as it is without a daemon: that of docs/openapi.json."""
    from neurowall.management.api.answers import About
    from neurowall.management.api.app import create_app

    unasked = cast("Engine", None)
    return document(create_app(unasked, About("main", "0", {})))


def routes_of(app: FastAPI) -> Iterator[tuple[str, APIRoute]]:
    """Every route that is described, as `GET /lists/{name}`."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in sorted(route.methods or ()):
                yield f"{method} {route.path_format}", route


def _complete(described: Json, route: APIRoute, operation: Operation | None) -> None:
    """Say of one route what it answers."""
    is_open = route.path_format in OPEN
    described["operationId"] = route.name
    described["security"] = [] if is_open else described.get("security", [{"token": []}, {"apiKey": []}])
    described["tags"] = [operation.tag if operation else "state"]
    problems = {*(operation.problems if operation else PLAIN), *(() if is_open else _AUTHENTICATION)}
    # What changes is asked for under terms; what no generation holds, of tokens, under one of them.
    is_tagged, is_change = 412 in problems, "GET" not in (route.methods or ())
    headers = (*(("ETag",) if is_tagged else ()), *(("Idempotency-Replayed",) if is_change else ()))
    described["responses"] = {
        "200": _success(operation.answer if operation else None, headers),
        **{str(status): _problem(status) for status in sorted(problems)},
    }
    if is_change:
        terms = [_TERMS["Idempotency-Key"], *((_TERMS["If-Match"],) if is_tagged else ())]
        described.setdefault("parameters", []).extend(terms)
    if operation:
        _add_body(described, operation)
        for parameter in described.get("parameters", ()):
            if parameter["name"] in operation.parameters:
                parameter["example"] = operation.parameters[parameter["name"]]


def _success(answer: type[BaseModel] | tuple[str, ...] | None, more: tuple[str, ...]) -> Json:
    """What it answers, with *more* headers than every answer has."""
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *more)}
    made: Json = {"description": "It worked.", "headers": headers}
    if answer is None:
        return made | {"content": {"application/json": {"schema": {"type": "object"}}}}
    if isinstance(answer, tuple):
        return made | {"content": {media: {"schema": {"type": "string"}} for media in answer}}
    content: Json = {"schema": {"$ref": f"#/components/schemas/{answer.__name__}"}}
    if (example := common.example(answer)) is not None:
        content["example"] = example
    description = (answer.__doc__ or "").split("\n")[0]
    return made | {"description": description, "content": {"application/json": content}}


def _problem(status: int) -> Json:
    made: Json = {
        "description": WHY[status],
        "headers": {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}},
        "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        made["headers"]["Retry-After"] = {"schema": {"type": "integer"}, "description": "Seconds."}
    return made


def _add_body(described: Json, operation: Operation) -> None:
    """What the body is, where FastAPI does not know, and an example where it does."""
    if operation.text:
        content = {operation.text: {"schema": {"type": "string"}, "example": operation.example}}
        described["requestBody"] = {"required": True, "content": content}
    elif operation.example is not None:
        described["requestBody"]["content"]["application/json"]["example"] = operation.example
