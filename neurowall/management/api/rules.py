# SPDX-License-Identifier: Apache-2.0
"""Routes of rules and NAT: what they counted, and what becomes of a packet."""

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import Field
from starlette.responses import JSONResponse, Response

from neurowall.management.api import answers_nat, answers_policy
from neurowall.management.api.auth import READ
from neurowall.management.api.policies import Policies
from neurowall.management.api.requests import NoQuery, Strict
from neurowall.management.cli.render_packet import packet_answer


class PacketQuery(Strict):
    """A packet in words, such as `tcp 203.0.113.7:4711 -> 192.0.2.10:443 via wan0`."""

    packet: str = Field(max_length=500)


def add_rules(app: FastAPI, policies: Policies) -> None:
    """Serve them."""

    @app.get("/rules", dependencies=[READ])
    def rules(_query: NoQuery) -> Response:
        """What every rule matched."""
        return JSONResponse(answers_policy.rules(policies))

    @app.get("/nat", dependencies=[READ])
    def nat(_query: NoQuery) -> Response:
        """Address translation, in the order in which it is asked."""
        return JSONResponse(answers_nat.nat(policies.policy.nat, policies.rule_counters()))

    @app.get("/explain-packet", dependencies=[READ])
    def explain_packet(query: Annotated[PacketQuery, Query()]) -> Response:
        """What becomes of a packet, step by step."""
        return JSONResponse(packet_answer(policies.explain_packet(query.packet)))
