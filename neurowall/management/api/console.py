# SPDX-License-Identifier: Apache-2.0
"""The web console: a page, its style and its scripts, as they lie in the package.

The files are open to whoever reaches the listener: they hold no secret, and all that they show is asked of
the API with the token that the operator gives. Browsers ask each time whether a file changed (ETag), so that
an upgrade never mixes old scripts with new ones.
"""

import hashlib
import logging
from dataclasses import dataclass
from importlib.resources import files

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from neurowall.management.api.browsers import BrowserHeaders
from neurowall.management.api.problems import ApiProblem

PATH = "/console/"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    """One file of the console, ready to send."""

    body: bytes
    media_type: str
    etag: str


def add_console(app: FastAPI) -> None:
    """Serve the console at PATH, with `/` leading there, and give every answer of *app* the headers."""
    app.add_middleware(BrowserHeaders)
    held = read_files()

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        """Where people begin."""
        return RedirectResponse(PATH)

    @app.get("/console", include_in_schema=False)
    async def without_slash() -> Response:
        """What people type."""
        return RedirectResponse(PATH)

    @app.get(PATH, include_in_schema=False)
    async def index(request: Request) -> Response:
        """The page."""
        return _answer(request, held, INDEX)

    @app.get(PATH + "{name}", include_in_schema=False)
    async def file(name: str, request: Request) -> Response:
        """One of its files."""
        return _answer(request, held, name)


def read_files() -> dict[str, File]:
    """Every file of the console by name: some 100 kB, read once."""
    found = {}
    for entry in files("neurowall.management").joinpath("console").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in TYPES:
            body = entry.read_bytes()
            found[entry.name] = File(body, TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    if INDEX not in found:
        log.warning("this installation lacks the console's files: the API works without")
    return found


def _answer(request: Request, held: dict[str, File], name: str) -> Response:
    file = held.get(name)
    if file is None:
        raise ApiProblem(404, "not-found", f"the console has no file '{name[:60]}'")
    headers = {"etag": file.etag, "cache-control": "no-cache"}
    given = request.headers.get("if-none-match", "")
    if file.etag in [each.strip().removeprefix("W/") for each in given.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers | {"content-type": file.media_type})
