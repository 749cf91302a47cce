# SPDX-License-Identifier: Apache-2.0
import pytest

from neurowall.model.errors import KernelError
from neurowall.model.policy import Policy
from tests.unit.logic.policymachine import Machine


def refuse(_policy: Policy) -> None:
    """A kernel that does not let this process write its sysctls."""
    raise KernelError("sysctl net.ipv4.conf.wan0.forwarding cannot be set to 1: Read-only file system")


def test_what_is_not_forwarded_is_a_problem_until_it_is(machine: Machine) -> None:
    """A start goes on without it, since a gateway without its rules would be worse; but it says so."""
    frame = machine.engine._frame
    frame._forwarding = refuse
    with pytest.raises(KernelError):
        frame.forward(machine.engine.policy)
    (problem,) = machine.engine.status().problems
    assert "not forwarded as the policy says" in problem
    assert "Read-only" in problem
    frame._forwarding = machine.forwarded.append
    frame.forward(machine.engine.policy)
    assert machine.engine.status().problems == ()
