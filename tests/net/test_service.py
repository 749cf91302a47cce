# SPDX-License-Identifier: Apache-2.0
"""The daemon under exactly the user, the capabilities and the sandbox of its unit."""

import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.testbed.chain import Chain
from bench.testbed.run import Run
from neurowall.kernel import netlink, pins
from neurowall.kernel.nft import Nftables
from tests.net.installed import Installed
from tests.net.probes import PORT, Probes
from tests.net.service import INSTANCE, Service
from tests.net.serviceunit import PACKAGING, read_unit

pytestmark = [pytest.mark.root, pytest.mark.tool("setpriv", "nsenter", "systemd-analyze", "systemd-sysusers")]

LISTED, OTHER, LATER = "203.0.113.7", "203.0.113.8", "203.0.113.9"
BITS = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
POLICY = f"""\
interfaces:
  - {{name: g0, zone: external}}
  - {{name: g1, zone: internal}}
forwarding: [ipv4, ipv6]
flows: {{mode: strict}}
rules:
  - {{name: probes, from: external, to: internal, protocol: udp, ports: [{PORT}], action: accept}}
"""
WITHOUT_CHECK = (
    "from neurowall.management.daemon import preflight; preflight.check = lambda **_: None; "
    "from neurowall.management.cli.main import main; main()"
)
MakeService = Callable[..., Service]


@contextmanager
def services(run: Run, chain: Chain, installed: Installed) -> Iterator[MakeService]:
    """Makes services in the chain's gateway, not prepared yet."""
    made: list[Service] = []

    def make(policy: str = POLICY, *drop_ins: Path) -> Service:
        made.append(Service(run, chain, installed, policy, *drop_ins))
        return made[-1]

    try:
        yield make
    finally:
        for service in made:
            if service.process and service.process.alive():
                service.process.kill()
            run.remove_directory(service.directory)
        with chain.gateway.enter():
            Nftables().delete_table()


@pytest.fixture
def make_service(run: Run, chain: Chain, installed: Installed) -> Iterator[MakeService]:
    """For tests that start, or fail to start, their own."""
    with services(run, chain, installed) as make:
        yield make


@pytest.fixture(scope="class")
def service(run: Run, chain: Chain, installed: Installed) -> Iterator[Service]:
    """A running service for a class of tests; the last one kills it."""
    with services(run, chain, installed) as make:
        service = make()
        service.prepare().check()
        with service.manager() as manager:
            service.start()
            assert manager.recv(100) == b"READY=1"
        yield service


def status_of(service: Service) -> dict[str, str]:
    """/proc/PID/status of the daemon."""
    assert service.process
    text = Path(f"/proc/{service.process.pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


def forwarding(chain: Chain, interface: str) -> str:
    """net.ipv4.conf.*.forwarding in the gateway."""
    with chain.gateway.enter():
        return Path(f"/proc/sys/net/ipv4/conf/{interface}/forwarding").read_text().strip()


class TestRunning:
    """One service, asked and changed."""

    @pytest.fixture(autouse=True)
    def unlisted(self, service: Service) -> Iterator[None]:
        """What a test blocked is free for the next one."""
        yield
        service.forget()

    def test_the_sandbox_holds(self, service: Service) -> None:
        """The tests' own stand-in for the manager's: else the others would show nothing."""
        refused = "import os, socket, mmap, ctypes\n" + "\n".join(
            f"try: {attempt}\nexcept OSError as error: print(error.errno)\nelse: print('done')"
            for attempt in (
                "open('/etc/neurowall-test', 'w')",
                "open('/proc/sys/kernel/domainname', 'w')",
                "socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)",
                "os.setuid(0)",
                "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
                "open('/proc/sys/net/ipv4/conf/g0/forwarding', 'r+').write('1')",
                f"open('{service.state_dir}/{INSTANCE}/mark', 'w')",
            )
        )
        words = list(service.argv())
        place = words.index(service.installed.program)
        said = service._run.exec([*words[:place], service.installed.python, "-c", refused]).check().stdout
        assert said.split() == ["30", "30", "1", "1", "1", "done", "done"]
        (service.state_dir / INSTANCE / "mark").unlink()

    def test_it_runs_as_the_unit_says(self, service: Service) -> None:
        """The user, three capabilities in every set, no new privileges and a filter of system calls."""
        status = status_of(service)
        wanted = sum(1 << BITS[word] for word in service.unit.words("AmbientCapabilities"))
        assert wanted == sum(1 << bit for bit in BITS.values())
        held = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert held == dict.fromkeys(held, wanted)
        uid, gid = service.user
        assert uid
        assert (status["Uid"].split(), status["Gid"].split()) == ([str(uid)] * 4, [str(gid)] * 4)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")

    def test_it_enforces_everything(self, service: Service, chain: Chain, probes: Probes) -> None:
        """XDP native on both sides, tc at egress outside, the nftables table; an API for its group."""
        modes = {each["name"]: each["mode"] for each in service.get("/status")["interfaces"]}
        assert modes == {"g0": "native", "g1": "native"}
        with chain.gateway.enter():
            assert netlink.xdp_mode("g0") == "native"
            assert Nftables().fingerprint()
        assert (service.bpffs / "links/g0:egress").exists()
        assert probes.arrived(LISTED, OTHER) == {LISTED, OTHER}
        service.post("block", LISTED)
        assert probes.arrived(LISTED, OTHER) == {OTHER}
        found = service.socket.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*service.user, 0o660)

    def test_its_files_are_its_own_and_closed(self, service: Service) -> None:
        """Everything in the run and state directories is its user's, and nothing is for the world."""
        service.post("block", LISTED)
        for folder in (service.run_dir / INSTANCE, service.state_dir / INSTANCE):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o750
            for path in (folder, *folder.rglob("*")):
                if not path.name.endswith(".debug"):  # the kernel's own, in every bpffs
                    assert (path.stat().st_uid, path.stat().st_gid) == service.user, path
        assert service.run_dir.stat().st_uid == service.state_dir.stat().st_uid == 0

    def test_it_survives_a_kill_and_adopts(self, service: Service, probes: Probes) -> None:
        """SIGKILL: enforcement goes on. The next one takes it over, and changes it."""
        service.post("block", LISTED)
        service.kill()
        assert probes.arrived(LISTED, OTHER) == {OTHER}
        service.prepare().check()
        service.start()
        assert "maps: adopted those in force" in service.log()
        assert probes.arrived(LISTED, OTHER) == {OTHER}
        service.post("unblock", LISTED)
        service.post("block", LATER)
        assert probes.arrived(LISTED, OTHER, LATER) == {LISTED, OTHER}

    def test_it_reads_large_lists_in_a_child(self, service: Service, probes: Probes) -> None:
        """The child has the sandbox of its parent, and must work in it."""
        lines = "\n".join(f"198.51.{place >> 8}.{place & 255}" for place in range(0, 1 << 16, 3))
        service.put("feed", f"{lines}\n{LISTED}\n")
        assert probes.arrived(LISTED, OTHER) == {OTHER}


def test_down_gives_everything_back(make_service: MakeService, chain: Chain, probes: Probes) -> None:
    """Root's unit: daemon, programs, table, forwarding, bpffs and run directory. The intended state stays."""
    with chain.gateway.enter():
        Path("/proc/sys/net/ipv4/conf/g1/forwarding").write_text("0")
    try:
        service = make_service()
        service.prepare().check()
        service.start()
        assert forwarding(chain, "g1") == "1"
        service.post("block", LISTED)
        service.take_down().check()
        assert service.process
        assert service.process.wait(5) == 0
        assert forwarding(chain, "g1") == "0"
    finally:
        with chain.gateway.enter():
            Path("/proc/sys/net/ipv4/conf/g1/forwarding").write_text("1")
    assert not (service.run_dir / INSTANCE).exists()
    with chain.gateway.enter():
        assert netlink.xdp_mode("g0") == "none"
        assert not Nftables().fingerprint()
    assert probes.arrived(LISTED) == {LISTED}
    service.prepare().check()
    service.start()
    assert probes.arrived(LISTED, OTHER) == {OTHER}


@pytest.mark.parametrize("capability", read_unit("neurowall@.service", INSTANCE).words("AmbientCapabilities"))
def test_no_capability_is_given_for_nothing(
    make_service: MakeService, run: Run, chain: Chain, capability: str
) -> None:
    """Without one of them it says which, and touches nothing. Nor does it run if nobody checks before."""
    service = make_service()
    service.prepare().check()
    done = run.exec(service.argv(without=capability), timeout=30)
    assert done.returncode == 4
    assert f"no {capability}:" in done.stderr
    unchecked = list(service.argv(without=capability))
    place = unchecked.index(service.installed.program)
    unchecked[place : place + 1] = [service.installed.python, "-c", WITHOUT_CHECK]
    assert run.exec(unchecked, timeout=30).returncode not in {0, 4}
    with chain.gateway.enter():
        assert netlink.xdp_mode("g0") == "none"
        assert not Nftables().fingerprint()


def test_on_older_kernels_it_has_cap_sys_admin(
    run: Run, chain: Chain, installed: Installed, probes: Probes
) -> None:
    """The drop-in for kernels that know neither CAP_BPF nor CAP_PERFMON; newer ones take it too."""
    drop_in = PACKAGING / "systemd/examples/older-kernels.conf"
    with services(run, chain, installed) as make:
        service = make(POLICY, drop_in)
        service.prepare().check()
        service.start()
        assert int(status_of(service)["CapEff"], 16) == 1 << 21 | 1 << BITS["CAP_NET_ADMIN"]
        service.post("block", LISTED)
        assert probes.arrived(LISTED, OTHER) == {OTHER}


def test_without_its_root_unit_it_says_what_to_do(make_service: MakeService, run: Run) -> None:
    """Neither a daemon without directories nor one without bpffs starts; both name the command."""
    service = make_service()
    service.prepare().check()
    pins.unmount(service.bpffs)
    done = run.exec(service.argv(), timeout=30)
    assert done.returncode == 4
    assert f"no bpffs at {service.bpffs}" in done.stderr
    assert "neurowall prepare" in done.stderr


def test_prepare_changes_nothing_twice(make_service: MakeService) -> None:
    """Its unit runs before each start."""
    service = make_service()
    assert "mounted a bpffs" in service.prepare().check().stdout
    assert "prepared" in service.prepare().check().stdout
    service.start()
    mounted = service.bpffs.stat().st_dev
    service.prepare().check()
    assert service.bpffs.stat().st_dev == mounted
    service.post("block", LISTED)


def test_it_takes_over_from_root(make_service: MakeService, probes: Probes) -> None:
    """A gateway whose daemon ran as root goes over to the unit without a gap in enforcement."""
    service = make_service()
    service.start(launcher=(service.installed.program,))
    service.post("block", LISTED)
    assert service.stop() == 0
    refused = service._run.exec(service.argv(), timeout=30)
    assert refused.returncode != 0
    assert probes.arrived(LISTED, OTHER) == {OTHER}
    service.prepare().check()
    service.start()
    assert "maps: adopted those in force" in service.log()
    assert probes.arrived(LISTED, OTHER) == {OTHER}
    service.post("unblock", LISTED)
    assert probes.arrived(LISTED, OTHER) == {LISTED, OTHER}
    assert service.stop() == 0
    service.start(launcher=(service.installed.program,))  # and back, as it stands
    assert "maps: adopted those in force" in service.log()
