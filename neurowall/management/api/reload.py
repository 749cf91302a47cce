# SPDX-License-Identifier: Apache-2.0
"""The route that replaces the programs in the kernel."""

import logging

from fastapi import FastAPI
from starlette.responses import Response

from neurowall.logic.engine import Engine
from neurowall.management.api import answers
from neurowall.management.api.answers import About, Json
from neurowall.management.api.requests import PLAIN, Answered

log = logging.getLogger(__name__)


def add_reload(app: FastAPI, engine: Engine, about: About, answered: Answered) -> None:
    """Serve it; *answered* gives a change its turn and its thread."""

    @app.post("/reload", dependencies=PLAIN)
    async def reload() -> Response:
        """Replace the programs in the kernel in place."""
        return await answered(_reload, engine, about)


def _reload(engine: Engine, about: About) -> Json:
    engine.reload_program()
    log.info("the program was replaced")
    return {"interfaces": [answers.interface(each, about.zones) for each in engine.status().interfaces]}
