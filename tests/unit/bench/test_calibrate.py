# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest

from bench import calibrate
from bench.calibrate import Calibration, Settings
from bench.lists import Counts, generate

ENVIRONMENT = {"machine": "m1", "kernel": {"release": "6.1"}}
RULES = generate(Counts(500, 0, 0, 0), 1)


def measured(lab: Any, *systems: str, blocks: int = 6, told: Any = None) -> Calibration:
    """Calibrate in the simulated lab."""
    settings = Settings(systems, 1, blocks=blocks, trial_seconds=0.1)
    tell = [].append if told is None else told.append
    return calibrate.calibrate(lab, ENVIRONMENT, RULES, settings, tell)


def test_every_system_is_one_against_itself(lab: Any) -> None:
    """Whatever drifts between blocks; each arm has a gateway of its own, and all are closed."""
    found = measured(lab, "none", "neurowall", "nft-set")
    assert list(found.systems) == ["none", "neurowall", "nft-set"]
    for noise in found.systems.values():
        assert noise.ratio.value == pytest.approx(1, abs=0.03)
        assert noise.ratio.n == 24
        assert 0 < noise.noise_floor < 0.05
    assert len(lab.opened) == len(set(lab.opened)) == 3 * 2 * 6
    assert sorted(lab.closed) == sorted(lab.opened)
    assert (found.machine, found.environment["testbed"]) == ("m1", "simulated")


def test_a_noisier_machine_needs_more_blocks(lab: Any) -> None:
    """And a small difference more than a large one."""
    quiet = measured(lab, "neurowall").systems["neurowall"]
    lab.noise = 0.1
    noisy = measured(lab, "neurowall").systems["neurowall"]
    assert noisy.noise_floor > 3 * quiet.noise_floor
    assert quiet.blocks_for["5%"] is not None
    assert noisy.blocks_for["5%"] is not None
    assert quiet.blocks_for["5%"] < noisy.blocks_for["5%"]
    assert noisy.blocks_for["5%"] < (noisy.blocks_for["2%"] or 1000)


def test_a_system_that_fails_is_refused_with_the_reason_and_the_others_go_on(lab: Any) -> None:
    """Not configured, or not effective: it has no noise, and its gateways are closed all the same."""
    lab.refuse.add("nft-set")
    lab.leak.add("ipset")
    told: list[Any] = []
    found = measured(lab, "nft-set", "ipset", "neurowall", blocks=2, told=told)
    assert list(found.systems) == ["neurowall"]
    assert "syntax error" in found.refused["nft-set"]
    assert "got through" in found.refused["ipset"]
    assert sorted(lab.closed) == sorted(lab.opened)
    assert [(event.done, event.total) for event in told] == [(n, 6) for n in range(1, 7)]


def test_what_was_saved_is_read_again(lab: Any, tmp_path: Path) -> None:
    """One file; something else in its place is an error."""
    found = measured(lab, "neurowall", blocks=2)
    path = calibrate.save(found, tmp_path)
    assert path == tmp_path / "calibration.json"
    assert calibrate.load(path) == found
    path.write_text('{"schema": "other"}')
    with pytest.raises(ValueError, match="calibration"):
        calibrate.load(path)
