# SPDX-License-Identifier: Apache-2.0
"""The reference points: a gateway without a firewall, and XDP programs that do as little as can be."""

import os
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.sut.base import ConfigureReport, Gate, Rules, RulesetRejected, SutError, SystemCounters
from bench.testbed.ethtool import Ethtool
from bench.traffic import percpu
from neurowall.kernel import libbpf, objects

if TYPE_CHECKING:
    from bench.testbed.base import Chain

TOUCH_LINES = 262_144
"""Lines of 64 bytes: 16 MiB, as neurowall's host table at its default capacity of a million."""


class NoSystem:
    """No firewall at all: the control that path and receiver work."""

    name = "none"
    gate: Gate = "pass"

    def available(self, rules: Rules | None = None) -> str | None:  # noqa: ARG002 (the protocol's)
        """Always."""
        return None

    def configure(self, chain: "Chain", rules: Rules) -> ConfigureReport:  # noqa: ARG002
        """Do nothing."""
        return ConfigureReport(0.0)

    def counters(self) -> SystemCounters:
        """Nothing is dropped, nothing counted."""
        return SystemCounters(0, None, "no firewall")

    def memory_mib(self) -> None:
        """There is nothing to measure."""

    def describe(self) -> dict[str, Any]:
        """Nothing is loaded."""
        return {"loaded": "nothing"}

    def close(self) -> None:
        """Nothing to take off."""


class XdpSystem:
    """A program of ours attached natively to the gateway's interface; what its subclasses share."""

    name: str
    gate: Gate
    program: str

    def __init__(self) -> None:
        self._chain: Chain | None = None
        self._object: libbpf.Object | None = None
        self._link = -1

    def available(self, rules: Rules | None = None) -> str | None:  # noqa: ARG002
        """Root and the compiled object."""
        if os.geteuid() != 0:
            return f"{self.name} attaches an XDP program, which needs root"
        try:
            objects.path(self.program)
        except FileNotFoundError as error:
            return str(error)
        return None

    def configure(self, chain: "Chain", rules: Rules) -> ConfigureReport:  # noqa: ARG002
        """Load and attach; the rules do not matter to it."""
        start = time.monotonic()
        try:
            self._attach(chain)
        except OSError as error:
            self.close()
            raise RulesetRejected(f"{self.name}: the kernel refused {self.program}: {error}") from error
        return ConfigureReport(time.monotonic() - start)

    def _attach(self, chain: "Chain") -> None:
        self._chain = chain
        self._object = libbpf.Object(objects.path(self.program))
        self._prepare(self._object)
        self._object.load()
        with chain.gateway.enter():
            program, index = self._object.program_fd(self.program), chain.gateway_in.index
            self._link = libbpf.link_create_xdp(program, index, libbpf.XDP_FLAGS_DRV_MODE)

    def _prepare(self, loading: libbpf.Object) -> None:
        raise NotImplementedError

    def loaded(self) -> tuple["Chain", libbpf.Object]:
        """What it is attached to, and the program; SutError before configure."""
        if self._chain is None or self._object is None:
            raise SutError(f"{self.name} is not configured: call configure() first")
        return self._chain, self._object

    def memory_mib(self) -> None:
        """Not asked: it holds no rules."""

    def describe(self) -> dict[str, Any]:
        """Program, its size and how it is attached."""
        _, loaded = self.loaded()
        info = libbpf.program_info(loaded.program_fd(self.program))
        tag = bytes(info.tag).hex()
        size = int(info.jited_prog_len)
        return {"program": self.program, "tag": tag, "jited_bytes": size, "mode": "native"}

    def close(self) -> None:
        """Detach and unload."""
        if self._link >= 0:
            os.close(self._link)
            self._link = -1
        if self._object is not None:
            self._object.close()
            self._object = None


class XdpNull(XdpSystem):
    """A program that only returns a verdict; counted by the driver, since a counter would be work."""

    name = "xdp-null"
    program = "xdpnull"

    def __init__(self, verdict: Gate = "drop") -> None:
        super().__init__()
        self.gate = verdict

    def _prepare(self, loading: libbpf.Object) -> None:
        action = libbpf.XDP_DROP if self.gate == "drop" else libbpf.XDP_PASS
        loading.set_constants(struct.pack("=I", action))

    def counters(self) -> SystemCounters:
        """What veth counted around the program."""
        chain, _ = self.loaded()
        with chain.gateway.enter(), Ethtool() as ethtool:
            found = ethtool.statistics(chain.gateway_in.name)
        seen = sum(value for name, value in found.items() if name.endswith("xdp_packets"))
        dropped = sum(value for name, value in found.items() if name.endswith("xdp_drops"))
        return SystemCounters(dropped, seen - dropped, "ethtool -S: rx_queue_*_xdp_packets and _xdp_drops")


class XdpTouch(XdpSystem):
    """The floor of any exact list: parse the source, touch one pseudo-random line, count, drop."""

    name = "xdp-touch"
    gate: Gate = "drop"
    program = "xdptouch"

    def __init__(self, lines: int = TOUCH_LINES) -> None:
        super().__init__()
        self._lines = lines

    def _prepare(self, loading: libbpf.Object) -> None:
        loading.set_max_entries("lines", self._lines)
        loading.set_constants(struct.pack("=I", self._lines - 1))

    def counters(self) -> SystemCounters:
        """Its own per-CPU counter."""
        _, loaded = self.loaded()
        dropped = int(percpu.read(loaded.map_fd("dropped"), 0, np.uint64).sum())
        return SystemCounters(dropped, None, "map dropped of xdptouch")

    def describe(self) -> dict[str, Any]:
        """Also the size of its table."""
        return {**super().describe(), "table_bytes": self._lines * 64}
