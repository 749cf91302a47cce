# SPDX-License-Identifier: Apache-2.0
"""The route that replaces the programs in the kernel."""

import logging

from fastapi import FastAPI
from starlette.responses import Response

from neurowall.logic.engine import Engine
from neurowall.management.api import answers
from neurowall.management.api.answers import About, Json
from neurowall.management.api.auth import RULES
from neurowall.management.api.changes import Change
from neurowall.management.api.requests import Answered, ChangeQuery, How

log = logging.getLogger(__name__)


def add_reload(app: FastAPI, engine: Engine, about: About, answered: Answered) -> None:
    """Serve it; *answered* gives a change its turn and its thread."""

    @app.post("/reload", dependencies=[RULES])
    async def reload(query: How) -> Response:
        """Replace the programs in the kernel in place."""
        return await answered(Change("reload", dry_run=query.dry_run), _reload, engine, about, query)


def _reload(engine: Engine, about: About, query: ChangeQuery) -> Json:
    if not query.dry_run:
        engine.reload_program()
        log.info("the program was replaced")
    interfaces = [answers.interface(each, about.zones) for each in engine.status().interfaces]
    return {"dry_run": query.dry_run, "interfaces": interfaces}
