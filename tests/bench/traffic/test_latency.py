# SPDX-License-Identifier: Apache-2.0
import struct
import time

import numpy as np
import pytest

from bench.traffic import latency, percpu
from bench.traffic.frame import MAGIC_STAMPED
from neurowall.kernel import libbpf, objects

XDP_DROP = libbpf.XDP_DROP


def sort(nanoseconds: np.ndarray) -> np.ndarray:
    """Packets by bucket."""
    found = np.searchsorted(latency.edges(), nanoseconds, side="right") - 1
    return np.bincount(np.minimum(found, latency.BUCKETS - 1), minlength=latency.BUCKETS)


def stamped_frame(due: int) -> bytes:
    """An IPv4 frame as the generator makes it, as far as the sink looks."""
    headers = b"\2" * 12 + b"\x08\x00" + bytes([0x45]) + bytes(8) + bytes([17]) + bytes(10) + bytes(8)
    return headers + struct.pack("!III", MAGIC_STAMPED, 1, 0) + struct.pack("=Q", due)


def test_every_bucket_is_as_narrow_as_promised() -> None:
    """Single nanoseconds at first, then no bucket wider than ERROR of where it begins; none overlap."""
    begin, width = latency.edges()[:-1], np.diff(latency.edges())
    assert begin[0] == 0
    assert latency.edges()[-1] == 1 << latency.OCTAVES
    assert (width >= 1).all()
    assert (width[1:] <= np.maximum(1, begin[1:] * latency.ERROR)).all()


@pytest.mark.parametrize("spread", [0.01, 0.5, 2.0])
def test_percentiles_are_those_of_the_values(spread: float) -> None:
    """Within the width of a bucket of what numpy finds in the values themselves."""
    values = np.random.default_rng(3).lognormal(9, spread, 100_000)
    found = latency.percentiles(sort(values))
    for name, share in latency.PERCENTILES.items():
        assert found[name] == pytest.approx(np.quantile(values, share) / 1e3, rel=latency.ERROR), name


def test_no_packet_has_no_percentile() -> None:
    """A trial in which nothing arrived says nothing, instead of zero."""
    assert latency.percentiles(np.zeros(latency.BUCKETS, np.uint64)) == {}


@pytest.mark.root
@pytest.mark.parametrize("delay", [0, 50, 64, 1_000, 99_999, 1_000_000, 2_500_000_000, 1 << 35])
def test_sink_sorts_a_known_delay_into_its_bucket(delay: int) -> None:
    """A packet due so long ago counts as that, plus at most the time that the test itself took."""
    with libbpf.Object(objects.path("xdpsink")) as sink:
        sink.load()
        before = time.monotonic_ns()
        frame = stamped_frame(before - delay)
        verdict, _, _ = libbpf.program_run(sink.program_fd("xdpsink"), frame)
        most = time.monotonic_ns() - before + delay
        rows = percpu.read(sink.map_fd("latency"), 0, np.dtype(("u8", (latency.BUCKETS,))))
        (bucket,) = np.flatnonzero(rows.reshape(-1, latency.BUCKETS).sum(axis=0)).tolist()
    begin, end = latency.edges()[bucket : bucket + 2].tolist()
    assert verdict == XDP_DROP
    assert begin <= most
    assert end > min(delay, (1 << latency.OCTAVES) - 1)


@pytest.mark.root
def test_sink_ignores_a_stamp_that_is_cut_off() -> None:
    """A frame too short for its time is somebody else's, and passes."""
    with libbpf.Object(objects.path("xdpsink")) as sink:
        sink.load()
        verdict, _, _ = libbpf.program_run(sink.program_fd("xdpsink"), stamped_frame(1)[:-1])
        rows = percpu.read(sink.map_fd("latency"), 0, np.dtype(("u8", (latency.BUCKETS,))))
    assert verdict == libbpf.XDP_PASS
    assert not rows.any()
