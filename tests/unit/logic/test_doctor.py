# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from typing import Any

import pytest

from neurowall.kernel.features import NFT_FEATURES, Bpf, Conntrack, Nftables
from neurowall.kernel.machine import XDP_BASIC, XDP_MULTI_BUFFER, Device
from neurowall.logic.doctor import _FEATURES, Facts, Finding, examine
from neurowall.model.history import StorageFacts

WAN = Device("wan0", 2, driver="ice", xdp_features=XDP_BASIC | XDP_MULTI_BUFFER, queues=4)
LAN = Device("lan0", 3, driver="ice", xdp_features=XDP_BASIC, queues=4)
HEALTHY = Facts(
    release="6.1.0-18-amd64",
    cpus=4,
    lacking=(),
    bpf=Bpf("1.1", None, jit=True, object_problem=None),
    nftables=Nftables(None, {}),
    conntrack=Conntrack(100, 262_144, 65_536),
    forwarding={4: True, 6: True},
    devices=(WAN, LAN),
    interfaces=("wan0", "lan0"),
)


def worse(**changes: Any) -> list[Finding]:
    """What is found beside the ok ones on a machine that is healthy but for *changes*."""
    return [each for each in examine(replace(HEALTHY, **changes)) if each.state != "ok"]


def only(**changes: Any) -> Finding:
    """The one thing that is not ok."""
    (found,) = worse(**changes)
    return found


def wan(**changes: Any) -> dict[str, Any]:
    """The facts with another wan0."""
    return {"devices": (replace(WAN, **changes), LAN)}


def test_a_healthy_machine_is_ok() -> None:
    """Every area has said so, and nothing costs or is to be fixed."""
    found = examine(HEALTHY)
    assert {each.state for each in found} == {"ok"}
    assert {each.area for each in found} == {
        "machine",
        "XDP",
        "nftables",
        "conntrack",
        "forwarding",
        "interface wan0",
        "interface lan0",
    }
    assert all(not each.costs and not each.fix for each in found)


@pytest.mark.parametrize(
    ("changes", "state", "area", "words"),
    [
        ({"lacking": ("no CAP_BPF: run it as root",)}, "missing", "machine", ["no CAP_BPF", "as root"]),
        ({"release": "5.4.0"}, "warning", "machine", ["5.4.0", "Linux 5.9"]),
        ({"bpf": Bpf(None, "install libbpf1", None, None)}, "missing", "XDP", ["libbpf1"]),
        ({"bpf": Bpf("1.1", "no XDP program loads", None, None)}, "missing", "XDP", ["no XDP"]),
        ({"bpf": Bpf("1.1", None, None, "run 'make objects'")}, "missing", "XDP", ["make objects"]),
        ({"bpf": Bpf("1.1", None, False, None)}, "warning", "XDP", ["bpf_jit_enable=1"]),
        ({"bpf": Bpf("1.1", None, None, None, "no ring")}, "note", "XDP", ["no ring", "Linux 5.8"]),
        ({"nftables": Nftables("no libnftables", {})}, "missing", "nftables", ["no rules, no NAT"]),
        ({"nftables": Nftables(None, {"states": "x"})}, "missing", "nftables", ["CONFIG_NFT_CT"]),
        ({"nftables": Nftables(None, {"reject": "x"})}, "warning", "nftables", ["CONFIG_NFT_REJECT"]),
        ({"nftables": Nftables(None, {"flowtable": "x"})}, "note", "nftables", ["CONFIG_NF_FLOW_TABLE"]),
        ({"conntrack": None}, "note", "conntrack", ["no connection is tracked"]),
        ({"conntrack": Conntrack(236_000, 262_144, 65_536)}, "warning", "conntrack", ["max=524288"]),
        ({"conntrack": Conntrack(0, 8192, 8192)}, "warning", "conntrack", ["small", "max=262144"]),
        ({"conntrack": Conntrack(0, 262_144, 65_535)}, "warning", "conntrack", ["65,535 buckets"]),
        ({"forwarding": {4: False, 6: False}}, "note", "forwarding", ["forwarding: [ipv4, ipv6]"]),
        ({"interfaces": ("wan0", "dmz0")}, "warning", "interface dmz0", ["none of that name"]),
        (wan(master="br0"), "warning", "interface wan0", ["a port of br0", "guard br0"]),
        (wan(up=False), "note", "interface wan0", ["ip link set wan0 up"]),
        (wan(type=65_534), "note", "interface wan0", ["no Ethernet", "xdp: off"]),
        (wan(xdp_features=None), "note", "interface wan0", ["cannot tell", "driver ice"]),
        (wan(xdp_features=0), "warning", "interface wan0", ["generic XDP only", "native XDP"]),
        (wan(xdp_mode="generic", xdp_features=0), "warning", "interface wan0", ["attached, generic"]),
        (wan(xdp_mode="generic"), "warning", "interface wan0", ["neurowall status", "has native"]),
        (wan(mtu=9000), "warning", "interface wan0", ["MTU 9000", "mtu 3498", "several buffers"]),
        (wan(offloads=frozenset({"rx-lro", "rx-gro"})), "note", "interface wan0", ["rx-lro on"]),
        (
            wan(offloads=frozenset({"rx-vlan-hw-parse"}), xdp_mode="native"),
            "warning",
            "interface wan0",
            ["does not see VLAN tags", "ethtool -K wan0 rx-vlan-hw-parse off"],
        ),
        (wan(queues=1), "note", "interface wan0", ["1 receive queue, 4 CPUs", "combined 4"]),
    ],
)  # fmt: skip
def test_each_lack_is_found_alone(changes: dict[str, Any], state: str, area: str, words: list[str]) -> None:
    """Its state, where, what it costs and how to fix it; nothing else is blamed."""
    found = only(**changes)
    assert (found.state, found.area) == (state, area)
    assert found.costs
    assert found.fix
    for word in words:
        assert word in f"{found.found} {found.costs} {found.fix}"


@pytest.mark.parametrize(
    "changes",
    [
        {"release": "5.9.0"},
        {"release": "10.0"},
        {"conntrack": Conntrack(235_000, 262_144, 65_536)},
        {"forwarding": {4: True, 6: False}},
        {"forwarding": {4: False, 6: False}, "interfaces": ("wan0",)},
        wan(mtu=3498),
        wan(queues=None),
        wan(queues=8),
        wan(xdp_mode="native"),
        wan(xdp_mode="offload"),
    ],
)
def test_what_is_just_good_enough_is_ok(changes: dict[str, Any]) -> None:
    """The neighbours of the limits."""
    assert worse(**changes) == []


def test_a_large_mtu_matters_only_where_native_xdp_could_be() -> None:
    """Generic XDP takes every frame: the driver is what is blamed there."""
    assert [each.found for each in worse(**wan(mtu=9000, xdp_features=0))] == ["generic XDP only; driver ice"]


def test_every_probed_feature_has_its_price() -> None:
    """A dry run whose refusal nobody explains would go unseen."""
    assert set(_FEATURES) == {*NFT_FEATURES, "flowtable"}


def test_interfaces_that_nobody_guards_are_not_blamed() -> None:
    """Only those of the policy."""
    assert worse(interfaces=("lan0",), devices=(replace(WAN, up=False, queues=1), LAN)) == []


class TestDatabase:
    """Only a daemon that runs can tell of it."""

    WORKS = StorageFacts("sqlite", "", None, 1_250_000, 0, 0, 0)

    def test_works(self) -> None:
        """Its kind and its size."""
        found = examine(replace(HEALTHY, storage=self.WORKS))
        assert Finding("database", "ok", "sqlite, 1.2 MB") in found
        assert not worse(storage=self.WORKS)

    def test_is_away(self) -> None:
        """What the daemon says of it, with the next step as the fix."""
        (found,) = worse(storage=replace(self.WORKS, problem="database x is gone: put it back"))
        assert (found.state, found.found, found.fix) == ("warning", "database x is gone", "put it back")
        assert "filtered as before" in found.costs

    def test_lost_rows(self) -> None:
        """It works now, and did not always."""
        (found,) = worse(storage=replace(self.WORKS, lost=3))
        assert found.state == "note"
        assert "3 rows" in found.found
