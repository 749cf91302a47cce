# SPDX-License-Identifier: Apache-2.0
"""The routes of the API that are about policies: in force, schema, apply, confirm, roll back."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Body, FastAPI, Header, Query, Request
from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, WithJsonSchema
from starlette.responses import JSONResponse, Response

from neurowall.logic.lockout import Session
from neurowall.logic.policyresults import PolicyChange
from neurowall.management.api import answers_policy, asked, problems
from neurowall.management.api.auth import READ, RULES
from neurowall.management.api.changes import Change
from neurowall.management.api.generations import check_kept
from neurowall.management.api.policies import Policies
from neurowall.management.api.requests import Answered, ChangeQuery, How, NoQuery, Strict
from neurowall.management.session import read_session
from neurowall.model.duration import format_duration, parse_duration
from neurowall.model.policyschema import schema
from neurowall.model.shown import one_line

MAX_CONFIRM = 86_400.0  # seconds; who needs longer to see whether it works does not wait for it
UNNAMED = "policy.yaml"  # what messages call a policy whose file the caller does not name
_MAX_NOTE = 200

log = logging.getLogger(__name__)


def _read_confirm(given: object) -> float:
    """Seconds from `60` or `60s`. Raises ValueError."""
    text = str(given)
    seconds = float(text) if text.replace(".", "", 1).isdigit() else parse_duration(text)
    if not 1 <= seconds <= MAX_CONFIRM:
        raise ValueError(f"expected from 1s to {format_duration(MAX_CONFIRM)}")
    return seconds


_CONFIRM = {"type": "string", "pattern": "^[0-9]{1,5}[smh]?$", "description": "Seconds, or such as 60s, 5m."}


class ApplyQuery(ChangeQuery):
    """How to apply. confirm: seconds until it is taken back unless confirmed; force: despite a lock-out."""

    confirm: Annotated[float | None, BeforeValidator(_read_confirm), WithJsonSchema(_CONFIRM)] = None
    force: bool = False
    note: Annotated[str, AfterValidator(one_line)] = Field(default="", max_length=_MAX_NOTE)


class RollbackQuery(ChangeQuery):
    """dry_run: say what would change and change nothing; force: despite a lock-out."""

    force: bool = False


class Rollback(Strict):
    """Where to. Without a generation: to the one before the present one."""

    generation: StrictInt | None = Field(default=None, ge=1)


def add_policies(app: FastAPI, policies: Policies, answered: Answered) -> None:
    """Add every route about *policies*; *answered* gives a change its turn and its thread."""
    _add_questions(app, policies)
    _add_changes(app, policies, answered)


def _add_questions(app: FastAPI, policies: Policies) -> None:
    @app.get("/policy", dependencies=[READ])
    def policy(_query: NoQuery) -> Response:
        """The policy in force, with its text."""
        return JSONResponse(answers_policy.in_force(policies.policy_now(), text=True))

    @app.get("/policy/schema", dependencies=[READ])
    def policy_schema(_query: NoQuery) -> Response:
        """The JSON Schema of policy files."""
        return JSONResponse(schema())


def _add_changes(app: FastAPI, policies: Policies, answered: Answered) -> None:
    @app.post("/policy/apply", dependencies=[RULES])
    async def apply_policy(
        query: Annotated[ApplyQuery, Query()],
        request: Request,
        x_policy_file: Annotated[str, Header()] = UNNAMED,
        x_session: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Put a policy in force: the body is its text. X-Policy-File: its name, percent-encoded.

        X-Session: the caller's own `client port server port`, as in SSH_CONNECTION, which must survive.
        """
        session, name = _session(x_session), _name(x_policy_file)
        text = _text(await request.body())
        detail = query.model_dump(exclude={"dry_run"}, exclude_defaults=True)
        change = Change("policy-apply", name, query.dry_run, detail)
        return await answered(change, _apply, policies, query, text, name, session)

    @app.post("/policy/confirm", dependencies=[RULES])
    async def confirm(query: How) -> Response:
        """Keep the policy that waits for it."""
        return await answered(Change("policy-confirm", dry_run=query.dry_run), _confirm, policies, query)

    @app.post("/policy/rollback", dependencies=[RULES])
    async def rollback(
        query: Annotated[RollbackQuery, Query()],
        body: Annotated[Rollback | None, Body()] = None,
        x_session: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Put an earlier policy in force again. X-Session as for apply."""
        number, session = body.generation if body else None, _session(x_session)
        target = f"generation {number}" if number else "the one before"
        detail = query.model_dump(exclude={"dry_run"}, exclude_defaults=True)
        change = Change("policy-rollback", target, query.dry_run, detail)
        return await answered(change, _rollback, policies, number, query, session)


def _apply(
    policies: Policies, query: ApplyQuery, text: str, name: str, session: Session | None
) -> dict[str, Any]:
    if query.dry_run:
        spared = None if query.force else session
        return answers_policy.change(policies.plan_policy(text, name, spared, confined=_is_confined()))
    apply = partial(
        policies.apply_policy,
        text,
        name,
        confirm=query.confirm,
        force=query.force,
        session=session,
        note=query.note,
        confined=_is_confined(),
    )
    return _changed(f"policy {name} applied", apply)


def _confirm(policies: Policies, query: ChangeQuery) -> dict[str, Any]:
    now = policies.confirm_policy(dry_run=query.dry_run)
    if not query.dry_run:
        log.info("policy of generation %d confirmed", now.info.generation)
    return answers_policy.in_force(now) | {"dry_run": query.dry_run}


def _rollback(
    policies: Policies, number: int | None, query: RollbackQuery, session: Session | None
) -> dict[str, Any]:
    if number is not None:
        check_kept(policies, number)
    back = partial(
        policies.rollback_policy,
        number,
        dry_run=query.dry_run,
        force=query.force,
        session=session,
        confined=_is_confined(),
    )
    if query.dry_run:
        return answers_policy.change(back())
    return _changed(f"policy rolled back to {number or 'the one before'}", back)


def _changed(what: str, apply: Callable[[], PolicyChange]) -> dict[str, Any]:
    made = apply()
    until = f", unless confirmed back in {made.pending.seconds:.0f} s" if made.pending else ""
    log.info(
        "%s: generation %d, %d differences, %.3f s%s",
        what,
        made.generation,
        len(made.differences),
        made.seconds,
        until,
    )
    return answers_policy.change(made)


def _is_confined() -> bool:
    """Whether who asks is not root of this machine, who may read every file anyway."""
    actor = asked.actor()
    return actor is None or not actor.is_root


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        detail = f"the policy is not UTF-8 text: byte {error.start} is {body[error.start]:#04x}"
        raise problems.ApiProblem(422, "invalid-policy", detail) from error


def _name(header: str) -> str:
    try:
        return one_line(unquote(header))
    except ValueError as error:
        wrong = [{"field": "x-policy-file", "why": str(error)}]
        raise problems.ApiProblem(422, "invalid-request", f"x-policy-file: {error}", wrong) from error


def _session(header: str | None) -> Session | None:
    try:
        return read_session(header) if header else None
    except ValueError as error:
        wrong = [{"field": "x-session", "why": str(error)}]
        raise problems.ApiProblem(422, "invalid-request", f"x-session: {error}", wrong) from error
