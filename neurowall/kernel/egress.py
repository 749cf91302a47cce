# SPDX-License-Identifier: Apache-2.0
"""The program at egress of one interface.

It is attached by a pinned tcx link, or where the kernel has no tcx (before 6.6) by a filter of a clsact
qdisc, which stays without any pin.
"""

import errno
import os
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from neurowall.kernel import attachment, libbpf, netlink, pins
from neurowall.model.errors import KernelError

_CLSACT_EGRESS = 0xFFFFFFF3  # TC_H_CLSACT and TC_H_MIN_EGRESS of linux/pkt_sched.h
_PRIORITY, _HANDLE = 0x4E57, 1  # of our filter; other programs' filters have others
_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP)


def pin_of(links: Path, interface: str) -> Path:
    """Where the link is pinned: no interface can have this name."""
    return links / f"{interface}:egress"


def holds(ifindex: int, pin: Path, record: attachment.Record) -> bool:
    """Whether our program is on this interface now."""
    if record.egress == "tcx":
        return attachment.holds(ifindex, pin)
    return bool(record.egress) and _has_filter(ifindex)


def attach(program_fd: int, ifindex: int, pin: Path, record: attachment.Record) -> None:
    """Put the program on the interface, or in the place of the one that is there.

    *record* says afterwards how; it is to be saved. KernelError if it is refused.
    """
    if attachment.adopt(program_fd, ifindex, pin):
        record.egress = "tcx"
        return
    try:
        link = libbpf.link_create_egress(program_fd, ifindex)
    except libbpf.LibbpfError as error:
        if error.errno not in _NO_TCX:
            raise KernelError(f"no program at egress: {error}") from error
        _attach_filter(program_fd, ifindex, record)
        return
    try:
        pin.parent.mkdir(exist_ok=True)
        libbpf.pin(link, pin)
    finally:
        os.close(link)
    record.egress = "tcx"


def detach(interface: str, pin: Path, record: attachment.Record) -> None:
    """Take the program off, however it was attached."""
    attachment.detach(pin)
    ifindex = netlink.interface_index(interface)
    if record.egress.startswith("clsact") and ifindex is not None:
        with IPRoute() as rtnetlink:
            _quietly(rtnetlink, "del-filter", "bpf", ifindex, **_FILTER)
            if record.egress == "clsact-own":
                _quietly(rtnetlink, "del", "clsact", ifindex)
    record.egress = ""


def detach_all(root: Path, records: attachment.Records) -> None:
    """Undo every attachment below a bpffs, at egress and of XDP, and give every offload back."""
    for interface, record in records.by_name.items():
        detach(interface, pin_of(pins.Pins(root).links, interface), record)
    attachment.detach_all(root, records)


_FILTER = {"parent": _CLSACT_EGRESS, "prio": _PRIORITY, "handle": _HANDLE}


def _attach_filter(program_fd: int, ifindex: int, record: attachment.Record) -> None:
    """As a filter of clsact, which may be there already: then it is not ours to remove."""
    try:
        with IPRoute() as rtnetlink:
            try:
                rtnetlink.tc("add", "clsact", ifindex)
                record.egress = "clsact-own"
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise
                record.egress = record.egress or "clsact"
            rtnetlink.tc(
                "replace-filter",
                "bpf",
                ifindex,
                **_FILTER,
                protocol=0x0003,  # ETH_P_ALL
                fd=program_fd,
                name="nw_egress",
                direct_action=True,
            )
    except NetlinkError as error:
        record.egress = ""
        raise KernelError(f"no program at egress: neither tcx nor clsact: {error}") from error


def _has_filter(ifindex: int) -> bool:
    try:
        with IPRoute() as rtnetlink:
            found = rtnetlink.get_filters(ifindex, parent=_CLSACT_EGRESS)
    except NetlinkError:
        return False
    return any(each["info"] >> 16 == _PRIORITY and each.get_attr("TCA_OPTIONS") for each in found)


def _quietly(rtnetlink: IPRoute, *arguments: object, **options: object) -> None:
    """A removal of what may have gone already."""
    try:
        rtnetlink.tc(*arguments, **options)
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            raise KernelError(f"take the filter off: {error}") from error
