# SPDX-License-Identifier: Apache-2.0
import os
import time

from bench.measure import cpu
from bench.measure.cpu import CpuTimes


def test_a_busy_loop_shows_on_its_cpu() -> None:
    """A process pinned to one CPU makes that one busy for as long as it computes."""
    allowed = os.sched_getaffinity(0)
    number = max(allowed)
    os.sched_setaffinity(0, {number})
    try:
        with cpu.window() as seen:
            spent = time.thread_time() + 0.4
            while time.thread_time() < spent:
                pass
    finally:
        os.sched_setaffinity(0, allowed)
    assert seen.seconds >= 0.4
    assert seen.cpus[number].busy >= 0.3
    assert seen.cpus[number].total <= seen.seconds + 0.2


def test_sums_and_shares() -> None:
    """Busy excludes idle, waiting and stolen time; the total includes them."""
    times = CpuTimes(user=1, nice=2, system=3, idle=4, iowait=5, irq=6, softirq=7, steal=8)
    assert times.busy == 19
    assert times.total == 36
    assert (times + times).softirq == 14
    assert (times - times).total == 0


def test_a_counter_that_went_back_is_not_negative() -> None:
    """The kernel's idle and iowait times are known to do that."""
    assert (CpuTimes(*[1.0] * 8) - CpuTimes(*[2.0] * 8)).total == 0


def test_steal_is_a_share() -> None:
    """Between nothing and everything."""
    assert 0 <= cpu.machine_steal(0.05) <= 1


def test_softirq_work_of_a_cpu_only_grows() -> None:
    """Every CPU that may be used has a thread for it; no CPU has the number of one."""
    number = max(os.sched_getaffinity(0))
    before = cpu.softirq_thread_seconds(number)
    assert 0 < before <= cpu.softirq_thread_seconds(number)
    assert cpu.softirq_thread_seconds(100_000) == 0
