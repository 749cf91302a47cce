# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

import numpy as np
import pytest

from bench.gate import run_gate
from bench.sut.base import Rules, RulesetRejected, SutError, System, to_text
from bench.sut.ipset import IpSet
from bench.sut.nft import LINEAR_LIMIT, TABLE, NftLinear, NftSet
from bench.sut.registry import SYSTEMS, create
from bench.sut.xdp import NoSystem
from bench.testbed.base import Chain
from bench.traffic.base import Flow, Kind
from bench.traffic.wire import wire
from neurowall.model.entries import Entries, EntrySet
from tests.bench.sut.conftest import UNLISTED
from tests.sampling import some

LISTING = sorted(set(SYSTEMS) - UNLISTED)
FILTERS = [name for name in LISTING if create(name).gate == "filter"]
COUNTING = sorted(set(LISTING) - {"none"})


@pytest.fixture
def configured(request: pytest.FixtureRequest, chain: Chain, rules: Rules) -> Iterator[System]:
    """The system named by the parameter, enforcing the rules; skips where it cannot run."""
    system = create(request.param)
    if why := system.available(rules):
        pytest.skip(why)
    system.configure(chain, rules)
    yield system
    system.close()


@pytest.mark.root
@pytest.mark.parametrize("configured", LISTING, indirect=True)
def test_system_passes_the_gate_it_declares(
    chain: Chain, configured: System, rules: Rules, rng: np.random.Generator
) -> None:
    """What it says it does, it does, for hosts and prefixes of both families."""
    result = run_gate(chain, configured, rules, rng)
    assert result.passed, result.detail


@pytest.mark.root
@pytest.mark.parametrize("configured", COUNTING, indirect=True)
@pytest.mark.parametrize("family", [4, 6])
def test_own_counter_is_exact(chain: Chain, configured: System, rules: Rules, family: int) -> None:
    """A thousand packets of listed sources are a thousand drops in its own count."""
    entries = rules.entries.family(family)
    server = chain.server_if.v4 if family == 4 else chain.server_if.v6
    ends, before = wire(chain), configured.counters().dropped
    ends.generator.run(chain, Flow(family, entries.address, server), packets=1000)
    ends.sink.settle()
    assert before is not None
    assert configured.counters().dropped == before + 1000
    assert ends.sink.packets(family, Kind.FLOOD) == 0


@pytest.mark.root
@pytest.mark.parametrize("configured", FILTERS, indirect=True)
def test_closed_system_is_gone(
    chain: Chain, configured: System, rules: Rules, rng: np.random.Generator
) -> None:
    """After close nothing is blocked any more, and a second close does nothing."""
    configured.close()
    result = run_gate(chain, NoSystem(), rules, rng)
    assert result.passed, result.detail
    configured.close()


@pytest.mark.root
@pytest.mark.parametrize("configured", FILTERS, indirect=True)
def test_description_says_what_is_loaded(configured: System, rules: Rules) -> None:
    """Sizes and the text of what it was given."""
    described = configured.describe()
    assert described["sizes"] == rules.counts
    assert "g0" in str(described)


@pytest.mark.root
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("kind", ["hosts", "prefixes"])
@pytest.mark.parametrize("name", some(FILTERS))
def test_rules_of_one_kind_only(
    chain: Chain, rules: Rules, rng: np.random.Generator, name: str, kind: str, family: int
) -> None:
    """Empty sets of the other kinds are no obstacle."""
    entries = rules.parts()[f"{kind}{family}"]
    only = Rules(EntrySet(*(entries if family == f else Entries.empty(f) for f in (4, 6))))
    system = create(name)
    if why := system.available(only):
        pytest.skip(why)
    try:
        system.configure(chain, only)
        result = run_gate(chain, system, only, rng)
    finally:
        system.close()
    assert result.passed, result.detail
    assert result.listed_sent > 0


@pytest.mark.root
@pytest.mark.tool("nft")
def test_ruleset_that_nft_rejects_is_an_error(
    chain: Chain, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nft's own words are in the message."""
    good = NftSet.ruleset
    monkeypatch.setattr(NftSet, "ruleset", lambda *given: good(*given).replace("saddr", "sadr"))
    with pytest.raises(RulesetRejected, match=r"nft refused the ruleset.*syntax error"):
        NftSet().configure(chain, rules)


@pytest.mark.root
@pytest.mark.tool("ipset", "iptables")
def test_sets_that_ipset_rejects_are_an_error(
    chain: Chain, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ipset's own words are in the message."""
    monkeypatch.setattr("bench.sut.ipset._FAMILY", {4: "inet", 6: "inet"})
    system = IpSet()
    if why := system.available():
        pytest.skip(why)
    with pytest.raises(RulesetRejected, match="ipset refused its input"):
        system.configure(chain, rules)
    system.close()


@pytest.mark.root
@pytest.mark.tool("nft")
def test_table_is_all_that_nft_leaves_and_close_removes_it(chain: Chain, rules: Rules) -> None:
    """Nothing but its own table is touched."""
    system = NftSet()
    system.configure(chain, rules)
    tables = chain.gateway.exec(["nft", "list", "tables"]).check().stdout.split("\n")
    assert [line for line in tables if line] == [f"table netdev {TABLE}"]
    system.close()
    assert not chain.gateway.exec(["nft", "list", "tables"]).check().stdout


def test_linear_is_unavailable_above_its_limit(rules: Rules) -> None:
    """It is there to show what not to do, not to take minutes."""
    many = Entries.make(4, np.arange(1 << 24, (1 << 24) + LINEAR_LIMIT + 1), np.full(LINEAR_LIMIT + 1, 32))
    why = NftLinear().available(Rules(EntrySet(many, Entries.empty(6))))
    assert why is not None
    assert "10001" in why


def test_counters_before_configuration_are_an_error() -> None:
    """Not a plausible zero."""
    for name in COUNTING:
        with pytest.raises(SutError, match="configure"):
            create(name).counters()


def test_unknown_system_is_named_with_those_there_are() -> None:
    """A typo in a scenario."""
    with pytest.raises(KeyError, match="nft-set"):
        create("nft-sets")


def test_fast_text_is_what_the_model_says(rules: Rules) -> None:
    """The quick formatter agrees with the model's own."""
    for entries in rules.parts().values():
        assert to_text(entries) == [str(row) for row in entries.rows()]


def test_parts_are_all_entries_once(rules: Rules) -> None:
    """Hosts and prefixes of both families, nothing lost between."""
    assert sum(rules.counts.values()) == len(rules.entries)
    assert sorted(rules.list_text.split()) == sorted(rules.entries.to_strings())
