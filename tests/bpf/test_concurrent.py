# SPDX-License-Identifier: Apache-2.0
"""A reader that never stops, on another CPU, while lists change: it meets the moment between two stores.

The sources that it reads are blocked by every state of the lists. Their own entries are rewritten, moved from
host to prefix and back, painted over, and their neighbours come and go; not one packet may pass.
"""

import mmap
import os
import signal
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from bench.testbed.syscalls import unshare_network
from neurowall.kernel import libbpf
from neurowall.model.errors import ApplyError
from neurowall.model.reasons import Reason
from tests.bpf.conftest import ENGINES
from tests.bpf.gateway import ROLE, Gateway, frame, gateways
from tests.bpf.listsets import written
from tests.bpf.oracle_lists import RawList
from tests.bpf.test_updates import MUTATIONS, mutate

LOOPBACK = 1
REPEAT = 200  # packets from a source at a time
CHANGES = 40
NET4, NET6 = 198 << 24 | 51 << 16 | 100 << 8, 0x20010DB800000000 << 64
SOURCES = {4: [NET4 + 16 * i + 1 for i in range(12)], 6: [NET6 + (i << 64) + 1 for i in range(6)]}

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")


class Reader:
    """A process on the last CPU that runs the program over and over."""

    def __init__(self, program: int, frames: list[bytes]) -> None:
        self._program, self._frames = program, frames
        self._shared = mmap.mmap(-1, 16)  # packets so far; whether to stop
        self.pid = os.fork()
        if not self.pid:
            try:
                self._read()
            finally:
                os._exit(0)

    def _read(self) -> None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        # A program that is attached nowhere is entered into the XDP dispatcher for each call, in 20 ms.
        unshare_network()
        link = libbpf.link_create_xdp(self._program, LOOPBACK, libbpf.XDP_FLAGS_SKB_MODE)
        packets = 0
        while not self._shared[8]:
            for each in self._frames:
                libbpf.program_run(self._program, each, repeat=REPEAT)
                packets += REPEAT
                self._shared[:8] = struct.pack("=Q", packets)
        os.close(link)

    def packets(self) -> int:
        """How many so far."""
        return int(struct.unpack("=Q", self._shared[:8])[0])

    def stop(self) -> None:
        """End it."""
        self._shared[8] = 1
        os.waitpid(self.pid, 0)


@contextmanager
def reading(gateway: Gateway) -> Iterator[Reader]:
    """A reader of all sources on the last CPU, this process on the first."""
    cpus = os.sched_getaffinity(0)
    frames = [frame(family, source) for family, column in SOURCES.items() for source in column]
    reader = Reader(gateway.plane._program(ROLE), frames)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield reader
    finally:
        reader.stop()
        os.sched_setaffinity(0, cpus)


HOSTS = [written((f, each, 32 if f == 4 else 128)) for f, column in SOURCES.items() for each in column]
LONGER = [written((4, each - 1, 28)) for each in SOURCES[4]] + [
    written((6, each - 1, 64)) for each in SOURCES[6]
]
WIDE = ["198.51.100.0/24", "2001:db8::/48"]
KEPT = (HOSTS, LONGER, WIDE, [*HOSTS, *WIDE], [*LONGER, *WIDE])
# By what the sources are blocked all the time when a writer is to be caught.
CAUGHT = {
    "a host's slot is rewritten in two stores": HOSTS,
    "an IPv6 entry's tag is rewritten in two stores": HOSTS,
    "a net is painted in two stores": WIDE,
}


def states(r: Random, kept: Sequence[Sequence[str]]) -> Iterator[list[RawList]]:
    """Lists that always block every source: by one of *kept*, with others beside and around them."""
    while True:
        others = {f"198.51.{r.randrange(256)}.{r.randrange(256)}" for _ in range(r.choice((0, 100, 400)))}
        others |= {
            f"2001:db8:0:{r.randrange(8)}::{r.randrange(2, 65536):x}" for _ in range(r.choice((0, 100)))
        }
        around = r.sample(["198.51.96.0/20", "198.0.0.0/8", "2001:db8::/32", "2001::/16"], r.randrange(4))
        yield [
            RawList("kept", "block", "\n".join(r.choice(kept))),
            RawList("others", "block", "\n".join(sorted(others.difference(HOSTS)))),
            RawList("around", "block", "\n".join(around)),
        ]


def passed(
    gateway: Gateway,
    r: Random,
    changes: int,
    kept: Sequence[Sequence[str]] = KEPT,
    *,
    until_one: bool = False,
) -> tuple[int, int]:
    """Change the lists so often under a reader; packets that passed, and all of them."""
    following = states(r, kept)
    gateway.declare(next(following))
    before = gateway.plane.reason_counters()
    with reading(gateway) as reader:
        while not reader.packets():
            assert os.waitpid(reader.pid, os.WNOHANG) == (0, 0), "the reader ended"
        for _ in range(changes):
            gateway.declare(next(following))
            if until_one and gateway.plane.reason_counters()[Reason.DEFAULT] != before[Reason.DEFAULT]:
                break
    after = gateway.plane.reason_counters()
    counts = {each: after[each].packets - before[each].packets for each in Reason}
    assert sum(counts.values()) == reader.packets()
    return reader.packets() - counts[Reason.BLOCK_LIST], reader.packets()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reader_on_another_cpu_never_meets_a_gap(engine: str, tmp_path: Path) -> None:
    """Some million packets while lists change 40 times."""
    with gateways([engine], tmp_path) as (gateway,):
        gaps, packets = passed(gateway, Random("concurrent"), CHANGES)
    assert gaps == 0
    assert packets > 1_000_000


@pytest.mark.parametrize("what", CAUGHT)
def test_two_stores_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The same reader meets the gap between them."""
    mutate(monkeypatch, *MUTATIONS[what])
    with gateways(["buckets"], tmp_path) as (gateway,):
        try:
            gaps, _ = passed(gateway, Random("concurrent"), 10 * CHANGES, [CAUGHT[what]], until_one=True)
        except ApplyError:  # the engine reads back what it wrote
            pytest.fail("the writer leaves another state than it should, so nothing is proven")
    assert gaps > 0


@pytest.mark.soak
@pytest.mark.parametrize("engine", ENGINES)
def test_a_reader_on_another_cpu_for_a_long_time(engine: str, tmp_path: Path) -> None:
    """Others every time; the seed is in the output."""
    seed = Random().getrandbits(64)
    with gateways([engine], tmp_path) as (gateway,):
        gaps, packets = passed(gateway, Random(seed), 100 * CHANGES)
    print(f"seed {seed}: {gaps} of {packets:,} packets passed")  # noqa: T201
    assert gaps == 0
