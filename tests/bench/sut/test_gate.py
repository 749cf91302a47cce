# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bench.gate import run_gate
from bench.sut.base import ConfigureReport, Rules
from bench.sut.nft import NftSet
from bench.sut.xdp import NoSystem, XdpNull
from bench.testbed.base import Chain
from bench.testbed.ethtool import Ethtool
from neurowall.model.entries import EntrySet

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]


class Careless(NftSet):
    """A rival that never looks at what nft answered, as many a script."""

    def __init__(self, ruleset: str) -> None:
        super().__init__()
        self.given = ruleset

    def configure(self, chain: Chain, rules: Rules) -> ConfigureReport:
        """Load what was given, come what may."""
        chain.gateway.exec(["nft", "-f", "-"], input=self.given)
        return ConfigureReport(0.0)


def without(rules: Rules, *texts: str) -> Rules:
    """The same rules less some entries."""
    return Rules(rules.entries.minus(EntrySet.from_strings(texts)))


def test_filter_that_enforces_its_rules_is_green(
    chain: Chain, rules: Rules, rng: np.random.Generator
) -> None:
    """All that is listed is blocked, all neighbours pass, 256 of each and family."""
    system = NftSet()
    system.configure(chain, rules)
    result = run_gate(chain, system, rules, rng)
    assert result.passed, result.detail
    assert result.listed_blocked == result.listed_sent
    assert result.near_passed == result.near_sent == 512
    assert result.listed_sent > 300


def test_rejected_ruleset_is_red(chain: Chain, rules: Rules, rng: np.random.Generator) -> None:
    """Nft refused the whole file, so nothing is blocked: the A/B would be an A/A."""
    good = NftSet().ruleset(rules, chain.gateway_in.name)
    system = Careless(good.replace("policy accept;", "policy acept;"))
    system.configure(chain, rules)
    result = run_gate(chain, system, rules, rng)
    assert not result.passed
    assert result.listed_blocked == 0
    assert "listed addresses got through" in result.detail


def test_list_that_was_not_loaded_is_red(chain: Chain, rules: Rules, rng: np.random.Generator) -> None:
    """Rules are in force, but their sets are empty."""
    good = NftSet().ruleset(rules, chain.gateway_in.name)
    lines = [line for line in good.splitlines() if "elements" not in line and not line.endswith((",", " }"))]
    system = Careless("\n".join(lines) + "\n")
    system.configure(chain, rules)
    assert "@hosts4" in chain.gateway.exec(["nft", "list", "ruleset"]).stdout
    result = run_gate(chain, system, rules, rng)
    assert not result.passed
    assert result.listed_blocked == 0


@pytest.mark.parametrize("missing", ["9.9.9.9", "2600:1::7"])
def test_one_missing_address_is_red_and_named(chain: Chain, rng: np.random.Generator, missing: str) -> None:
    """One of the sampled addresses is not in force."""
    rules = Rules(EntrySet.from_strings(["8.8.4.0/24", "9.9.9.9", "2600:1::7", "2600:2::/64"]))
    system = NftSet()
    system.configure(chain, without(rules, missing))
    result = run_gate(chain, system, rules, rng)
    assert not result.passed
    assert result.listed_sent - result.listed_blocked == 1
    assert missing in result.detail


def test_blocked_neighbour_is_red(chain: Chain, rules: Rules, rng: np.random.Generator) -> None:
    """A prefix loaded one bit too short blocks those beside it."""
    system = NftSet()
    small = Rules(EntrySet.from_strings(["9.9.9.8/30", "8.8.8.8"]))
    system.configure(chain, Rules(EntrySet.from_strings(["9.9.9.8/29", "8.8.8.8"])))
    result = run_gate(chain, system, small, rng)
    assert not result.passed
    assert (result.listed_blocked, result.near_sent - result.near_passed) == (result.listed_sent, 1)
    assert "9.9.9.12" in result.detail


@pytest.mark.parametrize("kind", ["none", "filter"])
def test_generator_without_receiver_is_red(
    chain: Chain, rules: Rules, rng: np.random.Generator, kind: str
) -> None:
    """Without GRO and XDP the gateway's interface has no queue: every frame vanishes, nothing is proven."""
    system = NoSystem() if kind == "none" else NftSet()
    system.configure(chain, rules)
    with chain.gateway.enter(), Ethtool() as ethtool:
        ethtool.set_features(chain.gateway_in.name, {"rx-gro": False})
    result = run_gate(chain, system, rules, rng)
    assert not result.passed
    assert result.near_passed == 0
    assert "did not arrive" in result.detail


@pytest.mark.parametrize("verdict", ["drop", "pass"])
def test_null_program_is_green_for_what_it_declares(
    chain: Chain, rules: Rules, rng: np.random.Generator, verdict: str
) -> None:
    """xdp-null drops both kinds or passes both kinds."""
    system = XdpNull("drop" if verdict == "drop" else "pass")
    system.configure(chain, rules)
    result = run_gate(chain, system, rules, rng)
    system.close()
    assert result.passed, result.detail
    assert result.near_passed == (0 if verdict == "drop" else result.near_sent)


def test_dropper_that_lets_packets_through_is_red(
    chain: Chain, rules: Rules, rng: np.random.Generator
) -> None:
    """Declared to drop, but it passes."""
    system = XdpNull("pass")
    system.configure(chain, rules)
    system.gate = "drop"
    result = run_gate(chain, system, rules, rng)
    system.close()
    assert not result.passed
    assert "packets got through" in result.detail


def test_dropper_that_was_never_reached_is_red(chain: Chain, rules: Rules, rng: np.random.Generator) -> None:
    """Nothing arrives, as declared, but the program did not see the probes either: the path is dead."""
    system = XdpNull("drop")
    system.configure(chain, rules)
    with chain.client.enter():
        chain.client.exec(["ip", "link", "set", chain.client_if.name, "down"]).check()
    result = run_gate(chain, system, rules, rng)
    system.close()
    assert not result.passed
    assert "counted 0 drops" in result.detail


def test_rules_without_entries_still_prove_that_packets_pass(chain: Chain, rng: np.random.Generator) -> None:
    """A gate on an empty rule set is no empty gate."""
    rules = Rules(EntrySet.empty())
    result = run_gate(chain, NoSystem(), rules, rng)
    assert (result.passed, result.listed_sent, result.near_passed) == (True, 0, 256)
