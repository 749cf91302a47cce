# SPDX-License-Identifier: Apache-2.0
"""Every route of the API has its command."""

from neurowall.management.api.answers import About
from neurowall.management.api.app import create_app

COMMANDS = {
    "GET /health": "health",
    "GET /readiness": "health --ready",
    "GET /status": "status",
    "GET /lists": "lists show",
    "GET /lists/{name}": "lists show NAME",
    "PUT /lists/{name}": "lists load, lists replace",
    "PATCH /lists/{name}": "lists set",
    "DELETE /lists/{name}": "lists remove",
    "GET /limits": "limits",
    "GET /flows": "flows",
    "GET /rules": "rules",
    "GET /nat": "nat",
    "GET /explain/{address}": "explain ADDRESS",
    "GET /explain-packet": "explain PACKET",
    "GET /top": "top",
    "GET /events": "events --follow",
    "GET /events/recent": "events",
    "POST /block": "block",
    "POST /allow": "allow",
    "POST /unblock": "unblock",
    "POST /unallow": "unallow",
    "GET /bans": "bans list",
    "GET /bans/history": "bans history",
    "GET /policy": "generations show",
    "GET /policy/schema": "schema",
    "GET /policy/generations": "generations list",
    "GET /policy/generations/{number}": "generations show NUMBER",
    "GET /policy/generations/{number}/diff": "generations diff",
    "POST /policy/apply": "apply",
    "POST /policy/confirm": "confirm",
    "POST /policy/rollback": "rollback, generations rollback",
    "POST /reload": "reload",
    "GET /tokens": "token list",
    "POST /tokens": "token create",
    "DELETE /tokens/{identifier}": "token revoke",
    "GET /whoami": "token whoami",
    "GET /audit": "audit list",
    "GET /audit/verify": "audit verify",
    "GET /metrics": "metrics",
}
# For programs, not for people at a shell.
NONE = {"GET /liveness", "GET /openapi.json", "GET /", "GET /console", "GET /console/", "GET /console/{name}"}


def test_every_route_has_its_command(engine: object, about: About) -> None:
    """A new route fails here until there is one, or it is said why not."""
    app = create_app(engine, about)  # type: ignore[arg-type]
    routes = {
        f"{method} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in map(str.upper, methods)
    }
    assert routes - NONE == set(COMMANDS) - NONE
