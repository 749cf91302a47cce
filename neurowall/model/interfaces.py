# SPDX-License-Identifier: Apache-2.0
"""What an interface of the policy looks like on the running machine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InterfaceStatus:
    """One interface of the policy, now.

    ifindex is None while the interface does not exist. mode is "offload", "native", "generic" or "none"; why
    says how it was chosen. problem is None if all is well, else one sentence with the next step.
    """

    name: str
    ifindex: int | None
    mode: str
    why: str
    attached: bool
    problem: str | None = None
