# SPDX-License-Identifier: Apache-2.0
"""Frames that end inside the Ethernet header, or right behind it, through the real gateway.

BPF_PROG_RUN refuses frames under 14 bytes, so only an interface can show what becomes of them. A veth drops
them at its sending end; from 14 bytes on they reach the program, which drops and counts them.
"""

import pytest

from bench.testbed.chain import Chain
from tests.net.daemon import Daemon, until
from tests.net.probes import Probes
from tests.net.xsk import XdpSocket

HEADER = 14
TYPES = {"IPv4": b"\x08\x00", "IPv6": b"\x86\xdd", "VLAN": b"\x81\x00\x00\x01\x08\x00"}


def counted(daemon: Daemon) -> dict[str, int]:
    """Packets by reason."""
    return {row["reason"]: row["packets"] for row in daemon.get("/status")["packets"]}


@pytest.mark.root
@pytest.mark.parametrize("kind", TYPES)
def test_frames_that_end_in_the_ethernet_header(
    daemon: Daemon, chain: Chain, probes: Probes, kind: str
) -> None:
    """None of 1 to 13 bytes is taken, longer ones are dropped as truncated; then all goes on as before."""
    addresses = bytes.fromhex(chain.gateway_in.mac.replace(":", "")) + bytes(6)
    whole = addresses + TYPES[kind] + b"\x45" + bytes(18)  # one byte less than a header of IPv4
    daemon.post("block", "198.51.100.7")
    before = counted(daemon)
    with chain.client.enter(), XdpSocket(chain.client_if.index) as wire:
        taken = [length for length in range(1, len(whole) + 1) if wire.send(whole[:length])]
    assert taken == list(range(HEADER, len(whole) + 1))
    until(lambda: counted(daemon)["truncated"] == before["truncated"] + len(taken))
    assert probes.arrived("198.51.100.7", "198.51.100.8") == {"198.51.100.8"}
