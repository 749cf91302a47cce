# SPDX-License-Identifier: Apache-2.0
"""`GET /top`: what a live view needs, in one small answer.

Counters are totals, and `seconds` is of a clock that only goes forward: a client subtracts two answers. Both
go on over a restart of the daemon, since the kernel holds the counters; `generation` says when to look at
the rest again.
"""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from neurowall.logic.engine import Engine
from neurowall.logic.results import LimitInfo
from neurowall.logic.top import KEPT, TopSource
from neurowall.management.api import answers
from neurowall.management.api.auth import READ

Json = dict[str, Any]


class TopQuery(BaseModel):
    """limit: how many sources at most."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=0, le=KEPT)


def add_top(app: FastAPI, engine: Engine) -> None:
    """Serve it."""

    @app.get("/top", dependencies=[READ])
    def top(query: Annotated[TopQuery, Query()]) -> Response:
        """Counters by reason, list and limit, and who was dropped most in the last minutes."""
        return JSONResponse(answer(engine, query.limit))


def answer(engine: Engine, limit: int) -> Json:
    """The answer. banned: how many sources limits banned.

    sampled: the sources are of events, of which the kernel tells some only under a flood.
    """
    begun = time.monotonic()
    counters = engine.counters()
    seconds = (begun + time.monotonic()) / 2  # under load the reading itself may take its time
    rows = answers.lists(engine.lists(), counters)
    kept = ("verdict", "monitor", "packets", "bytes", "matched_packets", "matched_bytes")
    return {
        "seconds": round(seconds, 6),
        "at": _moment(time.time()),
        "generation": engine.status().generation,
        "packets": [
            {"reason": reason.label, "verdict": reason.verdict.label, **asdict(counter)}
            for reason, counter in counters.reasons.items()
        ],
        "lists": [{"list": row["name"], **{name: row[name] for name in kept}} for row in rows],
        "limits": [_limit(info) for info in engine.limits()],
        "banned": engine.limit_ban_count(),
        "sources": [_source(each) for each in engine.top.top(limit)],
        "sampled": True,
    }


def _limit(info: LimitInfo) -> Json:
    counted = info.counters
    return {
        "limit": info.limit.name,
        "action": info.limit.action,
        "passed": asdict(counted.passed),
        "dropped": asdict(counted.dropped),
        "would_drop": asdict(counted.would),
        "bans": counted.bans,
    }


def _source(source: TopSource) -> Json:
    return {
        "address": source.address,
        "reason": source.reason,
        "list": source.list or None,
        "events": round(source.events, 3),
        "last": _moment(source.last),
    }


def _moment(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
