# SPDX-License-Identifier: Apache-2.0
"""XDP on one interface: choose the mode, attach by a pinned link, adopt a link, take it off.

Offloads that would hide packets from XDP go off first: receive VLAN offload strips the tag that the
parser must see, LRO merges packets. Their former state is written down before they change.
"""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from neurowall.kernel import libbpf, netlink, pins
from neurowall.model.errors import KernelError

FLAGS = {
    "offload": libbpf.XDP_FLAGS_HW_MODE,
    "native": libbpf.XDP_FLAGS_DRV_MODE,
    "generic": libbpf.XDP_FLAGS_SKB_MODE,
}
_MUST_BE_OFF = ("rx-vlan-hw-parse", "rx-vlan-stag-hw-parse", "rx-lro")


class Refused(KernelError):
    """The device takes a program in no mode at all."""


@dataclass
class Record:
    """What is known of an attached interface beyond the kernel's own link; kept in the run directory."""

    mode: str
    why: str
    offloads: dict[str, bool] = field(default_factory=dict)  # as they were before us
    egress: str = ""  # how a program is attached there: "tcx", "clsact", "clsact-own" if that is ours too
    zone: int = 0  # whose flows that program records


class Records:
    """The records of all interfaces in one JSON file, written before what they describe is done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.by_name: dict[str, Record] = {}
        if path.exists():
            try:
                raw = json.loads(path.read_text(encoding="utf-8"))
                self.by_name = {_interface(name): Record(**fields) for name, fields in raw.items()}
            except (ValueError, TypeError, AttributeError) as error:
                raise KernelError(f"{path} is damaged ({error}): move it away and start again") from error

    def save(self) -> None:
        """Write the file whole or not at all."""
        draft = self._path.with_suffix(".tmp")
        draft.unlink(missing_ok=True)
        with draft.open("x", encoding="utf-8") as file:  # never through a link that another user put there
            file.write(json.dumps({name: asdict(record) for name, record in self.by_name.items()}))
        draft.replace(self._path)


def _interface(name: str) -> str:
    """A name of the records, which `neurowall down` reads as root though another user wrote them."""
    if "/" in name:
        raise ValueError(f"{name!r} is no interface")
    return name


def choose_mode(requested: str, attempt: Callable[[str], str | None]) -> tuple[str, str]:
    """Try modes in order of speed until one works; answers it and why.

    *attempt* attaches in a mode and answers None, or says why it cannot be. Only `auto` tries more than the
    mode that was asked for. KernelError if that one does not work, Refused if none at all does.
    """
    if requested != "auto":
        if refusal := attempt(requested):
            raise KernelError(f"XDP mode {requested}, as configured, is refused: {refusal}")
        return requested, "configured"
    refusals: list[str] = []
    for mode in FLAGS:
        refusal = attempt(mode)
        if refusal is None:
            return mode, "; ".join(refusals) or "the fastest, and the device takes it"
        refusals.append(f"{mode} refused: {refusal}")
    raise Refused("; ".join(refusals))


def quiet_offloads(interface: str, records: Records, record: Record) -> None:
    """Switch off what would hide packets; their state before is saved first."""
    on = [name for name, enabled in netlink.features(interface).items() if enabled and name in _MUST_BE_OFF]
    if not on:
        return
    record.offloads = dict.fromkeys(on, True) | record.offloads
    records.by_name[interface] = record
    records.save()
    netlink.set_features(interface, dict.fromkeys(on, False))


def restore_offloads(interface: str, record: Record) -> None:
    """Give the offloads back as they were, if the interface is still there."""
    if record.offloads and netlink.interface_index(interface) is not None:
        netlink.set_features(interface, record.offloads)


def attach(program_fd: int, ifindex: int, mode: str, pin: Path) -> str | None:
    """Attach by a link pinned at *pin*; answers why it cannot be, or None."""
    try:
        link = libbpf.link_create_xdp(program_fd, ifindex, FLAGS[mode])
    except libbpf.LibbpfError as error:
        if error.errno in (errno.EBUSY, errno.EEXIST):
            return "another XDP program is attached: take it off first (ip link show names it)"
        return os.strerror(error.errno or 0)
    try:
        pin.parent.mkdir(exist_ok=True)
        libbpf.pin(link, pin)
    finally:
        os.close(link)
    return None


def adopt(program_fd: int, ifindex: int, pin: Path) -> bool:
    """Give a pinned link that still holds this interface the new program; False if there is none.

    The pin of a link whose interface has gone, or came back as another one, is removed.
    """
    if not pin.exists():
        return False
    link = libbpf.get_pinned(pin)
    try:
        if libbpf.link_info(link).ifindex != ifindex:
            pin.unlink()
            return False
        libbpf.link_update(link, program_fd)
    finally:
        os.close(link)
    return True


def holds(ifindex: int, pin: Path) -> bool:
    """Whether the pinned link is on this interface now."""
    if not pin.exists():
        return False
    link = libbpf.get_pinned(pin)
    try:
        return int(libbpf.link_info(link).ifindex) == ifindex
    finally:
        os.close(link)


def detach(pin: Path) -> None:
    """Take the program off, whoever else holds the link, and remove the pin."""
    if not pin.exists():
        return
    link = libbpf.get_pinned(pin)
    try:
        libbpf.link_detach(link)
    except libbpf.LibbpfError as error:
        if error.errno not in (errno.ENOLINK, errno.ENODEV, errno.EINVAL):  # its interface has gone
            raise KernelError(f"detach {pin.name}: {error}") from error
    finally:
        os.close(link)
        pin.unlink()


def detach_all(root: Path, records: Records) -> None:
    """Undo every attachment below a bpffs and give every offload back."""
    links = pins.Pins(root).links
    for pin in sorted(links.iterdir()) if links.is_dir() else ():
        detach(pin)
    for interface, record in records.by_name.items():
        restore_offloads(interface, record)
    records.by_name.clear()
    records.save()
