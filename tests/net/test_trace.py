# SPDX-License-Identifier: Apache-2.0
"""`neurowall trace` against packets that really end where they should: real kernel, real daemon, real bcc."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.kernel import libbpf, objects
from neurowall.kernel.headers import find
from neurowall.model.errors import Unsupported
from tests.net import tracing
from tests.net.conftest import daemons
from tests.net.daemon import NEUROWALL, Daemon, until
from tests.net.tracing import Json, packets, udp


def why_not_bcc() -> str | None:
    """What is missing here, if anything."""
    if importlib.util.find_spec("bcc") is None:  # looked for only: with LLVM it is large
        return "no module bcc: apt install python3-bpfcc"
    try:
        find()
    except Unsupported as error:
        return str(error)
    return None


pytestmark = [pytest.mark.root]
needs_bcc = pytest.mark.skipif(why_not_bcc() is not None, reason=str(why_not_bcc()))

TRACED, OTHER, TRACED6 = "203.0.113.77", "203.0.113.78", "2001:db8::77"
NOWHERE, NOWHERE6 = "192.0.2.0/24", "2001:db8:dead::/48"
OPEN, CLOSED, DENIED, GATEWAY = 4711, 4713, 4712, 9
POLICY = f"""\
interfaces:
  - {{name: g0, zone: external}}
  - {{name: g1, zone: internal}}
rules:
  - {{name: through, from: external, to: internal, protocol: udp, ports: [{OPEN}, {CLOSED}], action: accept}}
  - {{name: in, from: external, to: gateway, protocol: udp, ports: [{GATEWAY}], action: accept}}
"""
# Each place has a count of its own, so that none is taken for another.
PASSES, DENIES, EXPIRES, UNHEARD, CORRUPT, MANGLED, MARTIAN, ROUTELESS, BLOCKED, ABORTED, ELSEWHERE = (
    6, 5, 4, 3, 2, 7, 8, 9, 10, 11, 1,
)  # fmt: skip


@pytest.fixture(scope="module")
def daemon(run: Run, chain: Chain) -> Iterator[Daemon]:
    """A daemon for the whole file."""
    with daemons(run, chain) as make:
        made = make(POLICY)
        made.start()
        with chain.gateway.enter(), IPRoute() as netlink:
            for network in (NOWHERE, NOWHERE6):
                netlink.route("add", dst=network, type="unreachable")
        yield made
        with chain.gateway.enter(), IPRoute() as netlink:
            for network in (NOWHERE, NOWHERE6):
                netlink.route("del", dst=network, type="unreachable")


def is_up(netlink: IPRoute, index: int) -> bool:
    """Whether an interface sends."""
    return bool(netlink.get_links(index)[0].get_attr("IFLA_OPERSTATE") == "UP")


def abort(chain: Chain, times: int, was_seen: Callable[[], bool]) -> None:
    """Frames for an XDP program that returns XDP_ABORTED, on interfaces of its own in the gateway.

    They stay until it *was_seen*: what waits for a CPU would go with them.
    """
    with chain.gateway.enter(), IPRoute() as netlink, libbpf.Object(objects.path("xdpnull")) as program:
        netlink.link("add", ifname="x0", kind="veth", peer={"ifname": "x1"})
        index = {name: netlink.link_lookup(ifname=name)[0] for name in ("x0", "x1")}
        try:
            program.set_constants((libbpf.XDP_ABORTED).to_bytes(4, "little"))
            program.load()
            link = libbpf.link_create_xdp(
                program.program_fd("xdpnull"), index["x1"], libbpf.XDP_FLAGS_DRV_MODE
            )
            try:
                for name, each in index.items():
                    # Or the kernel sends multicast listener reports of its own.
                    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
                    netlink.link("set", index=each, state="up")
                until(lambda: is_up(netlink, index["x0"]), 20.0)  # before, its queue takes nothing
                tracing.send_frames("x0", bytes(12) + b"\x88\xb5" + bytes(46), times)
                until(was_seen, 20.0)
            finally:
                os.close(link)
        finally:
            netlink.link("del", index=index["x0"])


def exceptions(trace: tracing.Trace) -> list[int]:
    """How many there were, each time that it told of more."""
    return [line["packets"] for line in trace.lines() if line.get("kind") == "exception"]


@pytest.fixture(scope="module")
def seen(run: Run, chain: Chain, daemon: Daemon) -> Json:
    """One trace of everything: packets to each place, and some that must not count."""
    server, gateway = chain.server_if.v4, chain.gateway_in.v4
    trace = tracing.start(run, daemon, TRACED)
    with tracing.sender(chain) as sender:
        for source, more in ((TRACED, 0), (OTHER, 20)):
            wrong = udp(source, server, OPEN)
            wrong.chksum = 0x1111
            sender.send(udp(source, server, OPEN), PASSES + more)
            sender.send(udp(source, server, DENIED), DENIES + more)
            sender.send(udp(source, server, OPEN, ttl=1), EXPIRES + more)
            sender.send(udp(source, gateway, GATEWAY), UNHEARD + more)
            sender.send(udp(source, gateway, GATEWAY, chksum=0x1234), CORRUPT + more)
            sender.send(wrong, MANGLED + more)
            sender.send(udp(source, "127.0.0.9", OPEN), MARTIAN + more)
            sender.send(udp(source, "192.0.2.9", OPEN), ROUTELESS + more)
            sender.send(udp(source, server, CLOSED), ELSEWHERE + more)
        abort(chain, ABORTED, lambda: bool(exceptions(trace)) and exceptions(trace)[-1] >= ABORTED)
        until(lambda: packets({"places": trace.lines()}, stage="IP receive") >= MANGLED, 10.0)
        daemon.post("block", TRACED, OTHER)
        sender.send(udp(TRACED, server, OPEN), BLOCKED)
        sender.send(udp(OTHER, server, OPEN), BLOCKED)
        until(lambda: any(line["stage"] == "XDP, Neurowall" for line in trace.lines()), 10.0)
        summary = trace.end()
        daemon.post("unblock", TRACED, OTHER)
    return summary


@needs_bcc
class TestPlaces:
    """Each place is told, with its count."""

    @pytest.mark.parametrize(
        ("stage", "reason", "device", "count"),
        [
            ("XDP, Neurowall", "block-list", "g0", BLOCKED),
            ("netfilter forward", "netfilter-drop", "g0", DENIES),
            ("netfilter input", "netfilter-drop", "g0", CORRUPT),  # conntrack finds them invalid
            ("forward", "ip-inhdr", "g0", EXPIRES),
            ("UDP", "no-socket", "g0", UNHEARD),
            ("IP receive", "ip-csum", "g0", MANGLED),
        ],
    )
    def test_lost_there(self, seen: Json, stage: str, reason: str, device: str, count: int) -> None:
        """Stage, reason and device together, from the address, and in no other place with that reason."""
        assert (
            packets(seen, kind="died", stage=stage, reason=reason, device=device, direction="from") == count
        )

    def test_martians_and_what_has_no_route(self, seen: Json) -> None:
        """Both end in routing; the names of reasons there differ from kernel to kernel."""
        found = {
            place["function"]: place["packets"] for place in seen["places"] if place["stage"] == "routing"
        }
        assert sorted(found.values()) == [MARTIAN, ROUTELESS]
        meanings = [place["meaning"] for place in seen["places"] if place["packets"] == ROUTELESS]
        assert any("no route" in meaning for meaning in meanings)

    def test_what_is_not_lost(self, seen: Json) -> None:
        """Received behind XDP, and sent on."""
        all_received = sum(
            (PASSES, DENIES, EXPIRES, UNHEARD, CORRUPT, MANGLED, MARTIAN, ROUTELESS, ELSEWHERE)
        )
        assert packets(seen, kind="received", device="g0") == all_received
        assert packets(seen, kind="sent", device="g1", direction="from") == PASSES + ELSEWHERE

    def test_exceptions_of_any_program(self, seen: Json) -> None:
        """With the device and the action; no address, since the kernel shows no packet."""
        found = [place for place in seen["places"] if place["kind"] == "exception"]
        assert [(each["device"], each["reason"], each["packets"]) for each in found] == [
            ("x1", "xdp-aborted", ABORTED)
        ]

    def test_nothing_else(self, seen: Json) -> None:
        """Neither another address nor another namespace: the server lost packets of this address too."""
        lost = sum((DENIES, EXPIRES, UNHEARD, CORRUPT, MANGLED, MARTIAN, ROUTELESS, BLOCKED))
        assert seen["packets"]["died"] == lost
        assert {place["device"] for place in seen["places"] if place["kind"] == "died"} == {"g0"}
        assert seen["uncounted"] == 0
        assert all(place["namespace"] == "ours" for place in seen["places"])


@needs_bcc
def test_ipv6(run: Run, chain: Chain, daemon: Daemon) -> None:
    """The same places by their IPv6 functions; wrong checksums where conntrack does not look for them."""
    server, gateway = chain.server_if.v6, chain.gateway_in.v6
    with chain.gateway.enter():
        Path("/proc/sys/net/netfilter/nf_conntrack_checksum").write_text("0")
    try:
        trace = tracing.start(
            run, daemon, TRACED6, "--count", str(DENIES + EXPIRES + UNHEARD + CORRUPT + ROUTELESS)
        )
        with tracing.sender(chain) as sender:
            sender.send(udp(TRACED6, server, DENIED), DENIES)
            sender.send(udp(TRACED6, server, OPEN, ttl=1), EXPIRES)
            sender.send(udp(TRACED6, gateway, GATEWAY), UNHEARD)
            sender.send(udp(TRACED6, gateway, GATEWAY, chksum=0x1234), CORRUPT)
            sender.send(udp(TRACED6, "2001:db8:dead::9", OPEN), ROUTELESS)
        assert trace.process.wait(15) == 0  # --count ends it
    finally:
        with chain.gateway.enter():
            Path("/proc/sys/net/netfilter/nf_conntrack_checksum").write_text("1")
    seen = trace.summary()
    assert packets(seen, kind="died", stage="netfilter forward") == DENIES
    assert packets(seen, kind="died", stage="forward", direction="from") == EXPIRES
    assert packets(seen, kind="died", stage="UDP", reason="no-socket") == UNHEARD
    assert packets(seen, kind="died", stage="UDP", reason="udp-csum") == CORRUPT
    assert packets(seen, kind="died", stage="routing") == ROUTELESS


def probes() -> set[str]:
    """Names of the programs of a trace that the kernel holds."""
    said = subprocess.run(
        ["bpftool", "-j", "prog", "show"], check=True, capture_output=True, text=True
    ).stdout
    names = {str(each.get("name", "")) for each in json.loads(said)}
    return {name for name in names if name.startswith(("on_kfree_skb", "on_xdp_exc", "on_consume"))}


@needs_bcc
@pytest.mark.tool("bpftool")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_probe_stays(run: Run, daemon: Daemon, number: signal.Signals) -> None:
    """However it ends; SIGTERM ends it as Ctrl-C does."""
    trace = tracing.start(run, daemon, OTHER)
    assert probes()
    if number == signal.SIGTERM:
        assert trace.end(number)["address"] == OTHER
    else:
        trace.process.signal(number)
        trace.process.wait(5)
    until(lambda: not probes())


@needs_bcc
def test_a_table_at_the_end(run: Run, daemon: Daemon) -> None:
    """Where nobody watches, the summary alone; without a daemon it says that XDP is not seen."""
    argv = (*NEUROWALL, "trace", OTHER, "--seconds", "0.2", "--run-dir", str(daemon.directory / "none"))
    done = run.exec((*argv, "--netns", daemon.netns), timeout=60).check()
    assert "0 lost" in done.stdout
    assert "no packet seen yet" in done.stdout
    assert "XDP drops are not shown" in done.stdout


@needs_bcc
def test_without_headers_it_names_the_package(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """Exit code 4, and nothing attached."""
    code = (
        "from pathlib import Path; from neurowall.kernel import headers; "
        f"headers.find.__defaults__ = (None, Path('{tmp_path}')); "
        "from neurowall.management.cli.main import main; main()"
    )
    argv = (sys.executable, "-c", code, "trace", OTHER, "--run-dir", str(daemon.run_dir))
    done = run.exec(argv, timeout=60)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"apt install linux-headers-{os.uname().release}" in done.stderr


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise ImportError('No module named bcc')", "bcc is missing"),
        ("raise OSError('libbcc.so.0: cannot open shared object file')", "bcc's library cannot be loaded"),
        ("lattice = True", "is another one"),
    ],
)
def test_without_bcc_it_names_the_package(
    run: Run, daemon: Daemon, tmp_path: Path, module: str, said: str
) -> None:
    """Not installed, without its library, or PyPI's package of the same name."""
    (tmp_path / "bcc.py").write_text(module)
    argv = ("env", f"PYTHONPATH={tmp_path}", *NEUROWALL, "trace", OTHER, "--run-dir", str(daemon.run_dir))
    done = run.exec(argv, timeout=60)
    assert (done.returncode, done.stdout) == (4, "")
    assert said in done.stderr
    assert "apt install" in done.stderr
    assert "python3-bpfcc" in done.stderr


@pytest.mark.tool("setpriv")
def test_it_takes_root(run: Run, daemon: Daemon) -> None:
    """Said before anything is loaded, and in its help."""
    argv = (*NEUROWALL, "trace", OTHER, "--run-dir", str(daemon.run_dir))
    code = "import os; os.setuid(64998); from neurowall.management.cli.main import main; main()"
    done = run.exec((sys.executable, "-c", code, *argv[3:]), timeout=60)
    assert (done.returncode, done.stdout) == (4, "")
    assert "takes root" in done.stderr
    assert "Needs root" in run.exec((*NEUROWALL, "trace", "--help"), timeout=60).check().stdout


def test_only_an_address_can_be_traced(run: Run) -> None:
    """A prefix is refused as wrong usage."""
    done = run.exec((*NEUROWALL, "trace", "203.0.113.0/24"), timeout=60)
    assert done.returncode == 2
    assert "203.0.113.0/24" in done.stderr
