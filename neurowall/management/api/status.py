# SPDX-License-Identifier: Apache-2.0
"""Routes that show what is in force and what it counted."""

from typing import Annotated

from fastapi import FastAPI, Query
from starlette.responses import JSONResponse, Response

from neurowall.logic.engine import Engine
from neurowall.management.api import answers, answers_flows, answers_limits, answers_policy
from neurowall.management.api.answers import About
from neurowall.management.api.auth import READ
from neurowall.management.api.policies import Policies
from neurowall.management.api.requests import PLAIN


def add_status(app: FastAPI, engine: Engine, about: About, policies: Policies) -> None:
    """Serve status, limits, flows and explanations."""

    @app.get("/status", dependencies=[READ, *PLAIN])
    def status() -> Response:
        """Everything at one glance."""
        now, counters = engine.status(), engine.counters()
        answer = answers.status(about.of(policies.policy), now, counters, engine.next_expiry())
        answer["warnings"] += answers_limits.unguarded(engine.limits())
        answer["flows"] = answers_flows.counts(engine.flow_counts())
        return JSONResponse(answer | answers_policy.status(policies, answer["warnings"]))

    @app.get("/limits", dependencies=[READ, *PLAIN])
    def limits() -> Response:
        """All limits with what they counted, and whom they banned."""
        return JSONResponse(answers_limits.limits(engine.limits(), engine.limit_bans()))

    @app.get("/flows", dependencies=[READ])
    def flows(query: Annotated[answers_flows.FlowsQuery, Query()]) -> Response:
        """Flows that the kernel knows, those that were seen last in front."""
        return JSONResponse(answers_flows.flows(engine, query))

    @app.get("/explain/{address:path}", dependencies=[READ, *PLAIN])
    def explain(address: str) -> Response:
        """Why packets from an address get their verdict."""
        return JSONResponse(answers.explanation(engine.explain(address)))
