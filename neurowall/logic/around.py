# SPDX-License-Identifier: Apache-2.0
"""What an engine is given of the machine besides the data plane."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from neurowall.kernel.routes import KernelRoutes
from neurowall.logic.packetverdict import Routes
from neurowall.logic.tables import Memo, NoMemo, NoTables, Tables
from neurowall.model.policy import Policy

Forwarding = Callable[[Policy], None]


def leave_forwarding(_policy: Policy) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Around:
    """nftables, what sets forwarding by a policy, and the routing table. By itself nothing is changed.

    reader: tables again, for reading that shall not wait for a change; None: the same. config: the daemon's
    own policy file.
    """

    tables: Tables = field(default_factory=NoTables)
    reader: Tables | None = None
    forwarding: Forwarding = leave_forwarding
    routes: Routes = field(default_factory=KernelRoutes)
    memo: Memo = field(default_factory=NoMemo)
    config: Path | None = None
