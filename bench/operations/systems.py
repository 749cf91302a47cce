# SPDX-License-Identifier: Apache-2.0
"""Every operated system by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.operations.base import Operated
from bench.operations.neurowall import OperatedNeurowall
from bench.operations.nftrules import OperatedNftRules
from bench.operations.rivals import OperatedIpSet, OperatedNft

SYSTEMS: Mapping[str, Callable[[], Operated]] = {
    "neurowall": lambda: OperatedNeurowall("buckets"),
    "neurowall-classic": lambda: OperatedNeurowall("classic"),
    "nft-set": OperatedNft,
    "ipset": OperatedIpSet,
    "nft-linear": OperatedNftRules,
}
"""How to make a fresh one; each serves one chain."""
