# SPDX-License-Identifier: Apache-2.0
"""Routes of the policies that were in force."""

from typing import Annotated

from fastapi import FastAPI, Path, Query
from pydantic import Field
from starlette.responses import JSONResponse, Response

from neurowall.logic.policydiff import difference_of
from neurowall.logic.policyresults import GenerationInfo
from neurowall.management.api import answers_policy
from neurowall.management.api.auth import READ
from neurowall.management.api.pastpolicies import Older, PastPolicies, no_such
from neurowall.management.api.policies import Policies
from neurowall.management.api.requests import NoQuery, Strict
from neurowall.management.api.textdiff import unified
from neurowall.model.errors import PolicyError
from neurowall.model.policy import Policy, load_policy

MOST = 2**53 - 1  # what JSON's readers keep whole
Number = Annotated[int, Path(ge=1, le=MOST)]


class GenerationsQuery(Strict):
    """Which generations. after: those that are older than this one."""

    limit: int = Field(default=100, ge=1, le=1000)
    after: int | None = Field(default=None, ge=1, le=MOST)


class DiffQuery(Strict):
    """to: with which generation to compare; the one in force by itself."""

    to: int | None = Field(default=None, ge=1, le=MOST)


def add_generations(app: FastAPI, policies: Policies, older: Older | None) -> None:
    """Serve them. older: where those are that the daemon itself does not keep any more."""
    past = PastPolicies(policies, older)

    @app.get("/policy/generations", dependencies=[READ])
    def generations(query: Annotated[GenerationsQuery, Query()]) -> Response:
        """The policies that were in force, newest first; `next` is the `after` of the following page."""
        page = past.page(query.limit, query.after)
        return JSONResponse(answers_policy.generations(page, policies.policy_now()))

    @app.get("/policy/generations/{number}", dependencies=[READ])
    def generation(number: Number, _query: NoQuery) -> Response:
        """One of them, with its text."""
        return JSONResponse(answers_policy.generation(past.get(number), text=True))

    @app.get("/policy/generations/{number}/diff", dependencies=[READ])
    def diff(number: Number, query: Annotated[DiffQuery, Query()]) -> Response:
        """What differs between two of them, in words and line by line."""
        other = query.to or policies.policy_now().info.generation
        old, new = past.get(number), past.get(other)
        lines = difference_of(_policy(old), _policy(new))
        text = unified(old.text, new.text, f"generation {number}", f"generation {other}")
        return JSONResponse(answers_policy.diff(number, other, lines, text))


def check_kept(policies: Policies, number: int) -> None:
    """Refuse to go back to what cannot come back; between two generations the older one was in force."""
    kept = policies.kept_generations()
    if number not in kept and not (kept and kept[0] < number <= kept[-1]):
        raise no_such(number, kept)


def _policy(info: GenerationInfo) -> Policy:
    try:
        return load_policy(info.text, info.filename)
    except PolicyError as error:
        raise PolicyError([f"generation {info.generation}: {line}" for line in error.lines]) from error
