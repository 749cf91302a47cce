# SPDX-License-Identifier: Apache-2.0
"""Random frames through the program and the oracle, which must agree on verdict and reason."""

from collections.abc import Iterator
from random import Random

from tests.bpf import frames
from tests.bpf.harness import DROP, LOOPBACK, PASS, Firewall
from tests.bpf.oracle import Policy, judge, parsed

FRAMES_PER_POLICY = 50


def fill(firewall: Firewall, policy: Policy) -> None:
    """Write a policy's lists into the maps, each entry with the verdict of everything that covers it."""
    firewall.clear_lists()
    for class_id in range(1, 33):
        firewall.put_class(class_id, DROP if class_id % 2 else PASS)
    entries = dict.fromkeys(parsed(line) for each in policy.lists for line in each.lines)
    for index, network in enumerate(entries):
        covering = {
            each.verdict
            for each in policy.lists
            if any(_covers(line, network.network_address, network.prefixlen) for line in each.lines)
        }
        firewall.put(str(network), index % 16 * 2 + (2 if "allow" in covering else 1))
    firewall.clear_networks()
    for text in policy.networks or ():
        firewall.put_network(str(parsed(text)))
    for way in policy.failsafe:
        firewall.put_failsafe(
            way.address, way.port, [way.source], ifindex=LOOPBACK, packets_per_second=1 << 31
        )


def _covers(line: str, address: object, length: int) -> bool:
    """Whether an entry lies within the network of a line."""
    outer = parsed(line)
    return outer.prefixlen <= length and address in outer


def disagreement(firewall: Firewall, policy: Policy, frame: bytes) -> str | None:
    """What the two say if it is not the same, with all that is needed to see it again."""
    expected, got = judge(frame, policy), firewall.run(frame)
    if expected == (got.action, got.reason.label):
        return None
    return (
        f"the oracle says {expected}, the {firewall.engine} program {(got.action, got.reason.label)}\n"
        f"frame: {frame.hex()}\n{policy}"
    )


def disagreements(firewall: Firewall, policy: Policy, r: Random, count: int) -> Iterator[str]:
    """Over *count* random frames and as many policies as that gives; *policy* sets the role."""
    for i in range(count):
        if i % FRAMES_PER_POLICY == 0:
            policy = frames.policy(
                r,
                unparsed=policy.unparsed,
                failsafe=bool(policy.failsafe),
                internal=policy.destinations,
            )
            fill(firewall, policy)
        if found := disagreement(firewall, policy, frames.frame(r)):
            yield found


def role(r: Random) -> Policy:
    """A policy of which only the role matters: unparsed verdict and failsafe."""
    return frames.policy(r, unparsed=r.choice((PASS, DROP)), failsafe=bool(r.randrange(2)))
