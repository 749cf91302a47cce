# SPDX-License-Identifier: Apache-2.0
"""Malformed policies, each with every message that it must bring.

A file of bad_policies/ holds cases: `=== name`, the policy, `--- expected`, and the messages without the name
of the file, in order.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError

from neurowall.model.errors import PolicyError
from neurowall.model.policy import Policy, load_policy
from neurowall.model.yamltext import read_yaml

FOLDER = Path(__file__).parent / "bad_policies"
FIELD = re.compile(r"\d+: [a-z_0-9-]+([.\[]\S*)?: .")


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    expected: tuple[str, ...]


def cases_of(path: Path) -> list[Case]:
    """The cases of one file."""
    found = []
    for block in path.read_text(encoding="utf-8").split("=== ")[1:]:
        name, _, rest = block.partition("\n")
        text, _, expected = rest.partition("--- expected\n")
        found.append(Case(name, text, tuple(expected.splitlines())))
    return found


CASES = [case for path in sorted(FOLDER.glob("*.txt")) for case in cases_of(path)]


def messages(text: str) -> list[str]:
    """What is said about a policy that is refused."""
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "policy.yaml")
    return [line.removeprefix("policy.yaml:") for line in caught.value.lines]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_says_all_that_is_wrong(case: Case) -> None:
    """Every problem has line, field, what is wrong and the fix; nothing else is said."""
    assert messages(case.text) == list(case.expected)


def test_the_corpus_is_large_and_has_no_double() -> None:
    """At least 200 different policies under as many names, none without an expected message."""
    assert len({case.name for case in CASES}) == len({case.text for case in CASES}) == len(CASES) >= 200
    assert all(case.expected for case in CASES)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name not in {c.name for c in cases_of(FOLDER / "syntax.txt")}],
    ids=lambda case: case.name,
)
def test_names_line_and_field(case: Case) -> None:
    """Where the text is YAML, each message begins with its line and field."""
    assert all(FIELD.match(line) for line in case.expected)


def test_each_case_is_one_change_away_from_a_policy() -> None:
    """What the cases have in common is a valid policy: it is not that which is refused."""
    head = [case.text.splitlines() for case in cases_of(FOLDER / "rules.txt")]
    common = [lines[0] for lines in zip(*head, strict=False) if len(set(lines)) == 1]
    assert load_policy("\n".join(common[:6]), "policy.yaml").interfaces_of("dmz")


@pytest.mark.parametrize("name", ["rules", "nat"])
def test_what_does_not_fit_together_cannot_be_built_in_code_either(name: str) -> None:
    """The same values are refused without a file, and the message names the field."""
    for case in cases_of(FOLDER / f"{name}.txt"):
        with pytest.raises(ValidationError):
            Policy.model_validate(read_yaml(case.text, "policy.yaml").data)


def goes_on(case: Case) -> bool:
    """Whether another key can be written below: the text is YAML, a mapping in block style."""
    try:
        read_yaml(case.text, "policy.yaml")
    except PolicyError:
        return False
    return case.text.startswith("interfaces:\n")


@pytest.mark.parametrize("case", [case for case in CASES if goes_on(case)], ids=lambda case: case.name)
def test_a_second_problem_hides_nothing(case: Case) -> None:
    """Another mistake further down is reported as well, after all that was said before."""
    more = case.text + "zzz: 1\n"
    found = messages(more)
    last = more.count("\n")
    assert found[-1].startswith(f"{last}: zzz: unknown key")
    # Known only where everything else is right: whether anything is forwarded.
    assert found[:-1] == [line for line in case.expected if ": flowtable: nothing" not in line]
