# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from neurowall.model.reasons import Reason, Verdict

HEADER = Path(__file__).parents[3] / "bpf" / "neurowall.h"


def enumerators(name: str) -> list[tuple[str, str]]:
    """Names, without prefix, and comments of an enum of the header, in order, without the sentinel."""
    body = re.search(rf"enum nw_{name} {{(.*?)\n}};", HEADER.read_text(), re.DOTALL)
    assert body
    found = re.findall(rf"NW_{name.upper()}_(\w+)(?: = \d+)?,(?: /\* (.*?) \*/)?", body[1])
    assert found[-1][0] == "MAX"
    return found[:-1]


def test_reasons_are_those_of_the_header() -> None:
    """Names and values of enum nw_reason and Reason agree."""
    assert [name for name, _ in enumerators("reason")] == [reason.name for reason in Reason]
    assert [reason.value for reason in Reason] == list(range(len(Reason)))


def test_verdicts_are_those_of_the_header() -> None:
    """Names and values of enum nw_verdict and Verdict agree."""
    assert [name for name, _ in enumerators("verdict")] == [verdict.name for verdict in Verdict]
    assert [verdict.value for verdict in Verdict] == list(range(len(Verdict)))


def test_each_reason_has_the_verdict_that_the_header_states() -> None:
    """The comment of each reason begins with its verdict."""
    stated = {name: comment.partition(":")[0] for name, comment in enumerators("reason")}
    assert stated == {reason.name: reason.verdict.label for reason in Reason}


def test_labels_are_metric_words() -> None:
    """Labels are lower case with dashes."""
    assert Reason.BLOCK_LIST.label == "block-list"
    assert Verdict.DROP.label == "drop"
