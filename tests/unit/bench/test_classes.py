# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import yaml

from bench.classes import FRESH, OWN, SERVER_NETWORK, TrafficClass, pattern
from bench.classsources import draw
from bench.defence import FEATURES, Defence, Limit
from bench.lists import Counts, generate
from bench.traffic.base import TrafficError
from bench.traffic.blended import limit_errors

LISTED = generate(Counts(hosts4=2000, prefixes4=300), 1).v4
CLASSES = (
    TrafficClass(name="legit", share=1, sources=500),
    TrafficClass(name="flood", share=5, sources=5120, networks=20),
    TrafficClass(name="listed", share=1),
    TrafficClass(name="spoofed", share=1, sources=100),
)
PER_SOURCE = Limit(name="s", key="source", packets_per_second=10, burst=20)
PER_PREFIX = Limit(name="p", key="source-prefix", match="tcp-syn", packets_per_second=3, burst=5)
DEFENCE = Defence(limits=(PER_SOURCE, PER_PREFIX), flows="strict", events=True, spoofing=True)


def test_sources_of_classes_are_where_they_belong() -> None:
    """Distinct, so many /24s of each class, no /24 of two of them, none that is listed but the listed."""
    found = draw(CLASSES, LISTED, np.random.default_rng(1))
    networks = {name: set((column >> 8).tolist()) for name, column in found.items()}
    assert {name: len(column) for name, column in found.items()} == {
        "legit": 500, "flood": 5120, "listed": len(LISTED), "spoofed": 100
    }  # fmt: skip
    assert all(len(np.unique(column)) == len(column) for column in found.values())
    assert (len(networks["legit"]), len(networks["flood"])) == (500, 20)
    listed = set((LISTED.address >> 8).tolist())
    assert not networks["legit"] & networks["flood"]
    assert not (networks["legit"] | networks["flood"]) & listed
    assert networks["spoofed"] == {SERVER_NETWORK >> 8}
    assert not {SERVER_NETWORK + 1, SERVER_NETWORK + 2} & set(found["spoofed"].tolist())
    assert all(number >> 16 in OWN for number in networks["legit"] | networks["flood"])
    assert FRESH >> 24 not in OWN


def test_a_flood_is_uniform_over_its_networks_and_shuffled() -> None:
    """As many sources in each, and neighbours in the stream are of different ones."""
    flood = (TrafficClass(name="flood", share=1, sources=1000, networks=100),)
    (column,) = draw(flood, LISTED, np.random.default_rng(1)).values()
    assert set(np.unique(column >> 8, return_counts=True)[1].tolist()) == {10}
    assert (np.diff(column >> 8) == 0).mean() < 0.05


def test_the_pattern_spreads_every_class_evenly() -> None:
    """Each has its share, and no long run of its own."""
    made = np.frombuffer(pattern(CLASSES), np.uint8)
    assert np.bincount(made).tolist() == [1, 5, 1, 1]
    wide = pattern((TrafficClass(name="flood", share=4095), TrafficClass(name="legit", share=1)))
    assert len(wide) == 4096
    assert wide.count(1) == 1
    half = pattern((TrafficClass(name="flood", share=64), TrafficClass(name="legit", share=64)))
    assert b"\0\0\0" not in half


def test_the_oracle_of_limits_is_the_policys_arithmetic() -> None:
    """Keys x (burst + rate x time); the strictest counts; a limit of SYNs does not concern UDP."""
    flood = TrafficClass(name="flood", share=1, sources=5120, networks=20)
    syn = flood.model_copy(update={"name": "syn-flood"})
    assert flood.admitted(DEFENCE, 2.0) == 5120 * (20 + 20)
    assert syn.admitted(DEFENCE, 2.0) == 20 * (5 + 6)
    assert TrafficClass(name="legit", share=1).admitted(DEFENCE, 2.0) is None
    assert TrafficClass(name="listed", share=1).admitted(DEFENCE, 2.0) == 0
    assert flood.admitted(Defence(), 2.0) is flood.admitted(None, 2.0) is None


def test_the_error_of_a_limit_is_told_source_by_source() -> None:
    """One that got twice its due and one that got nothing do not make up for each other."""
    paced = TrafficClass(name="paced", share=1, sources=4)
    errors = limit_errors(np.array([40, 80, 0, 42], np.uint64), paced, DEFENCE, 2.0)
    assert errors.tolist() == pytest.approx([0, 1, 1, 0.05])
    with pytest.raises(TrafficError, match="no limit"):
        limit_errors(np.zeros(4, np.uint64), paced, Defence(), 2.0)


@pytest.mark.parametrize("features", [(), ("limits",), ("flows", "events"), FEATURES])
def test_a_policy_has_the_features_that_are_on_and_no_other(features: tuple[str, ...]) -> None:
    """In the policy's own words; what has a default is switched off by name."""
    chosen = DEFENCE.only(features)  # type: ignore[arg-type]
    assert chosen.features == features
    policy = yaml.safe_load(chosen.policy())
    assert policy["events"] == {"per_second": 100 if "events" in features else 0}
    assert ("limits" in policy) == ("limits" in features)
    assert policy.get("flows") == ({"mode": "strict", "adopt": "0s"} if "flows" in features else None)
    if "limits" in features:
        assert policy["limits"][1] == {
            "name": "p", "key": "source-prefix", "match": "tcp-syn",
            "packets_per_second": 3, "burst": 5, "prefix4": 24,
        }  # fmt: skip


def test_buckets_are_full_again_after_the_slowest_that_counts() -> None:
    """A limit of SYNs keeps no UDP source waiting."""
    assert DEFENCE.refill_seconds("udp") == 2.0
    slow = Defence(limits=(PER_SOURCE, PER_PREFIX.model_copy(update={"packets_per_second": 1})))
    assert slow.refill_seconds("tcp-syn") == 5.0
    assert slow.limit("source-prefix", "udp") is None
    assert Defence().refill_seconds("udp") == 0.0
