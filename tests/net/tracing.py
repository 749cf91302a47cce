# SPDX-License-Identifier: Apache-2.0
"""`neurowall trace` as a child process, and packets that end at a place of the test's choice."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from bench.testbed.chain import Chain
from bench.testbed.process import Process
from bench.testbed.run import Run
from tests.net.daemon import NEUROWALL, Daemon, until

Json = dict[str, Any]


@dataclass
class Trace:
    """A trace under way."""

    process: Process

    def lines(self) -> list[Json]:
        """What it printed so far."""
        told = self.process.tail(1 << 20).splitlines()
        return [json.loads(line) for line in told if line.startswith("{")]

    def end(self, number: signal.Signals = signal.SIGINT) -> Json:
        """Ctrl-C; its summary."""
        self.process.signal(number)
        assert self.process.wait(15) == 0, self.process.tail()
        return self.summary()

    def summary(self) -> Json:
        """What it said at its end."""
        found: Json = self.lines()[-1]["summary"]
        return found


def start(run: Run, daemon: Daemon, address: str, *more: str, env: dict[str, str] | None = None) -> Trace:
    """Start one and wait until its probes count."""
    argv = (*NEUROWALL, "trace", address, "-o", "json", "--run-dir", str(daemon.run_dir), *more)
    trace = Trace(run.spawn(argv, name="trace", env=env))

    def watching() -> bool:
        assert trace.process.alive(), trace.process.tail()
        return "watching" in trace.process.tail()

    until(watching, 60.0)
    return trace


class Sender:
    """Sends whole frames from the client to the gateway's MAC address."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        with chain.client.enter():
            self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self._wire.bind((chain.client_if.name, 0))

    def close(self) -> None:
        """Close the socket."""
        self._wire.close()

    def send(self, packet: Packet, times: int) -> None:
        """Send one packet so many times."""
        frame = bytes(Ether(src=self._chain.client_if.mac, dst=self._chain.gateway_in.mac) / packet)
        for _ in range(times):
            self._wire.send(frame)


def send_frames(interface: str, frame: bytes, times: int) -> None:
    """Send a frame by an interface of this thread's namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        for _ in range(times):
            wire.send(frame)


@contextmanager
def sender(chain: Chain) -> Iterator[Sender]:
    """A sender that is closed at the end."""
    made = Sender(chain)
    try:
        yield made
    finally:
        made.close()


def udp(source: str, destination: str, port: int, ttl: int = 64, **fields: Any) -> Packet:
    """A UDP packet of either family; fields are those of UDP, such as a wrong `chksum`."""
    network = (
        IPv6(src=source, dst=destination, hlim=ttl)
        if ":" in source
        else IP(src=source, dst=destination, ttl=ttl)
    )
    return network / UDP(sport=4711, dport=port, **fields) / b"trace"


def packets(summary: Json, **wanted: str) -> int:
    """How many packets were counted at places with these values."""
    return sum(
        place["packets"]
        for place in summary["places"]
        if all(place[name] == value for name, value in wanted.items())
    )
