# SPDX-License-Identifier: Apache-2.0
"""Verdicts and reasons: enum nw_verdict and enum nw_reason of bpf/neurowall.h.

The same words are the metric labels and the legends, in lower case with dashes. A test compares both enums
with the header, and the daemon compares them with the object's BTF at its start.
"""

from enum import IntEnum


class Verdict(IntEnum):
    """What happens to a packet; the values of enum nw_verdict."""

    PASS = 0
    DROP = 1
    NONE = 2  # of a class only: it is counted and decides nothing

    @property
    def label(self) -> str:
        """The word used in metrics, answers and class definitions: "pass", "drop" or "none"."""
        return self.name.lower()


class Reason(IntEnum):
    """Why a packet got its verdict; the values of enum nw_reason. Exactly one is counted for each packet."""

    DEFAULT = 0
    ALLOW_LIST = 1
    BLOCK_LIST = 2
    FAILSAFE = 3
    ARP = 4
    NEIGHBOUR_DISCOVERY = 5
    MULTICAST_LISTENER = 6
    DHCP = 7
    LACP = 8
    EAPOL = 9
    ICMP_ERROR = 10
    FRAGMENT = 11
    TUNNEL = 12
    UNPARSED_PASS = 13
    UNPARSED_DROP = 14
    TRUNCATED = 15
    MALFORMED_IPV4 = 16
    MALFORMED_IPV6 = 17
    MALFORMED_TCP = 18
    MALFORMED_UDP = 19
    FRAGMENT_TINY = 20
    FRAGMENT_OVERLAP = 21
    VLAN_DEPTH = 22
    EXTENSION_DEPTH = 23
    DESTINATION_ALLOW_LIST = 24
    DESTINATION_BLOCK_LIST = 25
    SPOOFED = 26
    MARTIAN = 27
    BOGON = 28
    BANNED = 29
    LIMITED = 30
    FLOW = 31
    OUT_OF_STATE = 32
    BAD_SEQUENCE = 33

    @property
    def label(self) -> str:
        """The metric label: "block-list", "vlan-depth" ..."""
        return self.name.lower().replace("_", "-")

    @property
    def verdict(self) -> Verdict:
        """What a packet counted under this reason got."""
        return Verdict.DROP if self in _DROPS else Verdict.PASS


_DROPS = frozenset(
    {
        Reason.BLOCK_LIST,
        Reason.UNPARSED_DROP,
        *(each for each in Reason if Reason.TRUNCATED <= each <= Reason.EXTENSION_DEPTH),
        Reason.DESTINATION_BLOCK_LIST,
        *(each for each in Reason if Reason.SPOOFED <= each <= Reason.LIMITED),
        Reason.OUT_OF_STATE,
        Reason.BAD_SEQUENCE,
    }
)
