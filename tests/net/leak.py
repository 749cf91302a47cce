# SPDX-License-Identifier: Apache-2.0
"""Leaks, measured: a real daemon on a gateway, a flood of listed sources only, and a counter behind.

    with scene(policy()) as at:
        with at.event() as seen:
            at.daemon.kill()
        assert seen.leaked == 0

The flood is generated on one CPU, flat out, in both families at once, from before the first event to the end.
Every packet of it that reaches the server is a leak. Packets of unlisted sources are sent through the same
gateway before and after each event and must all arrive: where nothing gets through, nothing is proven.
"""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import pytest

from bench.testbed.base import Chain, Completed, Place, Process, Run
from bench.traffic.base import Array, Flow, Kind, Offered
from bench.traffic.sink import XdpSink
from bench.traffic.wire import generator
from bench.traffic.xdpgen import XdpGen
from neurowall.kernel import libbpf
from neurowall.kernel.libbpf_structs import LinkInfo
from neurowall.kernel.maps import Map
from neurowall.model.reasons import Reason
from tests.net.leak_lists import Lists, make

FAMILIES = (4, 6)
INSTANCE = "leak"
LIST = "feed"
BUSY = 10_000  # packets that must be offered during an event, else it proves nothing
TOLERANCE = 0.001  # of the packets offered, how many the gateway may not have counted
READY_SECONDS = 20.0
FLOOD_SECONDS = 100.0  # at most; it is stopped
_IN_FLIGHT = 2 * 64  # counted as offered, not yet handled: one batch of each generator

_BLOCKED = re.compile(r'^neurowall_packets_total\{reason="block-list",verdict="drop"\} (\S+)$', re.MULTILINE)

TIGHT = {"hosts4": 8191, "prefixes4": 2500}  # 2,048 lines for 8,050 hosts: some overflow, a few spill
ROOMY = {"hosts4": 20_000, "prefixes4": 3000}


def policy(
    engine: str = "buckets", capacity: Mapping[str, int] = TIGHT, interface: str = "g0", xdp: str = "native"
) -> str:
    """The text of a policy that guards one external interface."""
    return json.dumps(
        {
            "interfaces": [{"name": interface, "zone": "external", "xdp": xdp}],
            "engine": engine,
            "capacity": {"hosts6": 5000, "prefixes6": 2000, "classes": 256, **capacity},
        }
    )


class Daemon:
    """One instance of Neurowall, started and ended any number of times, by default from this source tree.

    tree: a directory that holds another version of the package neurowall and of its kernel object.
    """

    def __init__(self, chain: Chain) -> None:
        self.directory = chain.run.make_directory("nw")
        self.pins = self.directory / "run" / INSTANCE / "bpf"
        self._chain = chain
        self._process: Process | None = None
        transport = httpx.HTTPTransport(uds=str(self.directory / "run" / INSTANCE / "api.sock"))
        self.http = httpx.Client(transport=transport, base_url="http://neurowall", timeout=30)

    def start(self, policy_text: str, tree: Path | None = None) -> None:
        """Start it and wait until it says that all is filtered as intended."""
        self.launch(policy_text, tree)
        deadline = time.monotonic() + READY_SECONDS
        while self.readiness() != 200:
            assert self.process.alive(), f"the daemon ended: {self.process.tail()}"
            assert time.monotonic() < deadline, f"the daemon is not ready: {self.process.tail()}"
            time.sleep(0.01)

    def launch(self, policy_text: str, tree: Path | None = None) -> None:
        """Start it and return at once."""
        config = self.directory / "policy.yaml"
        config.write_text(policy_text, encoding="utf-8")
        arguments = ["run", "--config", str(config), "--netns", self._chain.gateway.name]
        argv = [*_command(tree), *self._shared, *arguments, "--state-dir", str(self.directory / "state")]
        others = os.sched_getaffinity(0) - {generator().cpu}
        place = Place(cpus=frozenset(others) or None)
        self._process = self._chain.run.spawn(argv, name="neurowall", env=_environment(tree), place=place)

    @property
    def _shared(self) -> list[str]:
        return ["--instance", INSTANCE, "--run-dir", str(self.directory / "run")]

    @property
    def process(self) -> Process:
        """The child that was started last."""
        assert self._process is not None, "the daemon was never started"
        return self._process

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        assert self.process.alive(), f"the daemon ended by itself: {self.process.tail()}"
        self.process.signal(signal.SIGKILL)
        assert self.process.wait(5) == -signal.SIGKILL

    def stop(self) -> None:
        """SIGTERM, and wait for its end, which must be a clean one."""
        assert self.process.alive(), f"the daemon ended by itself: {self.process.tail()}"
        self.process.signal(signal.SIGTERM)
        assert self.process.wait(10) == 0, self.process.tail()

    def cli(self, *arguments: str) -> Completed:
        """Run the command line against it."""
        return self._chain.run.exec([*_command(None), *self._shared, *arguments]).check()

    def put(self, text: str, *, create: bool = False) -> dict[str, Any]:
        """Load or replace the list."""
        query = {"create": str(create).lower(), **({"verdict": "block"} if create else {})}
        answer = self.http.put(f"/lists/{LIST}", params=query, content=text.encode())
        return _body(answer)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """POST to its API; anything but success fails the test."""
        return _body(self.http.post(path, json=body) if body else self.http.post(path))

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        return _body(self.http.get("/status"))

    def blocked(self) -> int:
        """Packets of the reason block-list, as its /metrics say."""
        found = _BLOCKED.findall(self.http.get("/metrics").text)
        assert len(found) == 1, found
        return int(float(found[0]))

    def readiness(self) -> int:
        """The HTTP status of /readiness, 0 if nobody answers."""
        try:
            return self.http.get("/readiness").status_code
        except httpx.TransportError:
            return 0

    def layouts(self) -> list[str]:
        """Names of the directories on its bpffs that hold maps, complete or not."""
        names = (path.name for path in self.pins.iterdir())  # the kernel itself puts maps.debug there
        return sorted(name for name in names if name.startswith(("maps-", "new-")))

    def link(self, interface: str = "g0") -> LinkInfo:
        """The pinned link: id, prog_id, ifindex."""
        fd = libbpf.get_pinned(self.pins / "links" / interface)
        try:
            return libbpf.link_info(fd)
        finally:
            os.close(fd)

    def map_ids(self) -> dict[str, int]:
        """The kernel's id of every pinned map, by name. There must be one layout."""
        (layout,) = self.layouts()
        ids = {}
        for path in (self.pins / layout).iterdir():
            fd = libbpf.get_pinned(path)
            ids[path.name] = int(libbpf.map_info(fd).id)
            os.close(fd)
        return ids


def _body(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, f"{answer.request.url}: {answer.status_code}: {answer.text}"
    return dict(answer.json())


def _command(tree: Path | None) -> list[str]:
    if tree is None:
        return [str(Path(sys.executable).parent / "neurowall")]
    return [sys.executable, "-P", "-m", "neurowall.management.cli.main"]  # -P: not from the current directory


def _environment(tree: Path | None) -> dict[str, str]:
    return {} if tree is None else {"PYTHONPATH": str(tree)}


class BlockCount:
    """Packets that the gateway dropped for a list, over all counter maps that its pins ever showed.

    Read from the kernel, so also while no daemon runs. A map that is replaced is kept open and counts on.
    """

    def __init__(self, pins: Path) -> None:
        self._pins = pins
        self._maps: dict[int, Map] = {}

    def read(self) -> int:
        """Packets so far."""
        self.look()
        sums = [int(each.per_cpu_sums(2)[Reason.BLOCK_LIST, 0]) for each in self._maps.values()]
        return sum(sums)

    def look(self) -> None:
        """Find counter maps that are new."""
        for path in self._pins.glob("maps-*/reason_counters"):
            fresh = Map.pinned(path)
            if self._maps.setdefault(int(libbpf.map_info(fresh.fd).id), fresh) is not fresh:
                fresh.close()

    def close(self) -> None:
        """Give the maps back."""
        for each in self._maps.values():
            each.close()


class Flood:
    """Listed sources, flat out, each family from a generator of its own on the same CPU."""

    def __init__(self, chain: Chain, sources: Mapping[int, Array], seconds: float) -> None:
        server = {4: chain.server_if.v4, 6: chain.server_if.v6}
        self._generators = {family: XdpGen() for family in sources}
        self._threads = ThreadPoolExecutor(len(sources), "flood")
        self._runs: list[Future[Offered]] = []
        for family, each in self._generators.items():
            flow = Flow(family, sources[family], server[family])
            self._runs.append(self._threads.submit(each.run, chain, flow, seconds=seconds))
        self._wait_until_running()

    def _wait_until_running(self) -> None:
        deadline = time.monotonic() + 5
        while not all(self._offered(family) for family in self._generators):
            self.check()
            assert time.monotonic() < deadline, "the flood does not begin"
            time.sleep(0.001)

    def _offered(self, family: int) -> int:
        program = self._generators[family]._program
        return program.offered() if program else 0

    def offered(self) -> int:
        """Packets sent so far."""
        return sum(self._offered(family) for family in self._generators)

    def check(self) -> None:
        """Fail if it ended by itself."""
        for run in self._runs:
            assert not run.done(), f"the flood ended: {run.exception() or run.result()}"

    def stop(self) -> int:
        """End it and answer how many packets were sent."""
        for each in self._generators.values():
            each._stop.set()
        sent = sum(run.result().sent for run in self._runs)
        self._threads.shutdown()
        for each in self._generators.values():
            each.close()
        return sent


@dataclass
class Seen:
    """What happened during an event, in packets; seconds is how long it took."""

    offered: int = 0
    blocked: int = 0
    leaked: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Reading:
    offered: int
    blocked: int
    leaked: int
    blur: int  # packets offered while the counters were read
    when: float


class Scene:
    """A chain with a daemon and a sink; a flood once `flood` is called."""

    def __init__(self, chain: Chain, daemon: Daemon, sink: XdpSink, lists: Lists) -> None:
        self.chain = chain
        self.daemon = daemon
        self.lists = lists
        self._sink = sink
        self._blocked = BlockCount(daemon.pins)
        self._flood: Flood | None = None
        self._leaked_before = self._blocked_before = 0
        self._blur = 0

    def flood(self, sources: Mapping[int, Array], seconds: float = FLOOD_SECONDS) -> None:
        """Begin to flood, for *seconds* at most; what was counted so far does not count."""
        self._leaked_before, self._blocked_before = self._arrived(), self._blocked.read()
        self._flood = Flood(self.chain, sources, seconds)

    def end_flood(self) -> Seen:
        """End the flood and answer the exact counts since its beginning."""
        assert self._flood is not None
        self._flood.check()
        flood, self._flood = self._flood, None
        offered = flood.stop()
        self._sink.settle()
        blocked = self._blocked.read() - self._blocked_before
        return Seen(offered, blocked, self._arrived() - self._leaked_before)

    def leaked(self) -> int:
        """Packets of the flood that reached the server so far."""
        return self._arrived() - self._leaked_before

    @contextmanager
    def event(self) -> Iterator[Seen]:
        """Something that must not leak; the answer is complete at the end of the block.

        Fails if the flood did not run all the time, if the gateway did not count what it was offered, or if
        unlisted sources do not get through before and after.
        """
        with self.watch() as seen:
            yield seen
        account(seen, self._blur)

    @contextmanager
    def watch(self) -> Iterator[Seen]:
        """As event, but the gateway may have let packets pass."""
        self.must_pass(self.lists.unlisted)
        seen, before = Seen(), self._read()
        yield seen
        after = self._read()
        seen.offered = after.offered - before.offered
        seen.blocked = after.blocked - before.blocked
        seen.leaked = after.leaked - before.leaked
        seen.seconds = after.when - before.when
        self._blur = before.blur + after.blur
        assert seen.offered > BUSY, f"the flood was not running: {seen}"
        self.must_pass(self.lists.unlisted)

    def some(self, sources: Mapping[int, Array]) -> dict[int, Array]:
        """The first of each family, as many as the sink can tell apart; they are in no order."""
        return {family: column[: self._sink.probes] for family, column in sources.items()}

    def must_pass(self, sources: Mapping[int, Array]) -> None:
        """Fail unless a packet from each source arrives."""
        for family in FAMILIES:
            arrived = self._probe(family, sources[family])
            assert arrived.all(), f"IPv{family}: {np.sum(~arrived)} of {len(arrived)} unlisted did not arrive"

    def must_not_pass(self, sources: Mapping[int, Array]) -> None:
        """Fail if a packet from any source arrives."""
        for family in FAMILIES:
            arrived = self._probe(family, sources[family])
            assert not arrived.any(), f"IPv{family}: {arrived.sum()} of {len(arrived)} listed ones arrived"

    def blocked_of(self, family: int, sources: Array) -> int:
        """How many of these sources do not get through."""
        return len(sources) - int(self._probe(family, sources).sum())

    def must_overflow(self) -> None:
        """Fail unless hosts and long prefixes are also in second lines of their tables and in spill maps."""
        (layout,) = self.daemon.layouts()
        for table, spill in (("lines", "hosts4"), ("long4", "prefixes4")):
            with closing(Map.pinned(self.daemon.pins / layout / table)) as lines:
                assert np.any(lines.mapped(np.dtype(np.uint64))[7::8]), f"no line of {table} overflowed"
            with closing(Map.pinned(self.daemon.pins / layout / spill)) as spilled:
                assert spilled.all_keys(), f"{spill} is empty: nothing spilled from {table}"

    def _probe(self, family: int, sources: Array) -> Any:
        """Send one probe from each source; bool for each, whether it arrived."""
        server = self.chain.server_if
        flow = Flow(family, sources, server.v4 if family == 4 else server.v6, kind=Kind.PROBE)
        self._sink.clear(len(sources))
        generator().run(self.chain, flow, packets=len(sources))
        self._sink.settle()
        arrived = self._sink.arrivals(len(sources)) > 0
        self._blocked_before += int(np.sum(~arrived))  # the gateway counted it, the flood did not
        return arrived

    def _read(self) -> _Reading:
        """Counters as nearly at the same time as can be: the best of some readings."""
        assert self._flood is not None
        self._flood.check()
        readings = [self._read_once(self._flood) for _ in range(10)]
        return min(readings, key=lambda reading: reading.blur)

    def _read_once(self, flood: Flood) -> _Reading:
        when, offered = time.monotonic(), flood.offered()
        blocked, leaked = self._blocked.read() - self._blocked_before, self._arrived()
        return _Reading(offered, blocked, leaked, flood.offered() - offered, when)

    def _arrived(self) -> int:
        return sum(self._sink.packets(family, Kind.FLOOD) for family in FAMILIES)

    def close(self) -> None:
        """End the flood, if it is still there, and give the maps back."""
        if self._flood is not None:
            self._flood.stop()
        self._blocked.close()


def account(seen: Seen, blur: int = 0) -> None:
    """Fail unless the gateway's own counter accounts for what was offered."""
    missing = abs(seen.offered - seen.blocked)
    allowed = TOLERANCE * seen.offered + (blur + _IN_FLIGHT if blur else 0)
    assert missing <= allowed, f"offered and counted as blocked differ by more than {allowed:.0f}: {seen}"


@contextmanager
def scene(policy_text: str, tree: Path | None = None, lists: Lists | None = None) -> Iterator[Scene]:
    """A fresh chain, a daemon that enforces the first list on it, and a receiver behind. No flood yet.

    lists: by default those of make(). Everything is removed at the end. Skips where the generator cannot run.
    """
    if why := generator().available():
        pytest.skip(why)
    with ExitStack() as stack:
        # A short name: a unix socket's may have 107 bytes.
        runs = Path(stack.enter_context(TemporaryDirectory(prefix="nwl-")))
        run = stack.enter_context(Run.begin(runs, signals=False))
        chain = stack.enter_context(Chain(run, "leak").build())
        sink = XdpSink(chain)
        stack.callback(sink.close)
        daemon = Daemon(chain)
        stack.callback(daemon.http.close)
        daemon.start(policy_text, tree)
        here = Scene(chain, daemon, sink, lists or make())
        stack.callback(here.close)
        here.must_pass(here.some(here.lists.listed))  # the path delivers what is not listed yet
        daemon.put(here.lists.first, create=True)
        yield here
