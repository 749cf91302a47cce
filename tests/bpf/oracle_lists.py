# SPDX-License-Identifier: Apache-2.0
"""What list sets say about a source, by linear scan over their raw text: the judge of the list differential.

It shares no code with the product. Lists here may only count ("monitor") and entries may end at a time,
which oracle.py knows nothing of; every line is compared with every address, only many at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_HALF = (1 << 64) - 1


@dataclass(frozen=True)
class RawList:
    """A list as the operator writes it. enforced: False for one that only counts."""

    name: str
    verdict: str  # "block" | "allow"
    text: str
    enforced: bool = True
    timed: bool = False  # its entries are those of a built-in list that are in force now


class Finding(NamedTuple):
    """What becomes of a packet, the reason, and the list that decided ("" if none did)."""

    action: str
    reason: str
    decided_by: str


NOBODY = Finding("pass", "default", "")


class Judge:
    """The lists in their order."""

    def __init__(self, lists: Sequence[RawList]) -> None:
        self._lists = lists
        self._ranges = {family: [_ranges(each.text, family) for each in lists] for family in (4, 6)}

    def covered(self, family: int, addresses: Sequence[int]) -> Array:
        """Whether each list (columns) covers each address (rows)."""
        high = np.array([address >> 64 for address in addresses], np.uint64)
        low = np.array([address & _HALF for address in addresses], np.uint64)
        found = np.zeros((len(addresses), len(self._lists)), np.bool_)
        for column, (base, mask) in enumerate(self._ranges[family]):
            if len(base):
                differs = (high[:, None] & mask[:, 0]) ^ base[:, 0]
                differs |= (low[:, None] & mask[:, 1]) ^ base[:, 1]
                found[:, column] = (differs == 0).any(axis=1)
        return found

    def findings(self, covered: Array) -> list[Finding]:
        """For each row of covered() what becomes of the packet.

        Allow beats block, an entry without an end beats one with an end, then the order of the lists; lists
        that only count decide nothing.
        """
        order = sorted(
            (each.verdict != "allow", each.timed, column)
            for column, each in enumerate(self._lists)
            if each.enforced
        )
        columns = [column for _, _, column in order]
        outcomes = [_outcome(self._lists[column]) for column in columns]
        outcomes.append(NOBODY)
        everybody = np.ones((len(covered), 1), np.bool_)
        first = np.concatenate([covered[:, columns], everybody], axis=1).argmax(axis=1)
        return [outcomes[i] for i in first.tolist()]


def _outcome(each: RawList) -> Finding:
    if each.verdict == "allow":
        return Finding("pass", "allow-list", each.name)
    return Finding("drop", "block-list", each.name)


def _ranges(text: str, family: int) -> tuple[Array, Array]:
    """Base and mask of every line of a family, as pairs of 64 bits."""
    bases, masks = [], []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].replace(",", " ").split()
        if not words or (":" in words[0]) != (family == 6):
            continue
        network = ip_network(words[0], strict=False)
        base, mask = int(network.network_address), int(network.netmask)
        bases.append((base >> 64, base & _HALF))
        masks.append((mask >> 64, mask & _HALF))
    shape = (len(bases), 2)
    return np.array(bases, np.uint64).reshape(shape), np.array(masks, np.uint64).reshape(shape)
