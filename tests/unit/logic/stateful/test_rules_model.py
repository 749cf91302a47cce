# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from neurowall.logic.stateful.compile import compile_ruleset
from neurowall.model.policy import load_policy
from tests.net.rule_oracle import decide
from tests.net.rule_policies import packets_for, random_policy
from tests.unit.logic.stateful.interpreter import Interpreter

ZONES = {"wan0": "external", "lan0": "internal", "lan1": "internal", "dmz0": "dmz"}
ENDS = [
    (iif, oif)
    for iif in (*ZONES, "other0", None)
    for oif in (*ZONES, "other0", None)
    if iif is not None or oif is not None
]


def check(seed: int) -> None:
    """Compare the compiled rules of a random policy with the policy itself, packet by packet."""
    policy = random_policy(seed, (3, 12, 40, 100)[seed % 4], ZONES, states=seed % 3 == 0)
    table = Interpreter(compile_ruleset(load_policy(json.dumps(policy), "policy.yaml")))
    states = ("new", "established", "related", "invalid", "untracked") if seed % 3 == 0 else ("new",)
    for number, packet in enumerate(packets_for(policy, seed, 250, ENDS)):
        object.__setattr__(packet, "state", states[number % len(states)])
        assert table.decide(packet) == decide(policy, packet), packet


@pytest.mark.parametrize("seed", range(24))
def test_compiled_rules_decide_as_the_policy_read_line_by_line(seed: int) -> None:
    """Random overlapping rules give every packet the verdict and the counts of the first one that matches."""
    check(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_compiled_rules_decide_as_the_policy_for_long(seed: int) -> None:
    """The same for hundreds of policies more."""
    check(seed)
