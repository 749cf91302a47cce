# SPDX-License-Identifier: Apache-2.0
import threading
import time

import numpy as np
import pytest

from bench.operations.lists import text4
from bench.operations.probing import ProbeStream, arrived, await_blocked
from bench.operations.rate import Meter
from bench.operations.rivals import OperatedNft
from bench.sut.base import Rules
from bench.testbed.base import Chain
from bench.traffic.base import TrafficError
from bench.traffic.wire import wire
from neurowall.model.entries import EntrySet

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

STRANGER = np.array([0x08080808], np.uint32)
LISTED = np.array([0x09090909], np.uint32)


@pytest.fixture
def operated(chain: Chain) -> OperatedNft:
    """A set that lists 9.9.9.9, and room for others."""
    made = OperatedNft()
    made.load(chain, Rules(EntrySet.from_strings(["9.9.9.9"])), 100)
    return made


def test_the_first_blocked_probe_is_one_of_the_time_of_the_change(
    chain: Chain, operated: OperatedNft
) -> None:
    """Not sent before the change began, and none that was sent after its end passed."""
    with ProbeStream(chain, STRANGER, 1000) as stream:
        assert stream.await_passing(5)
        began = time.monotonic()
        operated.change("block", text4(STRANGER))
        ended = time.monotonic()
        assert stream.await_blocked(5)
    blocked = stream.first_blocked()
    assert began <= blocked <= next(sent for sent in stream.sent_at if sent > ended)


def test_a_source_that_is_never_blocked_is_said_to_be_so(chain: Chain, operated: OperatedNft) -> None:
    """There is no first blocked probe; and one that is listed does not pass."""
    with ProbeStream(chain, STRANGER, 1000) as stream:
        assert stream.await_passing(5)
        assert not stream.await_blocked(0.1)
    with pytest.raises(TrafficError, match="was not blocked"):
        stream.first_blocked()
    with ProbeStream(chain, LISTED, 1000) as stream:
        assert not stream.await_passing(0.1)


def test_waiting_for_a_block_ends_with_it(chain: Chain, operated: OperatedNft) -> None:
    """At once for what is listed, with the change for what is not, never for the rest."""
    began = time.monotonic()
    assert (await_blocked(chain, 4, LISTED, 5) or 0) >= began
    assert await_blocked(chain, 4, STRANGER, 0.1) is None
    later = threading.Timer(0.2, operated.change, ("block", text4(STRANGER)))
    began = time.monotonic()
    later.start()
    assert (await_blocked(chain, 4, STRANGER, 5) or 0) >= began + 0.2
    later.join()


def test_more_addresses_than_the_sink_can_tell_apart(chain: Chain, operated: OperatedNft) -> None:
    """They are sent in parts; the verdict of each is its own."""
    count = wire(chain).sink.probes + 1000
    sources = np.arange(count, dtype=np.uint32) + np.uint32(0x09090000)
    found = arrived(chain, 4, sources)
    assert np.flatnonzero(~found).tolist() == [0x0909]


def test_the_meter_sees_what_was_sent(chain: Chain, operated: OperatedNft) -> None:
    """All of it, and at what time."""
    sources = np.arange(5000, dtype=np.uint32) + np.uint32(0x0A000000)
    with Meter(chain) as meter:
        before = time.monotonic()
        time.sleep(0.1)
        middle = time.monotonic()
        arrived(chain, 4, sources, tries=1)
        assert meter.await_packets(5000, 5) >= middle
        after = time.monotonic()
    assert meter.packets(before, before + 0.05) == 0
    assert meter.packets(before, after) == 5000
