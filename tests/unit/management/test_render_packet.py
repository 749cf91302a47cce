# SPDX-License-Identifier: Apache-2.0
import io
import json

import pytest
from rich.console import Console

from neurowall.logic.evaluate import Listed, Verdict, evaluate, read_packet
from neurowall.management.cli.render_packet import packet, packet_answer, sentence
from tests.unit.logic.packet_world import World, interfaces, load

POLICY = load(
    {
        "interfaces": interfaces(),
        "zones": [{"name": "dmz", "kind": "internal"}],
        "rules": [
            {
                "name": "slow",
                "from": "external",
                "to": "gateway",
                "protocol": "tcp",
                "ports": 22,
                "rate": {"at_most": "3/minute"},
                "action": "accept",
            }
        ],
        "nat": {
            "port_forwards": [
                {"name": "www", "from": "external", "protocol": "tcp", "ports": 80, "to": "198.51.100.10"}
            ]
        },
    }
)


def judge(text: str) -> Verdict:
    """What becomes of a packet; list abuse holds one source."""
    blocked = {"203.0.113.8": Listed("block", "abuse", "203.0.113.8")}
    return evaluate(POLICY, read_packet(text), lambda each: blocked.get(each, Listed()), World())


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (
            "tcp 203.0.113.7:1 -> 192.0.2.1:22 via wan0",
            "is accepted by rule slow while under 3/minute (burst 5)",
        ),
        (
            "tcp 203.0.113.7:1 -> 192.0.2.1:80 via wan0",
            "is accepted by port forward www, and goes on as 203.0.113.7:1 -> 198.51.100.10:80",
        ),
        (
            "tcp 203.0.113.8:1 -> 192.0.2.1:80 via wan0",
            "is dropped by list abuse, which holds its source",
        ),
        ("udp 203.0.113.7:1 -> 192.0.2.1:53 via wan0", "is dropped by defaults.input"),
        ("tcp 203.0.113.7:1 -> 192.0.2.1:53 via wan0 state invalid", "is dropped by its state, invalid"),
    ],
)
def test_one_sentence_tells_the_verdict_and_what_decided(text: str, ends: str) -> None:
    """It begins with the packet."""
    assert sentence(judge(text)) == f"{text} {ends}"


def test_the_answer_is_json_with_every_step() -> None:
    """Steps keep their order."""
    answer = json.loads(json.dumps(packet_answer(judge("tcp 203.0.113.7:1 -> 192.0.2.1:80 via wan0"))))
    assert (answer["verdict"], answer["decided_by"], answer["name"]) == ("accept", "port-forward", "www")
    assert (answer["hook"], answer["arrives"], answer["leaves"]) == ("forward", "external", "dmz")
    assert answer["sent"] == "tcp 203.0.113.7:1 -> 198.51.100.10:80 via wan0 to dmz0"
    assert answer["summary"].endswith("198.51.100.10:80")
    assert [step["stage"] for step in answer["steps"]] == [
        "arrival",
        "spoofing",
        "source-lists",
        "destination-nat",
        "route",
        "port-forward",
    ]


def test_the_terminal_shows_each_step_and_the_summary_last() -> None:
    """IPv6 ends are not taken for markup."""
    console = Console(file=io.StringIO(), width=60)
    answer = packet_answer(judge("tcp [fe80::7]:1 -> [2001:db8:0:1::1]:22 via wan0"))
    packet(console, answer)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "arrival       arrives by wan0, zone external"
    assert lines[-1] == answer["summary"]
    assert lines[-1].startswith("tcp [fe80::7]:1 -> ")
    assert len(lines) == len(answer["steps"]) + 1
