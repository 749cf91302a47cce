# SPDX-License-Identifier: Apache-2.0
"""What machine and which software a result comes from."""

import hashlib
import json
import os
import platform
import re
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.measure.cpu import machine_steal

TOOLS = {
    "bpftool": ["bpftool", "version"],
    "clang": ["clang", "--version"],
    "ethtool": ["ethtool", "--version"],
    "ip": ["ip", "-V"],
    "iperf3": ["iperf3", "--version"],
    "ipset": ["ipset", "--version"],
    "iptables": ["iptables", "--version"],
    "nft": ["nft", "--version"],
}
SAME_MACHINE = ("kernel", "cpu", "memory_mib", "hypervisor", "mitigations", "clocksource")
"""The parts that must agree before two results may be compared."""


def fingerprint(steal_seconds: float = 0.3) -> dict[str, Any]:
    """Kernel, CPU, memory, clock, mitigations, tool versions, load and steal of this machine, now.

    `machine` is a digest of what must agree before results may be compared. Steal is watched for
    `steal_seconds`.
    """
    found: dict[str, Any] = {
        "kernel": kernel(),
        "cpu": cpu_model(),
        "memory_mib": _meminfo("MemTotal") // 1024,
        "hypervisor": hypervisor(),
        "mitigations": mitigations(),
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "versions": dict(versions()),
    }
    same = json.dumps([found[name] for name in SAME_MACHINE], sort_keys=True)
    return found | {
        "machine": hashlib.sha256(same.encode()).hexdigest()[:16],
        "cpus_allowed": sorted(os.sched_getaffinity(0)),
        "load": list(os.getloadavg()),
        "steal": round(machine_steal(steal_seconds), 4),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "bpf_jit": _read("/proc/sys/net/core/bpf_jit_enable"),
    }


def kernel() -> dict[str, str]:
    """Release, build and command line without what only names a disk or host."""
    line = _read("/proc/cmdline") or ""
    kept = [
        word for word in line.split() if re.match(r"(isolcpus|nohz|mitigations|rcu|idle|nosmt|preempt)", word)
    ]
    return {"release": platform.release(), "build": platform.version(), "options": " ".join(kept)}


def cpu_model() -> dict[str, Any]:
    """Model name, microcode, logical CPUs, physical cores and threads a core."""
    blocks = (_read("/proc/cpuinfo") or "").split("\n\n")
    cpus = [dict(re.findall(r"^(.*?)\s*: (.*)$", block, re.MULTILINE)) for block in blocks if block.strip()]
    cores = {(cpu.get("physical id"), cpu.get("core id")) for cpu in cpus}
    first = cpus[0] if cpus else {}
    model = first.get("model name") or platform.processor() or platform.machine()
    return {"model": model, "microcode": first.get("microcode"), "cpus": len(cpus), "cores": len(cores)}


def hypervisor() -> str | None:
    """Name of the hypervisor as far as the guest can tell; None on bare metal."""
    if "hypervisor" not in (_read("/proc/cpuinfo") or "").split():
        return None
    return _read("/sys/hypervisor/type") or _read("/sys/class/dmi/id/sys_vendor") or "unknown"


def mitigations() -> dict[str, str]:
    """What the kernel does against each known CPU flaw; it can cost a third of a packet's time."""
    directory = Path("/sys/devices/system/cpu/vulnerabilities")
    found = {path.name: _read(str(path)) or "" for path in directory.glob("*")}
    return {name: state for name, state in sorted(found.items()) if state != "Not affected"}


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """First line of what each tool says about itself, for the tools there are; asked once."""
    found = {"python": platform.python_version()}
    for name, command in TOOLS.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        found[name] = (done.stdout or done.stderr).strip().partition("\n")[0]
    for package in ("neurowall", "numpy", "pyroute2"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return tuple(sorted((found | _libbpf()).items()))


def _libbpf() -> dict[str, str]:
    """Version of the libbpf that the loader would use."""
    import ctypes

    try:
        library = ctypes.CDLL("libbpf.so.1")
        library.libbpf_version_string.restype = ctypes.c_char_p
        return {"libbpf": library.libbpf_version_string().decode()}
    except (OSError, AttributeError):
        return {}


def _meminfo(name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", _read("/proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) if match else 0


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
