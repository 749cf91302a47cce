# SPDX-License-Identifier: Apache-2.0
"""The shipped object against the oracle: parser and lists, verdict and reason."""

from collections import Counter
from random import Random

import hypothesis
import pytest
from hypothesis import strategies as st

from neurowall.model.reasons import Reason
from tests.bpf import frames
from tests.bpf.conftest import ENGINES, MakeFirewall
from tests.bpf.differential import disagreement, disagreements, fill
from tests.bpf.frames import rarely
from tests.bpf.harness import DROP, PASS
from tests.bpf.oracle import Policy, judge

# Of origins, flows and limits, which these programs are loaded without; test_fuzz.py reaches them.
ELSEWHERE = {
    *(Reason.MARTIAN, Reason.BOGON, Reason.BANNED, Reason.LIMITED),
    *(Reason.FLOW, Reason.OUT_OF_STATE, Reason.BAD_SEQUENCE),
}
engines = pytest.mark.parametrize("engine", ENGINES)
roles = pytest.mark.parametrize(("unparsed", "failsafe"), [(DROP, True), (PASS, False)])


@engines
@roles
def test_random_frames(make_firewall: MakeFirewall, engine: str, unparsed: str, failsafe: bool) -> None:
    """Volume: the same frames every time."""
    firewall = make_firewall(engine=engine, unparsed=unparsed, failsafe=failsafe, lines=2)
    r = Random(f"{engine} {unparsed} {failsafe}")
    start = frames.policy(r, unparsed=unparsed, failsafe=failsafe)
    found = next(disagreements(firewall, start, r, 40_000), None)
    assert found is None, found


@engines
@roles
def test_shrinking_frames(make_firewall: MakeFirewall, engine: str, unparsed: str, failsafe: bool) -> None:
    """The same generator driven by hypothesis, which reduces what it finds to its core."""
    firewall = make_firewall(engine=engine, unparsed=unparsed, failsafe=failsafe, lines=2)

    @hypothesis.settings(max_examples=200, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.randoms(use_true_random=False))
    def agrees(r: Random) -> None:
        policy = frames.policy(r, unparsed=unparsed, failsafe=failsafe)
        fill(firewall, policy)
        for _ in range(3):
            found = disagreement(firewall, policy, frames.frame(r))
            assert found is None, found

    agrees()


@engines
def test_random_frames_of_an_internal_interface(make_firewall: MakeFirewall, engine: str) -> None:
    """The same, with networks behind the interface and listed destinations."""
    firewall = make_firewall(engine=engine, failsafe=True, networks=True, destinations=True, lines=2)
    r = Random(f"internal {engine}")
    start = frames.policy(r, unparsed=DROP, failsafe=True, internal=True)
    found = next(disagreements(firewall, start, r, 40_000), None)
    assert found is None, found


@pytest.mark.soak
@engines
def test_many_random_frames_of_an_internal_interface(make_firewall: MakeFirewall, engine: str) -> None:
    """Other frames every time; the seed is in the failure."""
    firewall = make_firewall(engine=engine, failsafe=True, networks=True, destinations=True, lines=2)
    seed = Random().getrandbits(64)
    r = Random(seed)
    start = frames.policy(r, unparsed=DROP, failsafe=True, internal=True)
    found = next(disagreements(firewall, start, r, 500_000), None)
    assert found is None, f"seed {seed}: {found}"


@pytest.mark.soak
@engines
@roles
def test_many_random_frames(make_firewall: MakeFirewall, engine: str, unparsed: str, failsafe: bool) -> None:
    """Other frames every time; the seed is in the failure."""
    firewall = make_firewall(engine=engine, unparsed=unparsed, failsafe=failsafe, lines=2)
    seed = Random().getrandbits(64)
    r = Random(seed)
    start = frames.policy(r, unparsed=unparsed, failsafe=failsafe)
    found = next(disagreements(firewall, start, r, 500_000), None)
    assert found is None, f"seed {seed}: {found}"


def test_the_generator_reaches_every_reason_often_enough() -> None:
    """Else agreement would prove nothing: each reason in at least one of a thousand frames."""
    r, seen, count = Random(1), Counter[str](), 30_000
    policy = Policy()
    for i in range(count):
        if i % 50 == 0:
            policy = frames.policy(r, unparsed=r.choice((PASS, DROP)), failsafe=True, internal=rarely(r, 3))
        seen[judge(frames.frame(r), policy)[1]] += 1
    rare = {
        reason.label: seen[reason.label]
        for reason in Reason
        if seen[reason.label] < count / 1000 and reason not in ELSEWHERE
    }
    assert rare == {}
