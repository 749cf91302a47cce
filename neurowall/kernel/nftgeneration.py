# SPDX-License-Identifier: Apache-2.0
"""The number of the last nftables transaction in this network namespace, whoever made it.

Source: NFT_MSG_GETGEN of linux/netfilter/nf_tables.h.
"""

import errno
import os
import socket
import struct

from neurowall.model.errors import RulesetError

_NETLINK_NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_REQUEST = struct.pack("=IHHII4x", 20, _GET_GENERATION, 1, 0, 0)  # NLM_F_REQUEST, AF_UNSPEC
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _GENERATION_ID = 2, 1  # NLMSG_ERROR, NFTA_GEN_ID
_SECONDS = 2.0


def generation() -> int:
    """That number; it grows with each transaction. Raises RulesetError."""
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        ) as netlink:
            netlink.settimeout(_SECONDS)
            netlink.bind((0, 0))
            netlink.send(_REQUEST)
            answer = netlink.recv(4096)
    except OSError as error:
        raise RulesetError(f"nftables does not tell its generation: {error.strerror or error}") from error
    return _read(answer)


def _read(answer: bytes) -> int:
    """The attribute NFTA_GEN_ID, in network order."""
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _ERROR:
        (code,) = struct.unpack_from("=i", answer, _HEADER.size)
        why = os.strerror(-code) if code else errno.errorcode[errno.EPROTO]
        raise RulesetError(f"nftables does not tell its generation: {why}")
    at = _HEADER.size + 4
    while at + _ATTRIBUTE.size <= len(answer):
        length, number = _ATTRIBUTE.unpack_from(answer, at)
        if number == _GENERATION_ID:
            return int.from_bytes(answer[at + 4 : at + 8], "big")
        at += max(4, length + 3 & ~3)
    raise RulesetError("nftables does not tell its generation")
