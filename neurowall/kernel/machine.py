# SPDX-License-Identifier: Apache-2.0
"""The interfaces of this network namespace as they are: addresses, routes, devices, who listens.

Reads only. Everything acts on the network namespace of the calling thread.
"""

import array
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.ethtool import Ethtool
from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.generic import GenericNetlinkSocket

from neurowall.kernel import netlink

ETHERNET = 1  # ARPHRD_ETHER
LOOPBACK = 772  # ARPHRD_LOOPBACK
_MAIN = 254  # RT_TABLE_MAIN
_UNICAST = 1  # RTN_UNICAST
_SIOCETHTOOL, _ETHTOOL_GDRVINFO = 0x8946, 3
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp

# Bits of NETDEV_A_DEV_XDP_FEATURES, linux/netdev.h.
XDP_BASIC, XDP_OFFLOAD, XDP_MULTI_BUFFER = 1, 16, 32


@dataclass(frozen=True)
class Device:
    """One interface.

    type: ARPHRD_ number. kind: of a virtual one ("veth", "bridge", "vlan" ...). master: what it is a port of.
    lower: what a VLAN and the like sits on. addresses: with prefix length; link-local ones are left out.
    routed: networks of the main table that lie behind it, without default routes. default: families that have
    their default route there. xdp_features: what the driver says it can do, None if the kernel cannot tell.
    queues: receive queues, None if the driver does not say. offloads: those that are on.
    """

    name: str
    ifindex: int
    type: int = ETHERNET
    kind: str | None = None
    up: bool = True
    mtu: int = 1500
    master: str | None = None
    lower: str | None = None
    addresses: tuple[str, ...] = ()
    routed: tuple[str, ...] = ()
    default: frozenset[int] = frozenset()
    driver: str = ""
    xdp_mode: str = "none"
    xdp_features: int | None = None
    queues: int | None = None
    offloads: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Listener:
    """A socket that waits for packets from elsewhere. protocol: tcp or udp."""

    protocol: str
    port: int


def devices() -> tuple[Device, ...]:
    """Every interface but loopback, by index. What cannot be asked of one is left as unknown."""
    with IPRoute() as rtnetlink:
        links = [link for link in rtnetlink.get_links() if link["ifi_type"] != LOOPBACK]
        names = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in links}
        addresses = _addresses(rtnetlink)
        routed, default = _routes(rtnetlink)
    features = _xdp_features()
    return tuple(
        Device(
            name=names[index],
            ifindex=index,
            type=link["ifi_type"],
            kind=_kind(link),
            up=bool(link["flags"] & 1),
            mtu=link.get_attr("IFLA_MTU") or 0,
            master=names.get(link.get_attr("IFLA_MASTER")),
            # The peer of a veth is in IFLA_LINK too, and of another namespace it is another interface.
            lower=names.get(link.get_attr("IFLA_LINK")) if _kind(link) != "veth" else None,
            addresses=addresses.get(index, ()),
            routed=routed.get(index, ()),
            default=default.get(index, frozenset()),
            driver=_driver(names[index]),
            xdp_mode=netlink.xdp_mode(names[index]),
            xdp_features=features.get(index),
            queues=_queues(names[index]),
            offloads=_offloads(names[index]),
        )
        for index, link in sorted((link["index"], link) for link in links)
    )


def _kind(link: Any) -> str | None:
    info = link.get_attr("IFLA_LINKINFO")
    return str(info.get_attr("IFLA_INFO_KIND")) if info else None


def _addresses(rtnetlink: IPRoute) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for each in rtnetlink.get_addr():
        address = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
        if not ipaddress.ip_address(address).is_link_local:
            found[each["index"]] = (*found.get(each["index"], ()), f"{address}/{each['prefixlen']}")
    return found


def _routes(rtnetlink: IPRoute) -> tuple[dict[int, tuple[str, ...]], dict[int, frozenset[int]]]:
    """Networks and default routes by interface."""
    routed: dict[int, tuple[str, ...]] = {}
    default: dict[int, frozenset[int]] = {}
    for route in rtnetlink.get_routes():
        family = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(route["family"])
        if family is None or route.get_attr("RTA_TABLE") != _MAIN or route["type"] != _UNICAST:
            continue
        destination = route.get_attr("RTA_DST")
        for index in _outgoing(route):
            if not route["dst_len"]:
                default[index] = default.get(index, frozenset()) | {family}
            elif destination and not ipaddress.ip_address(destination).is_link_local:
                network = f"{destination}/{route['dst_len']}"
                routed[index] = tuple(dict.fromkeys((*routed.get(index, ()), network)))
    return routed, default


def _outgoing(route: Any) -> list[int]:
    """The interfaces of a route; of a multipath route all."""
    ways = [route.get_attr("RTA_OIF"), *(hop["oif"] for hop in route.get_attr("RTA_MULTIPATH") or ())]
    return [way for way in ways if way]


class _NetworkDevice(genlmsg):  # type: ignore[misc] # pyroute2 is not typed
    """linux/netdev.h, family `netdev`: what a device's driver can do for XDP."""

    nla_map = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def _xdp_features() -> dict[int, int]:
    """By ifindex; empty below Linux 6.3, which has nothing to ask."""
    try:
        with GenericNetlinkSocket() as generic:
            generic.bind("netdev", _NetworkDevice)
            request = _NetworkDevice()
            request["cmd"], request["version"] = 1, 1  # NETDEV_CMD_DEV_GET
            flags = NLM_F_REQUEST | NLM_F_DUMP
            answers = generic.nlm_request(request, msg_type=generic.prid, msg_flags=flags)
            return {
                answer.get_attr("NETDEV_A_DEV_IFINDEX"): answer.get_attr("NETDEV_A_DEV_XDP_FEATURES") or 0
                for answer in answers
            }
    except Exception:  # noqa: BLE001 - pyroute2 raises its own errors beside OSError; unknown is an answer
        return {}


def _driver(name: str) -> str:
    """The driver by ETHTOOL_GDRVINFO, empty if there is none to ask."""
    # struct ethtool_drvinfo: u32 cmd, then driver[32]; 196 bytes in all.
    info = array.array("B", struct.pack("I", _ETHTOOL_GDRVINFO) + bytes(192))
    request = struct.pack("16sP", name.encode(), info.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError:
            return ""
    return info.tobytes()[4:36].split(b"\0", 1)[0].decode(errors="replace")


def _queues(name: str) -> int | None:
    try:
        channels = Ethtool().get_channels(name)
    except Exception:  # noqa: BLE001 - pyroute2's own errors: the driver does not say
        return None
    return (channels.combined_count or 0) + (channels.rx_count or 0) or None


def _offloads(name: str) -> frozenset[str]:
    try:
        return frozenset(feature for feature, on in netlink.features(name).items() if on)
    except Exception:  # noqa: BLE001 - pyroute2's own errors: the driver does not say
        return frozenset()


def listeners(proc: Path = Path("/proc")) -> tuple[Listener, ...]:
    """What listens on any address but loopback, by protocol and port. UDP: bound and not connected."""
    # `thread-self`, because only this thread may be in the namespace that is asked about.
    tables = proc / "thread-self/net"
    found = {Listener(protocol, port) for protocol in ("tcp", "udp") for port in _listening(tables, protocol)}
    return tuple(sorted(found, key=lambda each: (each.protocol, each.port)))


def _listening(tables: Path, protocol: str) -> Iterator[int]:
    for suffix in ("", "6"):
        try:
            lines = (tables / f"{protocol}{suffix}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            address, port = words[1].split(":")
            waits = words[3] == _LISTEN if protocol == "tcp" else words[2].endswith(":0000")
            if waits and not _loopback(address):
                yield int(port, 16)


def _loopback(hexadecimal: str) -> bool:
    """Addresses in /proc/net are words of 32 bits in the machine's byte order."""
    words = [int(hexadecimal[place : place + 8], 16) for place in range(0, len(hexadecimal), 8)]
    return ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)).is_loopback


def forwarding(proc: Path = Path("/proc")) -> Mapping[int, bool]:
    """Whether packets of each family that come in by some interface are forwarded, as sysctl has it."""
    four, six = proc / "sys/net/ipv4/conf", proc / "sys/net/ipv6/conf"
    return {
        4: any(
            _is_on(each) for each in four.glob("*/forwarding") if each.parent.name not in ("all", "default")
        ),
        # The kernel asks `all`, or since 6.17 the interface.
        6: _is_on(six / "all/forwarding") or any(_is_on(file) for file in six.glob("*/force_forwarding")),
    }


def _is_on(file: Path) -> bool:
    try:
        return file.read_text().strip() != "0"
    except OSError:
        return False
