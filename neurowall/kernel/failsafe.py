# SPDX-License-Identifier: Apache-2.0
"""The failsafe map: the operator's own way in, as declared in the policy."""

import socket
from collections.abc import Iterable
from ctypes import c_ubyte
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from neurowall.kernel import layout, netlink
from neurowall.kernel.maps import Map
from neurowall.model.errors import KernelError
from neurowall.model.policy import Failsafe

_COUNTED = 16  # window_start and window_packets, which the kernel writes, come first


def _in_16_bytes(packed: bytes) -> list[int | c_ubyte]:
    return list(packed.rjust(16, b"\0"))


def _key(entry: Failsafe, ifindex: int) -> bytes:
    address = ip_address(entry.address)
    key = layout.FailsafeKey(ifindex=ifindex, port=socket.htons(entry.port), family=address.version)
    key.address[:] = _in_16_bytes(address.packed)
    return bytes(key)


def _values(entries: Iterable[Failsafe]) -> dict[bytes, list[Failsafe]]:
    """Entries by kernel key; those of interfaces that do not exist wait until they do."""
    grouped: dict[bytes, list[Failsafe]] = {}
    for entry in entries:
        ifindex = netlink.interface_index(entry.interface)
        if ifindex is not None:
            grouped.setdefault(_key(entry, ifindex), []).append(entry)
    return grouped


def _value(entries: list[Failsafe]) -> layout.Failsafe:
    if len(entries) > layout.Constant.FAILSAFE_PREFIXES:
        first = entries[0]
        raise KernelError(
            f"failsafe: {len(entries)} sources for {first.address} port {first.port} on {first.interface}, "
            f"the limit is {layout.Constant.FAILSAFE_PREFIXES}: merge them"
        )
    value = layout.Failsafe(
        packets_per_second=max(entry.packets_per_second for entry in entries), prefixes=len(entries)
    )
    for index, entry in enumerate(entries):
        network: IPv4Network | IPv6Network = ip_network(entry.source)
        # Zero bytes in front of an IPv4 source compare equal under a mask of zeros.
        value.source[index][:] = _in_16_bytes(network.network_address.packed)
        value.mask[index][:] = _in_16_bytes(network.netmask.packed)
    return value


def put(failsafe: Map, entries: Iterable[Failsafe]) -> None:
    """Add these; entries that stay as they are keep the packets they counted this second."""
    for key, group in _values(entries).items():
        value, held = bytes(_value(group)), failsafe.lookup(key)
        if held is None or held[_COUNTED:] != value[_COUNTED:]:
            failsafe.update(key, value)


def prune(failsafe: Map, entries: Iterable[Failsafe]) -> None:
    """Take out everything but these."""
    wanted = _values(entries)
    for key in failsafe.all_keys():
        if key not in wanted:
            failsafe.delete(key)
