# SPDX-License-Identifier: Apache-2.0
"""Forwarding between the policy's interfaces, and giving back what was before.

IPv4 is forwarded if the interface that a packet came in by says so, and nothing else of the machine changes.
IPv6 also asks `force_forwarding` of that interface (Linux 6.17) or, before that, `all/forwarding`, which
opens every interface of the machine: what may pass there is up to its firewall. An interface that forwards no
longer takes router advertisements unless `accept_ra` is 2: where they were taken, they stay so.
Source: Documentation/networking/ip-sysctl.rst, ip6_forward in net/ipv6/ip6_output.c.

Acts on the network namespace of the calling thread.
"""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurowall.model.errors import KernelError

_ROOT = Path("/proc/sys")
_ALL6 = "net/ipv6/conf/all/forwarding"
_OURS = re.compile(r"net/ipv[46]/conf/(?!\.\.?/)[^/]+/(forwarding|force_forwarding|accept_ra)")


@dataclass(frozen=True)
class Change:
    """One sysctl: its value before we first wrote it, and what we wrote."""

    before: str
    written: str


Record = Mapping[str, Change]


def forward(interfaces: Sequence[str], record: Path, families: Collection[int] = (4, 6)) -> None:
    """Have packets forwarded that come in by these interfaces; others in *record* get back what they had.

    Values before go into *record* before the first one is changed; there the oldest stay. Interfaces that do
    not exist are left out: call again when they come. To call again changes nothing. KernelError names the
    sysctl that cannot be written.
    """
    known = _load(record)
    wanted = _wanted(interfaces, families)
    dropped = {name: known[name] for name in known if not _is_wanted(name, interfaces, families)}
    _give_back(dropped)
    kept = {name: change for name, change in known.items() if name not in dropped}
    for name, value in wanted.items():
        before = _read(name)
        if before is not None and before != value:
            kept[name] = Change(kept[name].before if name in kept else before, value)
    if not kept:
        record.unlink(missing_ok=True)
        return
    if kept != known:
        _save(record, kept)
    for name, value in wanted.items():
        if _read(name) not in {None, value}:
            _write(name, value)


def restore(record: Path) -> None:
    """Write back what is in *record* and remove it; what somebody else changed meanwhile stays as it is."""
    _give_back(_load(record))
    record.unlink(missing_ok=True)


def is_forwarding(interface: str) -> tuple[bool, bool]:
    """Whether IPv4, IPv6 packets that come in by this interface are forwarded."""
    six = [_ALL6, f"net/ipv6/conf/{interface}/force_forwarding"]
    return _read(f"net/ipv4/conf/{interface}/forwarding") == "1", any(_read(name) == "1" for name in six)


def _wanted(interfaces: Sequence[str], families: Collection[int]) -> dict[str, str]:
    """Sysctls that exist, and the values they should have, in the order of writing."""
    wanted: dict[str, str] = {}
    for interface in interfaces:
        if 4 in families:
            wanted[f"net/ipv4/conf/{interface}/forwarding"] = "1"
        if 6 not in families:
            continue
        six = f"net/ipv6/conf/{interface}"
        # Before forwarding is: the kernel then throws away the default routes that were advertised.
        if _read(f"{six}/accept_ra") == "1" and _read(f"{six}/forwarding") == "0":
            wanted[f"{six}/accept_ra"] = "2"
        wanted[f"{six}/forwarding"] = "1"
        if _read(f"{six}/force_forwarding") is not None:
            wanted[f"{six}/force_forwarding"] = "1"
        elif _read(f"{six}/forwarding") is not None:
            wanted[_ALL6] = "1"
    return {name: value for name, value in wanted.items() if _read(name) is not None}


def _is_wanted(name: str, interfaces: Sequence[str], families: Collection[int]) -> bool:
    """Whether a sysctl of the record is still of use to one of the interfaces."""
    if (6 if name.startswith("net/ipv6") else 4) not in families:
        return False
    return bool(interfaces) if name == _ALL6 else name.split("/")[3] in interfaces


def _give_back(changes: Record) -> None:
    """In the reverse order of writing, the one of all interfaces first: it changes those of each."""
    ordered = list(reversed(list(changes)))
    ordered.sort(key=lambda name: name != _ALL6)
    for name in ordered:
        change = changes[name]
        if change.before != change.written == _read(name):
            _write(name, change.before)


def _write(name: str, value: str) -> None:
    others = _each_forwarding() if name == _ALL6 else {}
    try:
        (_ROOT / name).write_text(value, encoding="ascii")
        # The kernel writes the value of `all` into every interface and the default: they get back their own.
        for other, before in others.items():
            if _read(other) not in {None, before}:
                (_ROOT / other).write_text(before, encoding="ascii")
    except FileNotFoundError:
        return  # the interface went just now
    except OSError as error:
        raise KernelError(
            f"sysctl {name.replace('/', '.')} cannot be set to {value}: {error.strerror}; "
            "it takes CAP_NET_ADMIN and a writable /proc/sys/net"
        ) from error


def _each_forwarding() -> dict[str, str]:
    """What every interface and the default say of IPv6 forwarding."""
    directory = _ROOT / "net/ipv6/conf"
    names = [f"net/ipv6/conf/{each.name}/forwarding" for each in directory.iterdir() if each.name != "all"]
    return {name: value for name in names if (value := _read(name)) is not None}


def _read(name: str) -> str | None:
    """The value; None if there is no such sysctl."""
    try:
        return (_ROOT / name).read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise KernelError(f"sysctl {name.replace('/', '.')} cannot be read: {error.strerror}") from error


def _load(record: Path) -> dict[str, Change]:
    try:
        text = record.read_text(encoding="utf-8")
        known = {_ours(name): Change(str(both[0]), str(both[1])) for name, both in json.loads(text).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise KernelError(
            f"{record} does not say which sysctls were changed ({error}); look at the machine's "
            "forwarding sysctls yourself and remove the file"
        ) from error
    return known


def _ours(name: str) -> str:
    """A name of the record. Root reads what a daemon of another user wrote: it must lead nowhere else."""
    if not _OURS.fullmatch(name):
        raise ValueError(f"{name!r} is none that Neurowall writes")
    return name


def _save(record: Path, changes: Record) -> None:
    """Whole or not at all, and on the disk before it is relied on."""
    text = json.dumps({name: [change.before, change.written] for name, change in changes.items()}, indent=1)
    temporary = record.with_name(f"{record.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("x", encoding="utf-8") as file:  # never through a link of another user's
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(record)
        directory = os.open(record.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise KernelError(f"cannot write {record}: {error.strerror}; no sysctl was changed") from error
