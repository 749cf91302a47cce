# SPDX-License-Identifier: Apache-2.0
import socket
from typing import Any

import pytest

from bench.measure.parity import arm_parity, compare_parity
from bench.testbed.base import Chain, Run
from bench.testbed.chain import SERVER

ARM: dict[str, Any] = {"kernel": "6.1", "conntrack": False, "g0": {"mtu": 1500, "features": ["rx-gro"]}}


class TestCompare:
    def test_equal_arms_have_no_differences(self) -> None:
        """Nothing to say is an empty list, also for one arm or none."""
        assert compare_parity({"none": ARM, "nft": dict(ARM)}) == []
        assert compare_parity({"none": ARM}) == []
        assert compare_parity({}) == []

    def test_the_odd_one_is_named(self) -> None:
        """What most have is right, wherever the odd arm stands."""
        odd = ARM | {"g0": {"mtu": 9000, "features": []}}
        assert compare_parity({"a": odd, "b": ARM, "c": ARM}) == [
            ("a", "g0 features rx-gro is off, but on in b"),
            ("a", "g0 mtu is 9000, but 1500 in b"),
        ]

    def test_between_two_the_first_is_right(self) -> None:
        """The control stands first."""
        assert compare_parity({"none": ARM, "x": ARM | {"conntrack": True}}) == [
            ("x", "conntrack is on, but off in none")
        ]

    def test_what_is_missing_is_off(self) -> None:
        """A setting only one arm has is a difference."""
        assert compare_parity({"none": ARM, "x": ARM | {"extra": 5}}) == [
            ("x", "extra is 5, but off in none")
        ]


@pytest.mark.root
class TestChains:
    def test_two_fresh_chains_are_alike(self, run: Run) -> None:
        """The testbed itself gives equal arms."""
        with Chain(run, "a").build() as a, Chain(run, "b").build() as b:
            assert compare_parity({"a": arm_parity(a), "b": arm_parity(b)}) == []

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (["ethtool", "-K", "g0", "tx", "on"], "gateway_in features tx-checksum-ip-generic is on"),
            (["ip", "link", "set", "g1", "mtu", "1400"], "gateway_out mtu is 1400, but 1500"),
            (["ip", "link", "set", "g1", "down"], "gateway_out up is off"),
            (["ip", "link", "set", "g0", "txqueuelen", "10"], None),
            (["sysctl", "-q", "-w", "net.ipv4.conf.g0.rp_filter=1"], "rp_filter is 1, but 0"),
            (["tc", "qdisc", "add", "dev", "g1", "root", "pfifo"], "gateway_out qdisc is pfifo, but noqueue"),
        ],
    )
    def test_a_changed_arm_is_found(self, run: Run, change: list[str], said: str | None) -> None:
        """Each kind of change that costs or saves something is named; others are not."""
        with Chain(run, "a").build() as a, Chain(run, "b").build() as b:
            done = b.gateway.exec(change)
            if done.returncode:
                pytest.skip(f"this kernel refuses `{' '.join(change)}`: {done.stderr.strip()}")
            found = compare_parity({"a": arm_parity(a), "b": arm_parity(b)})
        assert all(system == "b" for system, _ in found)
        text = "; ".join(what for _, what in found)
        assert (said in text) if said else text == ""

    def test_connection_tracking_is_found(self, chain: Chain) -> None:
        """As soon as one packet has been tracked."""
        assert arm_parity(chain)["conntrack"] is False
        rules = "table ip t { chain c { type filter hook forward priority 0; ct state new accept; }; }"
        chain.gateway.exec(["nft", "-f", "-"], input=rules).check()
        with chain.client.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", (SERVER.v4, 7))
        assert arm_parity(chain)["conntrack"] is True

    def test_fewer_cpus_are_found(self, chain: Chain) -> None:
        """An arm that may use other CPUs is another arm."""
        arms = {"a": arm_parity(chain, {0, 1}), "b": arm_parity(chain, {0})}
        assert compare_parity(arms) == [("b", "cpus 1 is off, but on in a")]
