# SPDX-License-Identifier: Apache-2.0
"""Routes of the policies that were in force."""

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response

from neurowall.management.api import answers_policy, problems
from neurowall.management.api.policies import Policies
from neurowall.management.api.requests import NoQuery


def add_generations(app: FastAPI, policies: Policies) -> None:
    """Serve them."""

    @app.get("/policy/generations")
    def generations(_query: NoQuery) -> Response:
        """The policies that were in force, oldest first."""
        return JSONResponse(answers_policy.generations(policies.generations(), policies.policy_now()))

    @app.get("/policy/generations/{number}")
    def generation(number: int, _query: NoQuery) -> Response:
        """One of them, with its text."""
        check_kept(policies, number)
        return JSONResponse(answers_policy.generation(policies.generation(number), text=True))


def check_kept(policies: Policies, number: int, *, loose: bool = False) -> None:
    """Refuse a generation that there is not; *loose*: one between two means the policy that was in force."""
    kept = [each.generation for each in policies.generations()]
    if number not in kept and not (loose and kept and kept[0] < number <= kept[-1]):
        known = ", ".join(map(str, kept)) or "none"
        detail = f"generation {number} put no policy in force, or is not kept any more; there are: {known}"
        raise problems.ApiProblem(404, "no-such-generation", detail)
