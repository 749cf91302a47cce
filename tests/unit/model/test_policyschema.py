# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema against jsonschema, which shares no code with what reads policies."""

from typing import Any

import jsonschema
import pytest

from neurowall.model import fielddocs
from neurowall.model.policyschema import schema
from neurowall.model.yamltext import read_yaml
from tests.unit.model.test_bad_policies import FOLDER, cases_of

INTERFACES = [{"name": "wan0", "zone": "external"}]
RULE = {"name": "web", "from": "external", "to": ["gateway"], "action": "accept"}


def accepts(policy: dict[str, Any]) -> bool:
    """Whether the schema takes a policy."""
    return bool(jsonschema.Draft202012Validator(schema()).is_valid(policy))


def test_is_a_schema() -> None:
    """It keeps the rules of its dialect."""
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"rules": None},
        {"rules": [RULE]},
        {"rules": [RULE | {"ports": 80, "protocol": "tcp"}]},
        {"rules": [RULE | {"ports": [80, "8000-8010"], "protocol": ["tcp", "udp"]}]},
        {"rules": [RULE | {"log": True}, RULE | {"log": {"prefix": "x"}}]},
        {"forwarding": "ipv4"},
        {"nat": {"masquerade": [{"from": "internal", "to": "external", "families": ["ipv4", "ipv6"]}]}},
    ],
)
def test_takes_what_a_policy_may_hold(policy: dict[str, Any]) -> None:
    """Single values where lists are wanted, ranges, switches and settings."""
    assert accepts({"interfaces": INTERFACES} | policy)


@pytest.mark.parametrize(
    "policy",
    [
        {"interface": INTERFACES},
        {"interfaces": INTERFACES, "engine": "fast"},
        {"interfaces": INTERFACES, "rules": [RULE | {"from_": "any"}]},
        {"interfaces": INTERFACES, "rules": [RULE | {"action": "allow"}]},
        {"interfaces": INTERFACES, "rules": [RULE | {"log": 3}]},
        {"interfaces": INTERFACES, "rules": [RULE | {"from": []}]},
        {"interfaces": INTERFACES, "capacity": {"hosts4": 0}},
    ],
)
def test_refuses_what_no_policy_holds(policy: dict[str, Any]) -> None:
    """Unknown keys, other words, other types, empty lists of zones."""
    assert not accepts(policy)


def test_refuses_much_of_the_corpus() -> None:
    """Unknown keys, missing keys and words that are not known are refused by the schema alone."""
    kinds = ("unknown key", "required, but missing", "expected 'accept'", "expected true or false", "or more")
    tried = 0
    for path in sorted(FOLDER.glob("*.txt")):
        for case in cases_of(path):
            if any(kind in case.expected[0] for kind in kinds):
                tried += 1
                assert not accepts(read_yaml(case.text, "policy.yaml").data), case.name
    assert tried >= 50


def test_every_field_is_described() -> None:
    """The words of fielddocs are those of the models: none is missing, none is left over."""
    text = schema()
    parts = {"Policy": text} | text["$defs"]
    assert {name: set(part["properties"]) for name, part in parts.items()} == {
        name: set(fields) for name, fields in fielddocs.FIELDS.items()
    }
    assert parts.keys() == fielddocs.PARTS.keys()
    assert text["properties"]["interfaces"]["description"] == fielddocs.FIELDS["Policy"]["interfaces"]
