# SPDX-License-Identifier: Apache-2.0
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from neurowall.model import yamltext
from neurowall.model.errors import PolicyError
from neurowall.model.yamlplain import plain_mapping
from neurowall.model.yamltext import read_yaml

EXAMPLES = Path(__file__).parents[3] / "neurowall/management/examples"
TEXT = """\
a: 1
b:
  - x
  - {c: "2", d: -3.5, e: [true, ~, off]}
f: |
  two
  lines
"""


def outcome(text: str) -> tuple[Any, ...] | list[str]:
    """What is read and where it stands, or what is said."""
    try:
        document = read_yaml(text, "policy.yaml")
    except PolicyError as error:
        return list(error.lines)
    return document.data, *document.places


def test_reads_values_and_their_lines() -> None:
    """Plain text is typed by YAML 1.2's rules, quoted text never is; each value knows its line."""
    document = read_yaml(TEXT, "policy.yaml")
    assert document.data == {
        "a": 1,
        "b": ["x", {"c": "2", "d": -3.5, "e": [True, None, "off"]}],
        "f": "two\nlines\n",
    }
    assert document.line(("b", 1, "e", 2)) == 4
    assert document.line(("f",), key=True) == 5
    assert document.line(("b", 1, "missing")) == 4


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "y", "n", "True", "NULL", "0x1f", "0o17", "1:30", "1e3"]
)
def test_other_dialects_are_text(text: str) -> None:
    """What only some YAML readers take for a switch or a number stays what was written."""
    assert read_yaml(f"a: {text}\n", "policy.yaml").data == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"), [("1_000", 1000), ("+5", 5), ("-0", 0), ("2.", 2.0), ("1.5e3", 1500.0)]
)
def test_numbers(text: str, value: float) -> None:
    """Whole numbers and fractions."""
    assert read_yaml(f"a: {text}\n", "policy.yaml").data == {"a": value}


def test_depth_is_bounded() -> None:
    """A document of thousands of levels is refused, not recursed into."""
    for text in ("a: " + "[" * 5000 + "]" * 5000, "a: " + "{b: " * 5000 + "1" + "}" * 5000):
        assert outcome(text) == ["policy.yaml: nested too deeply to be a policy"]


def mutations(generator: random.Random) -> list[str]:
    """Texts that are almost YAML of ours."""
    case = (Path(__file__).parent / "bad_policies/rules.txt").read_text(encoding="utf-8").split("=== ")[5]
    base = (TEXT.partition("f:")[0], case.partition("\n")[2].partition("--- expected")[0])
    texts = [TEXT]
    for _ in range(600):
        text = list(generator.choice(base))
        for _ in range(generator.randrange(1, 4)):
            at = generator.randrange(len(text))
            text[at : at + generator.randrange(3)] = generator.choice(
                "[]{}:,-#&*!'\"%@` \n\t0a_.\0\ud800\x85"
            )
        texts.append("".join(text))
    return texts


def test_all_readers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """With libyaml and without it, quickly or with lines: the same is read, and the same is said."""
    assert hasattr(yaml, "CSafeLoader"), "libyaml is missing: nothing to compare"
    texts = mutations(random.Random(7))
    quick = [plain_mapping(text) for text in texts]
    fast = [outcome(text) for text in texts]
    monkeypatch.setattr(yamltext, "plain_mapping", lambda _: None)
    with_lines = [outcome(text) for text in texts]
    monkeypatch.setattr(yamltext, "fast_loader", lambda _: None)
    slow = [outcome(text) for text in texts]
    assert fast == with_lines == slow
    for text, plain, one in zip(texts, quick, slow, strict=True):
        assert plain is None or plain == one[0], text
    read = [isinstance(one, tuple) for one in slow]
    assert min(sum(read), len(read) - sum(read), sum(plain is not None for plain in quick)) > 50


def test_the_quick_reader_reads_what_people_write() -> None:
    """Addresses, ranges and numbers do not send a large policy to the slow reader."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        assert plain_mapping(path.read_text()) is not None, path.name
    assert plain_mapping("a: [1_000, 1.5, 80-90, 192.0.2.0/24, 2001:db8::1, -3, ~, no]") == {
        "a": [1000, 1.5, "80-90", "192.0.2.0/24", "2001:db8::1", -3, None, "no"]
    }
