# SPDX-License-Identifier: Apache-2.0
"""The tables of flows, made for another number of them."""

import ctypes as c
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from neurowall.kernel import flows, layout_flows, libbpf
from neurowall.kernel.maps import Map
from neurowall.model.flows import FlowRules, FlowState

RULES = FlowRules(max_entries=1000, timeouts=(60.0,) * len(FlowState), new_per_second=100, adopt=0.0)


class Maps:
    """Those that flows.set_up() asks for, as a set of maps holds them."""

    def __init__(self) -> None:
        sizes = c.sizeof(layout_flows.FlowKey), c.sizeof(layout_flows.Flow)
        kind = libbpf.BPF_MAP_TYPE_LRU_HASH
        self.by_name = {name: Map(libbpf.map_create(kind, name, *sizes, 1)) for name in flows.TABLES}
        size = c.sizeof(layout_flows.FlowControl)
        self.by_name["flow_control"] = Map(libbpf.map_create(2, "flow_control", 4, size, 1))

    def replace(self, name: str, new: Map) -> None:
        """Put another map in the place of one."""
        self.by_name[name].close()
        self.by_name[name] = new

    def close(self) -> None:
        """Give them back."""
        for each in self.by_name.values():
            each.close()

    def adopts_for(self) -> float:
        """For how many seconds what is out of state still passes."""
        return (flows.read_control(self).adopt_until - time.monotonic_ns()) / 1e9  # type: ignore[arg-type]


@pytest.fixture
def maps() -> Iterator[Maps]:
    """Tables of one entry each, as without flows."""
    made = Maps()
    yield made
    made.close()


def set_up(maps: Maps, rules: FlowRules | None) -> bool:
    """As the data plane does."""
    return flows.set_up(maps, rules)  # type: ignore[arg-type]


@pytest.mark.root
def test_first_tables_adopt_for_as_long_as_the_policy_says(maps: Maps) -> None:
    """Not at all with `adopt: 0s`; nothing is done twice."""
    assert set_up(maps, RULES)
    assert maps.adopts_for() <= 0
    assert [maps.by_name[name].max_entries for name in flows.TABLES] == [1000, 500]
    assert not set_up(maps, RULES)


@pytest.mark.root
def test_other_sizes_keep_flows_and_spare_those_that_begin_meanwhile(maps: Maps) -> None:
    """For a second at least, whatever the policy says: they are in the table that goes."""
    set_up(maps, RULES)
    key, flow = bytes(range(1, 1 + c.sizeof(layout_flows.FlowKey))), bytes(layout_flows.Flow(seen=7))
    maps.by_name["flows"].update(key, flow)
    assert set_up(maps, replace(RULES, max_entries=2000))
    assert maps.by_name["flows"].lookup(key) == flow
    assert 0 < maps.adopts_for() <= 1
    assert set_up(maps, replace(RULES, max_entries=3000, adopt=60.0))
    assert 1 < maps.adopts_for() <= 60


@pytest.mark.root
def test_without_flows_the_tables_are_given_back(maps: Maps) -> None:
    """All but one entry."""
    set_up(maps, RULES)
    assert set_up(maps, None)
    assert [maps.by_name[name].max_entries for name in flows.TABLES] == [1, 1]
