# SPDX-License-Identifier: Apache-2.0
"""Flows by the API and the CLI: filters, counts, refusals."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from neurowall.model.flows import Flow, FlowQuery, FlowState
from tests.unit.management.commands import Cli
from tests.unit.management.conftest import Api, StandIn

FLOW = Flow(
    protocol="tcp",
    state=FlowState.UDP_ANSWERED,
    inside=ip_address("203.0.113.2"),
    inside_port=40000,
    outside=ip_address("198.18.0.7"),
    outside_port=443,
    zone="external",
    age=12.34,
    idle=0.5,
    packets_out=3,
    bytes_out=300,
    packets_in=2,
    bytes_in=200,
)


def test_flows_are_listed_with_their_number(api: Api, dataplane: StandIn) -> None:
    """As they are seen outside."""
    dataplane.flows.known = [FLOW, replace(FLOW, outside_port=80)]
    answer = api.get("/flows?limit=1").json()
    assert answer["total"] == 2
    assert answer["flows"] == [
        {
            "protocol": "tcp",
            "state": "udp-answered",
            "inside": "203.0.113.2",
            "inside_port": 40000,
            "outside": "198.18.0.7",
            "outside_port": 443,
            "zone": "external",
            "age_seconds": 12.3,
            "idle_seconds": 0.5,
            "packets_out": 3,
            "bytes_out": 300,
            "packets_in": 2,
            "bytes_in": 200,
        }
    ]


def test_filters_reach_the_kernel(api: Api, dataplane: StandIn) -> None:
    """A single address is a prefix of full length."""
    api.get("/flows?source=198.18.0.7&protocol=tcp&state=half-closed&limit=7")
    network = ip_network("198.18.0.7/32")
    assert dataplane.flows.queries == [FlowQuery(network, "tcp", FlowState.HALF_CLOSED, 7)]


@pytest.mark.parametrize("query", ["source=nobody", "protocol=gre", "state=open", "limit=-1", "colour=red"])
def test_what_is_not_understood_is_refused(api: Api, query: str) -> None:
    """And not left out."""
    assert api.get(f"/flows?{query}").status_code == 422


def test_status_counts_them(api: Api, dataplane: StandIn) -> None:
    """With what happened to the tables, and whether the guard holds new ones out."""
    states = dict.fromkeys(FlowState, 0) | {FlowState.ESTABLISHED: 4}
    dataplane.flows.counted = replace(dataplane.flows.counted, states=states, capacity=9, is_guarded=True)
    answer = api.get("/status").json()["flows"]
    assert (answer["known"], answer["capacity"], answer["guard_active"]) == (4, 9, True)
    assert answer["states"]["established"] == 4
    assert answer["events"] == dict.fromkeys(
        ("inserted", "proven", "picked_up", "guarded", "failed", "spared"), 0
    )


def test_people_get_a_table(cli: Cli, dataplane: StandIn) -> None:
    """IPv6 in brackets, what was left out, and why nothing may be out of state."""
    six = replace(FLOW, inside=ip_address("2001:db8::2"), outside=ip_address("2001:2::7"))
    dataplane.flows.known = [FLOW, six, FLOW]
    dataplane.flows.counted = replace(dataplane.flows.counted, capacity=9, is_guarded=True, adopting=30.0)
    text = cli("flows", "--limit", "2").stdout
    for part in ("203.0.113.2:40000", "[2001:2::7]:443", "udp-answered", "and 1 more", "too many", "30 s"):
        assert part in text
    assert "3 flows" in cli("flows", "--count").stdout


def test_people_are_told_that_flows_are_off(cli: Cli) -> None:
    """An empty table would not say it."""
    assert "flows are off" in cli("flows").stdout
