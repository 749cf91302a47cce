# SPDX-License-Identifier: Apache-2.0
"""What each route answers: its model or media type, and which problems it may have.

Every route has its line here, and a test holds both against each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from neurowall.management.api.openapi import access, lists, policy, state

BLOCKING = {"addresses": ["203.0.113.7", "2001:db8:bad::/48"], "ttl": "1h", "reason": "brute force on ssh"}
REMOVING = {"addresses": ["203.0.113.7"]}
POLICY = """\
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal}
rules:
  - {name: web, from: external, to: gateway, protocol: tcp, ports: 443, action: accept}
"""

PLAIN = (422, 500)  # what nothing is sure to be without: unknown parameters, and a kernel that fails
CHANGES = (400, 409, 412, 413, 422, 500, 503, 507)
TOKEN_CHANGES = (400, 409, 413, 422, 500, 503)  # no generation holds tokens: they take no If-Match


@dataclass(frozen=True)
class Operation:
    """One route.

    answer: of 200, or the media types of what is no JSON. problems: statuses beside those of authentication.
    body: media type and example of a body that is no JSON, or the example of one that is.
    """

    tag: str
    answer: type[BaseModel] | tuple[str, ...]
    problems: tuple[int, ...] = PLAIN
    example: Any = None
    text: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)  # examples, by name


OPERATIONS: dict[str, Operation] = {
    # health
    "GET /liveness": Operation("health", state.Liveness, (422,)),
    "GET /health": Operation("health", state.Health),
    "GET /readiness": Operation("health", state.Readiness, (*PLAIN, 503)),
    # what is in force
    "GET /status": Operation("state", state.Status),
    "GET /limits": Operation("state", state.Limits),
    "GET /flows": Operation("state", state.Flows, parameters={"source": "192.0.2.0/24"}),
    "GET /explain/{address}": Operation(
        "state", state.Explanation, (404, *PLAIN), parameters={"address": "203.0.113.7"}
    ),
    "GET /explain-packet": Operation(
        "state",
        policy.PacketExplanation,
        parameters={"packet": "tcp 203.0.113.7:4711 -> 192.0.2.10:443 via wan0"},
    ),
    "GET /rules": Operation("state", policy.Rules),
    "GET /nat": Operation("state", policy.NatTable),
    "GET /whoami": Operation("tokens", state.WhoAmI, (401, 422)),
    "GET /top": Operation("state", state.Top),
    "GET /metrics": Operation("state", ("text/plain", "application/openmetrics-text")),
    "POST /reload": Operation("state", state.Interfaces, CHANGES),
    # events
    "GET /events": Operation("events", ("text/event-stream",), (*PLAIN, 501, 503)),
    "GET /events/recent": Operation("events", state.RecentEvents, (*PLAIN, 501)),
    # single addresses
    "GET /bans": Operation("bans", lists.Bans, parameters={"address": "203.0.113.7"}),
    "GET /bans/history": Operation(
        "bans", lists.BanHistory, (*PLAIN, 503), parameters={"address": "203.0.113.7"}
    ),
    "POST /block": Operation("bans", lists.Change, CHANGES, BLOCKING),
    "POST /allow": Operation("bans", lists.Change, CHANGES, BLOCKING),
    "POST /unblock": Operation("bans", lists.Change, CHANGES, REMOVING),
    "POST /unallow": Operation("bans", lists.Change, CHANGES, REMOVING),
    # lists
    "GET /lists": Operation("lists", lists.Lists),
    "GET /lists/{name}": Operation("lists", lists.ListPage, (404, *PLAIN), parameters={"name": "feed"}),
    "PUT /lists/{name}": Operation(
        "lists",
        lists.Change,
        (404, *CHANGES),
        "203.0.113.0/24\n198.51.100.7 # seen by the honeypot\n2001:db8:bad::/48\n",
        "text/plain",
        {"name": "feed"},
    ),
    "PATCH /lists/{name}": Operation(
        "lists", lists.Change, (404, *CHANGES), {"monitor": True}, parameters={"name": "feed"}
    ),
    "DELETE /lists/{name}": Operation("lists", lists.Change, (404, *CHANGES), parameters={"name": "feed"}),
    # tokens and audit
    "GET /tokens": Operation("tokens", access.Tokens, (*PLAIN, 503)),
    "POST /tokens": Operation(
        "tokens", access.TokenMade, TOKEN_CHANGES, {"name": "ci", "scopes": ["read"], "expires": "90d"}
    ),
    "DELETE /tokens/{identifier}": Operation(
        "tokens", access.TokenRevoked, (404, *TOKEN_CHANGES), parameters={"identifier": "4f7k2m9x1q8z"}
    ),
    "GET /audit": Operation("audit", access.Audit, (*PLAIN, 503)),
    "GET /audit/verify": Operation("audit", access.AuditVerified, (*PLAIN, 503)),
    # policies
    "GET /policy": Operation("policy", policy.PolicyNow),
    "GET /policy/schema": Operation("policy", policy.PolicySchema),
    "GET /policy/generations": Operation("policy", policy.Generations),
    "GET /policy/generations/{number}": Operation("policy", policy.GenerationWithText, (404, *PLAIN, 503)),
    "GET /policy/generations/{number}/diff": Operation("policy", policy.GenerationDiff, (404, *PLAIN, 503)),
    "POST /policy/apply": Operation(
        "policy",
        policy.PolicyChange,
        CHANGES,
        POLICY,
        "application/yaml",
        {"confirm": "60s", "X-Session": "203.0.113.7 50000 192.0.2.1 22"},
    ),
    "POST /policy/confirm": Operation("policy", policy.Confirmed, CHANGES),
    "POST /policy/rollback": Operation("policy", policy.PolicyChange, (404, *CHANGES), {"generation": 12}),
}
