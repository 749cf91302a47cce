# SPDX-License-Identifier: Apache-2.0
import os
import platform

import pytest

from bench.traffic.pacing import ahead_of_others


@pytest.mark.root
@pytest.mark.parametrize(
    ("release", "policy"),
    [
        ("6.5.0", os.SCHED_FIFO),
        ("6.12-rc1", os.SCHED_FIFO),
        ("7.0.1-1-cloud-amd64", os.SCHED_FIFO),
        ("6.1.0-28-amd64", os.SCHED_OTHER),
        ("5.15.0", os.SCHED_OTHER),
    ],
)
def test_a_paced_run_comes_before_ordinary_programs(
    monkeypatch: pytest.MonkeyPatch, release: str, policy: int
) -> None:
    """For as long as it lasts, on kernels where that starves no packets."""
    monkeypatch.setattr(platform, "release", lambda: release)
    before = os.sched_getscheduler(0)
    with ahead_of_others():
        assert os.sched_getscheduler(0) == policy
    assert os.sched_getscheduler(0) == before == os.SCHED_OTHER
