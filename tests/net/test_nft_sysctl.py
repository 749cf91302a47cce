# SPDX-License-Identifier: Apache-2.0
"""Forwarding switched on for some interfaces, in a gateway that forwards nothing before."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.testbed.chain import FORWARDING, Chain, write_sysctls
from bench.testbed.run import Run
from neurowall.kernel import sysctl
from neurowall.model.errors import KernelError
from tests.net.probes import Probes

pytestmark = pytest.mark.root

BOTH = ("g0", "g1")
V4, V6 = "192.0.2.7", "2001:db8::7"


@pytest.fixture(scope="module")
def gateway(run: Run) -> Iterator[Chain]:
    """A chain of its own: its sysctls are what is tested."""
    with Chain(run, "sysctl").build() as chain:
        yield chain


@pytest.fixture
def probes(gateway: Chain) -> Iterator[Probes]:
    """Packets through the gateway."""
    probes = Probes(gateway)
    yield probes
    probes.close()


@pytest.fixture(params=["force_forwarding", "all"])
def record(
    request: pytest.FixtureRequest, gateway: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Where the record goes; the test is in a gateway that forwards nothing, on a new and an old kernel."""
    with gateway.gateway.enter():
        write_sysctls(dict.fromkeys(FORWARDING, "0"))
        write_sysctls({f"net/ipv6/conf/{name}/accept_ra": "1" for name in BOTH})
        if request.param == "all":
            monkeypatch.setattr(sysctl, "_read", without_force_forwarding)
        elif sysctl._read("net/ipv6/conf/lo/force_forwarding") is None:
            pytest.skip("this kernel has no force_forwarding (Linux 6.17): the other parameter is its case")
        before = all_values()
        yield tmp_path / "sysctls.json"
        sysctl.restore(tmp_path / "sysctls.json")
        assert all_values() == before, "not everything was given back"
        write_sysctls(FORWARDING)


READ = sysctl._read


def without_force_forwarding(name: str) -> str | None:
    """Reads as on a kernel before 6.17."""
    return None if name.endswith("/force_forwarding") else READ(name)


def all_values() -> dict[str, str]:
    """Everything in net/ipv4 and net/ipv6 that may depend on forwarding."""
    roots = [Path(f"/proc/sys/net/{family}/conf") for family in ("ipv4", "ipv6")]
    files = [path for root in roots for path in root.glob("*/*") if path.name != "stable_secret"]
    return {str(path): path.read_text() for path in files}


def test_forwarding_is_switched_on_and_given_back(record: Path, probes: Probes) -> None:
    """Packets of both families pass while it is on; a second call changes nothing, a second undo neither."""
    assert sysctl.is_forwarding("g0") == (False, False)
    sysctl.forward(BOTH, record)
    assert sysctl.is_forwarding("g0") == (True, True)
    assert probes.arrived(V4, V6) == {V4, V6}
    written, values = record.read_text(), all_values()
    sysctl.forward(BOTH, record)
    assert (record.read_text(), all_values()) == (written, values)
    sysctl.restore(record)
    assert not record.exists()
    assert sysctl.is_forwarding("g0") == (False, False)
    sysctl.restore(record)


def test_other_interfaces_keep_what_they_have(record: Path) -> None:
    """Only the interfaces that were named become routers, whatever the kernel needs for IPv6."""
    sysctl.forward(["g0"], record)
    for name in ("g1", "lo", "default"):
        assert sysctl._read(f"net/ipv6/conf/{name}/forwarding") == "0"
        assert sysctl._read(f"net/ipv4/conf/{name}/forwarding") == "0"
    assert sysctl.is_forwarding("g0") == (True, True)
    assert sysctl._read("net/ipv6/conf/g1/accept_ra") == "1"


def test_router_advertisements_are_taken_as_before(record: Path) -> None:
    """An interface that took them still does when it forwards; one that did not, does not."""
    write_sysctls({"net/ipv6/conf/g1/accept_ra": "0"})
    sysctl.forward(BOTH, record)
    assert [sysctl._read(f"net/ipv6/conf/{name}/accept_ra") for name in BOTH] == ["2", "0"]
    sysctl.restore(record)
    assert [sysctl._read(f"net/ipv6/conf/{name}/accept_ra") for name in BOTH] == ["1", "0"]
    write_sysctls({"net/ipv6/conf/g1/accept_ra": "1"})


def test_an_interface_that_leaves_gets_its_values_back(record: Path) -> None:
    """Those of the others stay, and so does what all of them need."""
    sysctl.forward(BOTH, record)
    sysctl.forward(["g1"], record)
    assert sysctl._read("net/ipv4/conf/g0/forwarding") == "0"
    assert sysctl._read("net/ipv6/conf/g0/forwarding") == "0"
    assert sysctl.is_forwarding("g1") == (True, True)
    sysctl.forward([], record)
    assert not record.exists()


def test_an_interface_that_is_missing_is_left_out(record: Path) -> None:
    """Neither switching on nor the undo stumbles over one that is not there."""
    sysctl.forward(["g0", "gone0", "vlan.10"], record)
    assert "gone0" not in record.read_text()
    changes = json.loads(record.read_text())
    record.write_text(json.dumps({**changes, "net/ipv4/conf/gone0/forwarding": ["0", "1"]}))
    sysctl.restore(record)
    assert not record.exists()


def test_what_somebody_else_changed_stays(record: Path) -> None:
    """The undo takes back what we wrote and no later decision."""
    write_sysctls({"net/ipv4/conf/g1/forwarding": "1"})
    sysctl.forward(BOTH, record)
    assert "net/ipv4/conf/g1/forwarding" not in record.read_text()
    write_sysctls({"net/ipv6/conf/g0/accept_ra": "0"})
    sysctl.restore(record)
    assert sysctl._read("net/ipv6/conf/g0/accept_ra") == "0"
    assert sysctl._read("net/ipv4/conf/g1/forwarding") == "1"
    write_sysctls({"net/ipv6/conf/g0/accept_ra": "1", "net/ipv4/conf/g1/forwarding": "0"})


def test_the_record_is_there_before_the_change(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write is the last before the power goes, the undo knows of it."""
    write, made = sysctl._write, 0
    for stop in range(1, 12):
        made = 0

        def failing(name: str, value: str, stop: int = stop) -> None:
            nonlocal made
            made += 1
            if made == stop:
                raise KernelError("power gone")
            write(name, value)

        before = all_values()
        monkeypatch.setattr(sysctl, "_write", failing)
        try:
            sysctl.forward(BOTH, record)
        except KernelError:
            assert record.exists()
        monkeypatch.setattr(sysctl, "_write", write)
        sysctl.restore(record)
        assert all_values() == before
    assert made < 11, "every write was the last once"


def test_a_damaged_record_changes_nothing(record: Path) -> None:
    """Values of unknown origin are not overwritten: the message says what to do."""
    before = all_values()
    for text in ("", "[]", '{"a": 5}', '{"net/ipv4/conf/g0/forwarding": ["0"]}'):
        record.write_text(text)
        with pytest.raises(KernelError, match=r"sysctls\.json"):
            sysctl.forward(BOTH, record)
        with pytest.raises(KernelError, match=r"sysctls\.json"):
            sysctl.restore(record)
        assert all_values() == before
    record.unlink()


def test_a_record_that_cannot_be_written_changes_nothing(record: Path) -> None:
    """No value is changed that could not be given back."""
    before = all_values()
    with pytest.raises(KernelError, match="no sysctl was changed"):
        sysctl.forward(BOTH, record / "missing" / "file")
    assert all_values() == before
