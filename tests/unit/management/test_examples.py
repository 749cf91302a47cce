# SPDX-License-Identifier: Apache-2.0
"""The example policies, and what POLICY.md says about them and about the fields.

Run as a program, this file writes the generated parts of POLICY.md anew.
"""

import ipaddress
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from neurowall.logic.reachability import markdown, matrix
from neurowall.model.draft import NAT_PARTS, PARTS
from neurowall.model.errors import PolicyError
from neurowall.model.fielddocs import FIELDS
from neurowall.model.parts import Bans, Capacity, Events, Fallback, Flows, FlowTimeouts
from neurowall.model.policy import Policy, load_policy
from neurowall.model.policyschema import schema
from neurowall.model.policywarnings import warnings_of
from neurowall.model.rules import ConnectionLimit, Defaults, Log, Nat, Rate
from neurowall.model.yamltext import read_yaml

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "neurowall/management/examples").glob("*.yaml"))
REFERENCE = ROOT / "POLICY.md"

DOCUMENTATION = [
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "198.18.0.0/15",
    "2001:db8::/32",
    "2001:2::/48",
]
MODELS: list[type[BaseModel]] = [
    *(Policy, Nat, Rate, ConnectionLimit, Log, Defaults, Capacity, Bans, Fallback, Events),
    *(Flows, FlowTimeouts),
    *PARTS.values(),
    *NAT_PARTS.values(),
]
BLOCK = re.compile(r"(<!-- (\w+): ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
FENCE = re.compile(r"```(yaml|yaml refused|text)\n(.*?)```\n", re.DOTALL)
INTERFACES = """\
interfaces:
  - {name: wan0, zone: external}
  - {name: lan0, zone: internal}
"""


def load(path: Path) -> Policy:
    """The policy of an example."""
    return load_policy(path.read_bytes(), path.name)


def _within(address: str, prefix: str) -> bool:
    """Whether all of an address or prefix is in a prefix."""
    inner, outer = ipaddress.ip_interface(address).network, ipaddress.ip_network(prefix)
    ends = (inner.network_address, inner.broadcast_address)
    return inner.version == outer.version and all(end in outer for end in ends)


def keys_in(value: Any) -> Iterator[str]:
    """Every key, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_in(inner)


def generated(text: str) -> str:
    """POLICY.md with its generated parts as they are now."""
    return BLOCK.sub(lambda found: found[1] + _part(found[2], found[3]) + found[4], text)


def _part(kind: str, name: str) -> str:
    if kind == "fields":
        return _fields(next(model for model in MODELS if model.__name__ == name))
    path = next(path for path in EXAMPLES if path.stem == name)
    return markdown(matrix(load(path)))


@cache
def _schema() -> dict[str, Any]:
    return schema()


def _fields(model: type[BaseModel]) -> str:
    lines = ["| Field | Default | |", "|---|---|---|"]
    about = _schema()
    part = about["$defs"].get(model.__name__, about)
    for field, text in FIELDS[model.__name__].items():
        default = part["properties"][field].get("default")
        shown = f"`{json.dumps(default)}`" if default not in (None, [], {}) else ""
        if isinstance(default, dict):
            shown = ""
        if field in part.get("required", ()):
            shown = "required"
        lines.append(f"| `{field}` | {shown} | {text} |")
    return "\n".join(lines) + "\n"


def test_the_four_are_there() -> None:
    """Home, office, hosting edge and single server."""
    assert [path.stem for path in EXAMPLES] == ["home", "hosting-edge", "office-dmz", "single-server"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_is_valid_and_meant_so(path: Path) -> None:
    """No problem, no warning, and the schema takes it too."""
    assert warnings_of(load(path)) == ()
    jsonschema.Draft202012Validator(schema()).validate(read_yaml(path.read_bytes(), path.name).data)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_needs_nothing_else(path: Path) -> None:
    """Lists are inline, addresses are those of documentation, both families are there."""
    policy = load(path)
    assert all(spec.file is None for spec in policy.lists)
    text = path.read_text(encoding="utf-8")
    addresses = re.findall(r"(?<![\w.:])(?:\d+(?:\.\d+){3}|[0-9a-f]+:[0-9a-f:]+)(?:/\d+)?(?![\w.])", text)
    assert len(addresses) > 5
    for address in addresses:
        assert any(_within(address, prefix) for prefix in DOCUMENTATION), address
    assert {":" in entry for spec in policy.lists for entry in spec.entries} == {False, True}


def test_together_they_use_every_field_of_rules_and_nat() -> None:
    """What no example shows, nobody finds."""
    used = {key for path in EXAMPLES for key in keys_in(read_yaml(path.read_bytes(), path.name).data)}
    parts = [*PARTS, *NAT_PARTS, "Rate", "ConnectionLimit", "Log", "Defaults", "Nat"]
    names = {model.__name__ for model in (PARTS | NAT_PARTS).values()} | set(parts)
    wanted = {field for name in names & FIELDS.keys() for field in FIELDS[name]}
    # Lists are inline, `auto` is what is meant, spoofing is checked by default.
    assert wanted - used == {"file", "xdp", "spoofing", "bogons"}


@pytest.mark.parametrize("kind", ["action", "protocol", "state"])
def test_together_they_use_most_words(kind: str) -> None:
    """Each action; most protocols and states."""
    rules = [rule for path in EXAMPLES for rule in load(path).rules or ()]
    given = [getattr(rule, kind) for rule in rules]
    used = {word for value in given for word in ((value,) if isinstance(value, str) else value)}
    wanted = {
        "action": {"accept", "drop", "reject"},
        "protocol": {"tcp", "udp", "sctp", "icmp", "icmpv6", "gre", "esp", "ah"},
        "state": {"new", "invalid", "untracked"},
    }
    assert used == wanted[kind]


def test_the_reference_is_up_to_date() -> None:
    """POLICY.md's tables are what the code says; running this file writes them."""
    text = REFERENCE.read_text(encoding="utf-8")
    assert generated(text) == text
    shown = [(found[2], found[3]) for found in BLOCK.finditer(text)]
    assert [name for kind, name in shown if kind == "reach"] == [
        "home",
        "office-dmz",
        "hosting-edge",
        "single-server",
    ]
    assert {name for kind, name in shown if kind == "fields"} == FIELDS.keys()


def test_a_stale_table_is_found() -> None:
    """The comparison can fail: another word in a generated part is put right."""
    text = REFERENCE.read_text(encoding="utf-8")
    stale = text.replace("| **external** | nothing |", "| **external** | everything |")
    assert stale != text
    assert generated(stale) == text


def test_every_piece_of_policy_in_the_reference_is_valid() -> None:
    """What can be copied from POLICY.md works, and what it says to be refused is, in these words."""
    blocks = FENCE.findall(REFERENCE.read_text(encoding="utf-8"))
    refused = 0
    for position, (kind, text) in enumerate(blocks):
        whole = text if "interfaces:" in text else INTERFACES + text
        if kind == "yaml":
            load_policy(whole, "policy.yaml")
        elif kind == "yaml refused":
            refused += 1
            with pytest.raises(PolicyError) as caught:
                load_policy(text, "policy.yaml")
            assert "\n".join(caught.value.lines) + "\n" == blocks[position + 1][1]
    assert refused == 1
    assert len(blocks) == 10


if __name__ == "__main__":
    REFERENCE.write_text(generated(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
