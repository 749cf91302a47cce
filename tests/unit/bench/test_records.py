# SPDX-License-Identifier: Apache-2.0
import io
from typing import Any

import pytest

from bench.evaluate import evaluate
from bench.records import Core, Gate, Ledger, Measured, Trial, Writer, parse
from bench.scenario import JUDGED, OF_CLASSES, Scenario


def test_records_read_back_are_judged_the_same(measure: Any, scenario: Scenario) -> None:
    """The raw file is all that a judgement needs."""
    records = measure()
    file = io.StringIO()
    writer = Writer(file)
    for record in records:
        writer.write(record)
    restored = list(parse(file.getvalue().splitlines(), "raw.jsonl"))
    assert restored == records
    assert evaluate(scenario, restored, seed=1, skipped={}) == evaluate(scenario, records, seed=1, skipped={})


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"record": "cake"}', '{"record": "trial"}', "not json"])
def test_a_line_that_is_no_record_is_named(line: str) -> None:
    """By its number."""
    good = '{"record":"difference","block":0,"system":"ipset","what":"tso"}'
    with pytest.raises(ValueError, match=r"raw\.jsonl:2: not a record"):
        list(parse([good, line], "raw.jsonl"))


def test_a_ledger_says_what_nobody_accounts_for() -> None:
    """Negative when more was counted than sent."""
    assert Ledger(100, 60, 30, {"g0": 4, "s0": 1}).residual == 5
    assert Ledger(100, 60, 50).residual == -10


def test_a_rate_is_counted_by_who_should_know() -> None:
    """Drops by the system itself, deliveries by the receiver; never sent less the other."""
    measured = Measured(2.0, Ledger(9_000_000, 4_000_000, 3_000_000), Core(2.0, 2.0))
    assert measured.rate("drop_mpps") == 1.5
    assert measured.rate("forward_mpps") == 2.0


def test_a_trial_says_what_it_measured_and_nothing_else() -> None:
    """Every metric that is judged trial by trial, also after the file; None for what was not measured."""
    measured = Measured(
        2.0, Ledger(8_000_000, 4_000_000, 3_000_000), Core(2.0, 2.0), 5, 123.0, None, {"p99": 7.5}
    )
    file = io.StringIO()
    Writer(file).write(Trial(0, 1, 2, "ipset", "hosts-500", "measured", measured=measured))
    (trial,) = parse(file.getvalue().splitlines(), "x")
    assert isinstance(trial, Trial)
    assert trial.measured == measured
    found = {metric: measured.value(metric) for metric in JUDGED}
    assert found == {
        "drop_mpps": 1.5,
        "forward_mpps": 2.0,
        "cpu_ns_per_packet": 123.0,
        "latency_p99_us": 7.5,
        **dict.fromkeys(OF_CLASSES),
    }
    assert Measured(2.0, measured.ledger, measured.core).value("latency_p99_us") is None


def test_a_trial_keeps_its_gates(measure: Any) -> None:
    """Also in the file."""
    gate = Gate("filter", False, 256, 1, 256, 256, "leaks")
    trial = Trial(0, 1, 2, "ipset", "hosts-500", "measured", before=gate)
    file = io.StringIO()
    Writer(file).write(trial)
    assert list(parse(file.getvalue().splitlines(), "x")) == [trial]
