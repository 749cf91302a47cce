# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest

from bench import lists
from bench.lists import Counts
from bench.measure import memory
from bench.operations.neurowall import OperatedNeurowall
from bench.result import Result
from bench.sut.base import Rules
from bench.testbed.base import Chain
from neurowall.model.entries import EntrySet

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "ipset", "iptables")]

MIB = 1 << 20
KERNEL_THREAD = 2  # kthreadd: it has no maps open


def test_every_system_is_weighed_or_says_why_not(run_scenario: Callable[..., Result]) -> None:
    """Neurowall's processes and maps, ipset's sets; nftables does not tell."""
    found = run_scenario(
        systems=["neurowall", "nft-set", "ipset"],
        points={"small": {"hosts4": 3000}},
        tasks=[{"operation": "footprint", "points": ["small"], "replacements": 1}],
        bars=[{"figure": "N7", "metric": "neurowall/kernel_maps_mib@small", "at_most": 1000}],
        profile={"blocks": 2},
    )
    assert found.void == []
    assert found.verdict == "pass"
    values = {key: metric.value for key, metric in found.metrics.items()}
    assert values["neurowall/daemon_pss_mib@small"] > 20
    assert values["neurowall/daemon_peak_mib@small"] >= values["neurowall/daemon_pss_mib@small"] * 0.99
    assert values["neurowall/kernel_maps_mib@small"] > 16
    assert 0.05 < values["ipset/kernel_maps_mib@small"] < 5
    assert not [key for key in values if key.startswith("nft-set/")]
    assert [row.system for row in found.skipped] == ["nft-set"]
    assert "does not say" in found.skipped[0].reason


def test_the_maps_of_an_instance_are_all_counted_and_grow_with_the_list(chain: Chain) -> None:
    """A trie takes a node for each prefix; what the daemon holds and what is pinned is one sum."""
    nodes = 20_000
    sizes = []
    for rules in (EntrySet.empty(), lists.generate(Counts(prefixes4=nodes), 1)):
        operated = OperatedNeurowall("classic")
        try:
            operated.load(chain, Rules(rules), 0)
            sizes.append(operated.kernel_mib())
            found = memory.kernel_maps(operated.daemon.pid, operated.directory)
            held = memory.kernel_maps(operated.daemon.pid, operated.directory / "nothing")
            pinned = memory.kernel_maps(KERNEL_THREAD, operated.directory)
        finally:
            operated.close()
        assert found.keys() == held.keys() | pinned.keys()
        assert len(pinned) > 10
        assert sum(found.values()) >= max(sum(held.values()), sum(pinned.values()))
    # A node holds the prefix, two pointers and what the kernel needs to free it.
    assert sizes[1] > sizes[0] + nodes * 24 / MIB
