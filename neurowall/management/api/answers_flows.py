# SPDX-License-Identifier: Apache-2.0
"""Flows as the API's JSON, and drawn for people."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from neurowall.logic.engine import Engine
from neurowall.management.cli.drawing import count, say, table
from neurowall.management.times import duration
from neurowall.model.flows import Flow, FlowCounts, FlowQuery, FlowState

if TYPE_CHECKING:
    from rich.console import Console

Json = dict[str, Any]
_STATES = {state.label: state for state in FlowState}


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"'{text[:60]}' is no address or prefix: {error}") from error
    return text


def _state(label: str) -> str:
    if label not in _STATES:
        raise ValueError(f"'{label[:60]}' is no state of flows: use one of {', '.join(_STATES)}")
    return label


class FlowsQuery(BaseModel):
    """What GET /flows may be asked."""

    model_config = ConfigDict(extra="forbid")

    source: Annotated[str, AfterValidator(_network)] | None = None
    protocol: Literal["tcp", "udp", "icmp", "icmpv6"] | None = None
    state: Annotated[str, AfterValidator(_state)] | None = None
    limit: int = Field(default=100, ge=0, le=10_000)

    def wanted(self) -> FlowQuery:
        """As the engine is asked."""
        network: IPv4Network | IPv6Network | None = ip_network(self.source) if self.source else None
        return FlowQuery(network, self.protocol, _STATES[self.state] if self.state else None, self.limit)


def flows(engine: Engine, query: FlowsQuery) -> Json:
    """The flows that match, up to the limit, and how many match."""
    found, total = engine.flows(query.wanted())
    return {"flows": [_flow(each) for each in found], "total": total} | counts(engine.flow_counts())


def counts(counted: FlowCounts) -> Json:
    """What the tables hold, and what happened to them."""
    return {
        "known": counted.total,
        "capacity": counted.capacity,
        "states": {state.label: number for state, number in counted.states.items()},
        "events": {event.label: number for event, number in counted.events.items()},
        "adopting_seconds": round(counted.adopting, 1),
        "guard_active": counted.is_guarded,
    }


def _flow(flow: Flow) -> Json:
    return {
        "protocol": flow.protocol,
        "state": flow.state.label,
        "inside": str(flow.inside),
        "inside_port": flow.inside_port,
        "outside": str(flow.outside),
        "outside_port": flow.outside_port,
        "zone": flow.zone or None,
        "age_seconds": round(flow.age, 1),
        "idle_seconds": round(flow.idle, 1),
        "packets_out": flow.packets_out,
        "bytes_out": flow.bytes_out,
        "packets_in": flow.packets_in,
        "bytes_in": flow.bytes_in,
    }


def show(console: "Console", answer: Json) -> None:
    """`neurowall flows`."""
    table(
        console,
        ("Protocol", "State", "Inside", "Outside", ">Age", ">Idle", ">Out", ">In"),
        [
            [
                each["protocol"],
                each["state"],
                _end(each["inside"], each["inside_port"]),
                _end(each["outside"], each["outside_port"]),
                duration(each["age_seconds"]),
                duration(each["idle_seconds"]),
                count(each["packets_out"]),
                count(each["packets_in"]),
            ]
            for each in answer["flows"]
        ],
    )
    if (more := answer["total"] - len(answer["flows"])) > 0:
        say(console, f"... and {count(more)} more")
    _say_state(console, answer)


def show_count(console: "Console", answer: Json) -> None:
    """`neurowall flows --count`."""
    say(console, f"{count(answer['total'])} flows")
    _say_state(console, answer)


def _say_state(console: "Console", answer: Json) -> None:
    if not answer["capacity"]:
        say(console, "flows are off: see `flows:` in the policy")
    if answer["guard_active"]:
        say(console, "too many new flows: some are not known, and nothing is out of state", style="yellow")
    if answer["adopting_seconds"]:
        say(console, f"out of state passes for another {duration(answer['adopting_seconds'])}")


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
