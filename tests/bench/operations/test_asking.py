# SPDX-License-Identifier: Apache-2.0
"""A real daemon asked over TLS by somebody elsewhere: bans, reads, scrapes, and what it weighs meanwhile."""

from collections.abc import Callable

import pytest

from bench.result import Result

pytestmark = [pytest.mark.root, pytest.mark.tool("nft", "openssl")]


def test_bans_reads_and_scrapes_over_tls(run_scenario: Callable[..., Result]) -> None:
    """Every figure is there, judged, and of as many samples as the profile says."""
    found = run_scenario(
        systems=["neurowall"],
        points={
            "https": {"hosts4": 3000},
            "flood": {"hosts4": 3000},
            "idle": {"hosts4": 3000},
            "many": {"hosts4": 3000, "rules": 60},
        },
        tasks=[
            {"operation": "ban", "points": ["https"], "https": True},
            {"operation": "footprint", "points": ["https"], "served": True},
            {"operation": "read", "points": ["flood"], "base": "idle"},
            {"operation": "scrape", "points": ["many"]},
        ],
        bars=[
            {"figure": "N6", "metric": "neurowall/effective_p50_ms@https", "at_most": 2000},
            {"figure": "N15", "metric": "neurowall/read_p50_ms@flood", "at_most": 2000},
            {"figure": "N15", "metric": "neurowall/scrape_p50_ms@many", "at_most": 2000},
        ],
        profile={"blocks": 2, "bans": 4, "scrapes": 6, "rounds": 1, "trial_seconds": 0.5},
    )
    assert found.void == []
    assert found.verdict == "pass"
    counted = {key.removeprefix("neurowall/"): metric.n for key, metric in found.metrics.items()}
    assert counted["effective_ms@https"] == 4
    assert counted["scrape_ms@many"] == 6
    assert counted["read_ms@flood"] >= 2
    assert counted["read_ms@idle"] >= 2
    values = {key.removeprefix("neurowall/"): metric.value for key, metric in found.metrics.items()}
    assert values["drop_mpps@flood"] > 0.01
    assert values["daemon_pss_mib@https"] > 20
