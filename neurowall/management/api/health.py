# SPDX-License-Identifier: Apache-2.0
"""Routes that say whether the daemon lives, is well, and filters as intended."""

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from neurowall.logic.engine import Engine
from neurowall.management.api import answers, problems
from neurowall.management.api.answers import About
from neurowall.management.api.asked import actor
from neurowall.management.api.requests import PLAIN


def add_health(app: FastAPI, engine: Engine, about: About) -> None:
    """Serve how the daemon is doing, to whoever asks; what is wrong, to those whom it knows."""

    @app.get("/liveness", dependencies=PLAIN)
    async def liveness() -> Response:
        """The process answers."""
        return JSONResponse({"alive": True})

    @app.get("/health", dependencies=PLAIN)
    def health() -> Response:
        """`ok`, or `degraded` with what is wrong; always 200."""
        now = engine.status()
        state, wrong = answers.state(about, now), about.problems(now)
        known = {"instance": about.instance, "problems": wrong} if actor() else {}
        return JSONResponse({"state": state, **known})

    @app.get("/readiness", dependencies=PLAIN)
    def readiness() -> Response:
        """200 if every packet is filtered as intended, else a 503 that says what is wrong."""
        now = engine.status()
        if now.problems and actor() is None:
            raise problems.ApiProblem(503, "degraded", "not every packet is filtered as intended")
        if now.problems:
            wrong = [{"why": problem} for problem in now.problems]
            raise problems.ApiProblem(503, "degraded", "; ".join(now.problems), wrong)
        return JSONResponse({"ready": True, "generation": now.generation})
