# SPDX-License-Identifier: Apache-2.0
"""What the XDP program would do to a packet now."""

from dataclasses import dataclass

from neurowall.model.reasons import Reason


@dataclass(frozen=True)
class DryRun:
    """The answer of the program of one interface. class_id: of what is listed, 0: nothing.

    limit: the first that the packet is over, where that is the reason; "" if it is not known.
    """

    reason: Reason
    class_id: int = 0
    limit: str = ""
