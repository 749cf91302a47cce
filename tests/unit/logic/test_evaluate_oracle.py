# SPDX-License-Identifier: Apache-2.0
import random
from collections import Counter
from dataclasses import replace

import pytest

from neurowall.logic.evaluate import Listed, Verdict, evaluate
from neurowall.logic.packettext import Packet
from tests.unit.logic.packet_oracle import Answer, Seen, ask
from tests.unit.logic.packet_world import World, load, random_packet, random_policy

_KINDS = {"rules": "rule", "state": "state", "port-forward": "forward"}


def seen(packet: Packet) -> Seen:
    """The packet as the oracle wants it."""
    return Seen(
        packet.protocol,
        packet.source,
        packet.source_port,
        packet.destination,
        packet.destination_port,
        packet.icmp_type,
        packet.state,
        packet.via,
    )


def said(found: Verdict) -> tuple[str, str]:
    """Verdict and decider in the oracle's words."""
    if found.decided_by == "defaults":
        return found.verdict, f"default {found.hook}"
    kind = _KINDS.get(found.decided_by)
    return found.verdict, f"{kind} {found.name}" if kind else found.decided_by


def told(answer: Answer) -> tuple[str, str]:
    """The same of the oracle."""
    return answer.verdict, answer.decider


@pytest.mark.parametrize("seed", range(5))
def test_random_packets_get_the_verdict_that_an_independent_reading_of_the_policy_gives(seed: int) -> None:
    """Verdict, what decides, and both ends after translation agree for random policies and packets."""
    rng = random.Random(seed)
    kinds: Counter[str] = Counter()
    for _ in range(6):
        raw = random_policy(rng)
        policy = load(raw)
        for _ in range(150):
            packet = random_packet(rng, raw)
            if rng.random() < 0.1:
                packet = replace(packet, state=rng.choice(("established", "related", "untracked")))
            found = evaluate(policy, packet, lambda _address: Listed(), World())
            answer = ask(raw, seen(packet))
            context = f"{packet}\n{raw}\n{found.steps}"
            assert said(found) == told(answer), context
            if found.sent:
                sent = (found.sent.source, found.sent.destination, found.sent.destination_port)
                assert sent == answer[2:], context
            kinds[found.decided_by] += 1
            kinds.update(f"{step.stage} {step.does}" for step in found.steps)
    # What is not there was not compared.
    translations = ("destination-nat translate", "source-nat translate")
    for kind in ("defaults", "rules", "rules count", "state", "port-forward", *translations):
        assert kinds[kind] > 0, kinds
