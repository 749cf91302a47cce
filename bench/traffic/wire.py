# SPDX-License-Identifier: Apache-2.0
"""The generator of this process and the receiver of each chain, made when first used.

Gate and trial take them from here, so that both use one and the same path: the sink that is attached while a
rate is measured is the one that saw the probes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from bench.traffic.base import TrafficError
from bench.traffic.sink import XdpSink
from bench.traffic.xdpgen import XdpGen

if TYPE_CHECKING:
    from bench.testbed.base import Chain

_sinks: "WeakKeyDictionary[Chain, XdpSink]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Wire:
    """Both ends of the path through one chain's gateway."""

    generator: XdpGen
    sink: XdpSink


def wire(chain: "Chain") -> Wire:
    """Generator and sink of a built chain; the first call attaches the sink. TrafficError if it cannot."""
    if chain not in _sinks:
        _sinks[chain] = XdpSink(chain)
    return Wire(generator(), _sinks[chain])


def release(chain: "Chain") -> None:
    """Detach the chain's sink, if it has one. Its namespaces may be gone already."""
    sink = _sinks.pop(chain, None)
    if sink is not None:
        sink.close()


@cache
def generator() -> XdpGen:
    """The one generator of this process: every system's packets come from the same program and array.

    Never closed: its program and its namespace have no name, the kernel frees them with the process.
    """
    return XdpGen()


@cache
def second_generator() -> XdpGen:
    """One more, on another CPU, for what two CPUs must do at once. TrafficError where there is none."""
    others = os.sched_getaffinity(0) - {generator().cpu}
    if not others:
        raise TrafficError("two generators need two CPUs, and this process may run on one only")
    return XdpGen(min(others))


@contextmanager
def own_cpus() -> Iterator[None]:
    """Leave the generator's CPU to it and the gateways, as far as there are others."""
    before = os.sched_getaffinity(0)
    others = before - {generator().cpu}
    os.sched_setaffinity(0, others or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
