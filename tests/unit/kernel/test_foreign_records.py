# SPDX-License-Identifier: Apache-2.0
"""`neurowall down` is root, and reads what a daemon of another user wrote: that must lead nowhere else."""

import json
from pathlib import Path

import pytest

from neurowall.kernel import attachment, netlink, sysctl
from neurowall.model.errors import KernelError, Unsupported


@pytest.mark.parametrize(
    "name",
    [
        "kernel/core_pattern",
        "net/ipv4/conf/../../../kernel/core_pattern",
        "net/ipv4/conf/../forwarding",
        "/etc/passwd",
        "net/ipv4/conf/g0/rp_filter",
        "net/ipv4/conf/g0/x/forwarding",
    ],
)
def test_no_other_sysctl_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The record stays, and the error says which line is strange."""
    root = tmp_path / "sys"
    target = root / name.lstrip("/")
    for folder in (root / "net/ipv4/conf", root / "kernel", target.parent):
        folder.mkdir(parents=True, exist_ok=True)
    target.write_text("ours")
    monkeypatch.setattr(sysctl, "_ROOT", root)
    record = tmp_path / "sysctls.json"
    record.write_text(json.dumps({name: ["theirs", "ours"]}))
    with pytest.raises(KernelError, match="does not say which sysctls"):
        sysctl.restore(record)
    assert target.read_text() == "ours"
    assert record.exists()


@pytest.mark.parametrize("name", ["eth0", "br-lan", "wan.100"])
def test_our_own_records_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever characters an interface's name has."""
    target = tmp_path / f"net/ipv4/conf/{name}/forwarding"
    target.parent.mkdir(parents=True)
    target.write_text("1")
    monkeypatch.setattr(sysctl, "_ROOT", tmp_path)
    record = tmp_path / "sysctls.json"
    record.write_text(json.dumps({f"net/ipv4/conf/{name}/forwarding": ["0", "1"]}))
    sysctl.restore(record)
    assert target.read_text() == "0"


def test_no_interface_is_a_path(tmp_path: Path) -> None:
    """Pins are found by the interface's name."""
    path = tmp_path / "interfaces.json"
    path.write_text(json.dumps({"../../x": {"mode": "native", "why": ""}}))
    with pytest.raises(KernelError, match="is no interface"):
        attachment.Records(path)


def test_no_record_is_written_through_a_link(tmp_path: Path) -> None:
    """`neurowall down` saves in the directory of the daemon's user, who may put links there."""
    other = tmp_path / "other"
    other.write_text("ours")
    for name in ("interfaces.tmp", "interfaces.json"):
        (tmp_path / name).symlink_to(other)
    records = attachment.Records(tmp_path / "none.json")
    records._path = tmp_path / "interfaces.json"
    records.save()
    assert other.read_text() == "ours"
    assert json.loads((tmp_path / "interfaces.json").read_text()) == {}


@pytest.mark.root
def test_no_namespace_is_a_path() -> None:
    """Else root would take away the table of another namespace, such as the host's."""
    with pytest.raises(Unsupported, match="no network namespace"):
        netlink.enter_namespace("../../proc/self/ns/net")
