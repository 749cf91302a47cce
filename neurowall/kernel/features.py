# SPDX-License-Identifier: Apache-2.0
"""What this machine's kernel and libraries can do. Asks only: nothing is attached, loaded or committed.

nftables is asked by dry runs: the kernel checks a transaction and is never told to commit it.
"""

import ctypes as c
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neurowall.kernel import libbpf, objects, ringbuf
from neurowall.model.errors import KernelError
from neurowall.model.ruleset import FAMILY, TABLE

_PROG_TYPE_XDP = 6  # enum bpf_prog_type
_OBJECT = "neurowall"
_PROBE = "doctor-probe"  # chain, set and flowtable of the dry runs


@dataclass(frozen=True)
class Bpf:
    """BPF. library: libbpf's version; problem: why XDP programs cannot be loaded; jit: None if unknown.

    object_problem: why our compiled program is not there. ring_problem: why there are no ring buffers.
    """

    library: str | None
    problem: str | None
    jit: bool | None
    object_problem: str | None
    ring_problem: str | None = None


@dataclass(frozen=True)
class Conntrack:
    """The kernel's table of connections, in connections."""

    used: int
    size: int
    buckets: int


@dataclass(frozen=True)
class Nftables:
    """nftables. problem: why none of it can be used; refused: by feature, why the kernel refuses it."""

    problem: str | None
    refused: Mapping[str, str]


def bpf(proc: Path = Path("/proc")) -> Bpf:
    """Ask libbpf and the kernel; loading the smallest XDP program takes privilege."""
    try:
        version = libbpf.version()  # and has libbpf's own messages kept instead of printed
        library = c.CDLL("libbpf.so.1", use_errno=True)
        probe = library.libbpf_probe_bpf_prog_type
    except (OSError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"libbpf is too old: {error}"
        return Bpf(None, why, _jit(proc), _object())
    probe.restype, probe.argtypes = c.c_int, (c.c_int, c.c_void_p)
    problem = _bpf_problem(probe(_PROG_TYPE_XDP, None))
    return Bpf(version, problem, _jit(proc), _object(), ringbuf.problem())


def _bpf_problem(answer: int) -> str | None:
    """What libbpf_probe_bpf_prog_type() said: 1 for yes, 0 for no, else -errno."""
    if answer == 1:
        return None
    if answer == 0:
        return "the kernel lets this user load no XDP program"
    return "whether the kernel loads XDP programs is not told to this user"


def _jit(proc: Path) -> bool | None:
    """net.core.bpf_jit_enable, which only the first network namespace has."""
    try:
        return (proc / "sys/net/core/bpf_jit_enable").read_text().strip() != "0"
    except OSError:
        return None


def _object() -> str | None:
    try:
        objects.path(_OBJECT)
    except FileNotFoundError as error:
        return str(error)
    return None


def conntrack(proc: Path = Path("/proc")) -> Conntrack | None:
    """How full the table of connections is; None if this namespace tracks none yet."""
    folder = proc / "sys/net/netfilter"
    try:
        used, size, buckets = (
            int((folder / f"nf_conntrack_{name}").read_text()) for name in ("count", "max", "buckets")
        )
    except (OSError, ValueError):
        return None
    return Conntrack(used, size, buckets)


def _chain(statement: str, kind: str = "filter hook input priority 0") -> str:
    return (
        f"add chain {FAMILY} {TABLE} {_PROBE} {{ type {kind}; }}\n"
        f"add rule {FAMILY} {TABLE} {_PROBE} {statement}"
    )


def _set(kind: str, flags: str) -> str:
    return f"add set {FAMILY} {TABLE} {_PROBE} {{ type {kind}; flags {flags}; size 16; }}"


_NAT_IN = "nat hook prerouting priority -100"
_NAT_OUT = "nat hook postrouting priority 100"

NFT_FEATURES: Mapping[str, str] = {
    "states": _chain("ct state established accept"),
    "interval sets": _set("ipv4_addr", "interval"),
    "concatenated ranges": _set("ipv4_addr . inet_service", "interval"),
    "timeouts": _set("ipv6_addr", "interval, timeout"),
    "limits per source": _set("ipv4_addr", "dynamic, timeout")
    + "\n"
    + _chain(f"add @{_PROBE} {{ ip saddr limit rate 1/second }} accept"),
    "connection limits": _set("ipv4_addr", "dynamic")
    + "\n"
    + _chain(f"add @{_PROBE} {{ ip saddr ct count over 1 }} drop"),
    "reject": _chain("reject with icmpx port-unreachable"),
    "log": _chain('limit rate 1/second log prefix "probe"'),
    "address types": _chain("fib daddr type local accept"),
    "port forwards": _chain("ip daddr 192.0.2.1 tcp dport 80 dnat ip to 198.51.100.1", _NAT_IN),
    "masquerade": _chain("masquerade", _NAT_OUT),
}
"""What the compiled ruleset is made of, each as a transaction that a kernel without it refuses."""


def nftables(flowtable_devices: tuple[str, ...] = ()) -> Nftables:
    """Dry-run every feature, and a flowtable over some devices. Takes CAP_NET_ADMIN."""
    try:
        from nftables import Nftables as Library  # Debian's python3-nftables

        library = Library()
    except (ImportError, OSError) as error:
        return Nftables(f"libnftables cannot be used ({error}): install python3-nftables", {})
    library.set_dry_run(True)
    table = f"add table {FAMILY} {TABLE}\n"
    if problem := _dry_run(library, table):
        return Nftables(problem, {})
    wanted = dict(NFT_FEATURES)
    if flowtable_devices:
        devices = ", ".join(f'"{name}"' for name in flowtable_devices)
        flowtable = f"hook ingress priority 0; devices = {{ {devices} }};"
        wanted["flowtable"] = f"add flowtable {FAMILY} {TABLE} {_PROBE} {{ {flowtable} }}"
    answers = {feature: _dry_run(library, table + commands) for feature, commands in wanted.items()}
    return Nftables(None, {name: why for name, why in answers.items() if why})


def _dry_run(library: object, commands: str) -> str | None:
    """Why the kernel refuses a transaction, None if it would take it."""
    code, _, error = library.cmd(commands)  # type: ignore[attr-defined]
    if not code:
        return None
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[0].split("Error: ", 1)[-1] if lines else f"error {code}"


def read_release(proc: Path = Path("/proc")) -> str:
    """As `uname -r` has it."""
    try:
        return (proc / "sys/kernel/osrelease").read_text().strip()
    except OSError as error:
        raise KernelError(f"/proc cannot be read: {error.strerror}") from error
