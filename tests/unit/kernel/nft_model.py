# SPDX-License-Identifier: Apache-2.0
"""nf_tables as these tests need it: commands of one transaction carried out one by one, on plain values.

Refuses what the kernel refuses: a name that is not there, and taking away what something still names.
"""

import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

from neurowall.model.ruleset import Chain, Hook, Ruleset, Set, text_of


class Refused(Exception):
    """What the kernel would say no to."""


@dataclass
class Table:
    """One table. chains: hook and rules; sets: words of the kind, and elements by key; counters: counts."""

    exists: bool = False
    chains: dict[str, tuple[Any, list[str]]] = field(default_factory=dict)
    sets: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    flowtable: tuple[str, ...] = ()
    made: int = 0

    def run(self, commands: list[dict[str, Any]]) -> None:
        """Carry the commands out; Refused at the first that cannot be."""
        for command in commands:
            ((verb, what),) = command.items()
            ((noun, details),) = what.items()
            assert details["family"] == "inet"
            assert details.get("table", details.get("name")) == "neurowall"
            getattr(self, f"_{verb}_{noun}")(details)

    def contents(self) -> Any:
        """What there is, to be compared."""
        rules = {name: (hook, tuple(rules)) for name, (hook, rules) in self.chains.items()}
        sets = {name: (kind, frozenset(elements.values())) for name, (kind, elements) in self.sets.items()}
        return self.exists, rules, sets, frozenset(self.counters), self.flowtable

    def _add_table(self, _: Any) -> None:
        self.exists = True

    def _delete_table(self, _: Any) -> None:
        self._need(self.exists, "table")
        self.exists, self.chains, self.sets, self.counters, self.flowtable = False, {}, {}, {}, ()
        self.made += 1

    def _add_counter(self, details: Any) -> None:
        self._need(self.exists, "table")
        self.counters.setdefault(details["name"], details.get("packets", 0))

    def _delete_counter(self, details: Any) -> None:
        self._need(details["name"] in self.counters, details["name"])
        self._unused(text_of({"counter": details["name"]}))
        del self.counters[details["name"]]

    def _add_flowtable(self, details: Any) -> None:
        self.flowtable = tuple(details["dev"])

    def _add_chain(self, details: Any) -> None:
        self._need(self.exists, "table")
        hook = {key: details[key] for key in ("type", "hook", "prio", "policy") if key in details}
        old, rules = self.chains.get(details["name"], (hook, []))
        self._need({**old, "policy": ""} == {**hook, "policy": ""}, "the same hook")
        self.chains[details["name"]] = hook, rules

    def _flush_chain(self, details: Any) -> None:
        self.chains[details["name"]][1].clear()

    def _delete_chain(self, details: Any) -> None:
        self._need(details["name"] in self.chains, details["name"])
        self._unused(text_of({"target": details["name"]}))
        del self.chains[details["name"]]

    def _add_set(self, details: Any) -> None:
        self._need(details["name"] not in self.sets, f"no {details['name']} yet")
        self.sets[details["name"]] = text_of({**details, "name": ""}), {}

    def _delete_set(self, details: Any) -> None:
        self._need(details["name"] in self.sets, details["name"])
        self._unused(f'"@{details["name"]}"')
        del self.sets[details["name"]]

    _add_map, _delete_map = _add_set, _delete_set

    def _add_element(self, details: Any) -> None:
        elements = self.sets[details["name"]][1]
        is_map = '"map"' in self.sets[details["name"]][0]
        assert len(details["elem"]) <= 5_000
        for element in details["elem"]:
            self._targets(text_of(element))
            key = _key(element[0] if is_map else element)
            self._need(key not in elements, f"no {key} yet")
            elements[key] = text_of(element)

    def _delete_element(self, details: Any) -> None:
        elements = self.sets[details["name"]][1]
        for element in details["elem"]:
            self._need('"timeout"' not in text_of(element), "a key only")
            self._need(text_of(element) in elements, text_of(element))
            del elements[text_of(element)]

    def _add_rule(self, details: Any) -> None:
        text = text_of(details["expr"])
        self._targets(text)
        for name in re.findall(r'"@([^"]+)"', text):
            self._need(name in self.sets or (name == "offload" and self.flowtable), f"set {name}")
        for name in re.findall(r'"counter":"([^"]+)"', text):
            self._need(name in self.counters, f"counter {name}")
        self.chains[details["chain"]][1].append(text)

    def _targets(self, text: str) -> None:
        for name in re.findall(r'"target":"([^"]+)"', text):
            self._need(name in self.chains, f"chain {name}")

    def _unused(self, text: str) -> None:
        """Nothing holds on to what these words name."""
        rules = [rule for _, rules in self.chains.values() for rule in rules]
        elements = [each for _, elements in self.sets.values() for each in elements.values()]
        self._need(not any(text.strip("{}") in each for each in [*rules, *elements]), f"unused {text}")

    def _need(self, fact: object, what: str) -> None:
        if not fact:
            raise Refused(what)


def _key(element: Any) -> str:
    inner = element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element
    return text_of(inner)


def random_ruleset(seed: int) -> Ruleset:
    """A ruleset of every kind of thing, that the kernel takes; two of them share much."""
    dice = random.Random(seed)
    if dice.random() < 0.05:
        return Ruleset()
    counters = [f"rule-{number}" for number in range(6) if dice.random() < 0.7]
    leaves = [Chain(f"leaf-{n}", tuple(_rules(dice, counters))) for n in range(5) if dice.random() < 0.7]
    sets = [made for make in _SETS if dice.random() < 0.8 for made in [make(dice, leaves)]]
    rules = [rule for each in sets for rule in _uses(each)]
    rules += [text_of([{"jump": {"target": leaf.name}}]) for leaf in leaves if dice.random() < 0.5]
    dice.shuffle(rules)
    forward = Chain(
        "forward", tuple(rules), Hook("filter", "forward", 0, dice.choice(["accept", "accept", "drop"]))
    )
    late = [Chain("late", (), Hook("filter", "forward", dice.choice([5, 5, 5, 10]), "accept"))]
    return Ruleset(tuple(counters), tuple(sets), (*leaves, forward, *(late if dice.random() < 0.3 else ())))


def _rules(dice: random.Random, counters: list[str]) -> list[str]:
    ports = {
        "match": {
            "op": "==",
            "left": {"payload": {"protocol": "tcp", "field": "dport"}},
            "right": {"set": [22, 80, 443]},
        }
    }
    return [
        text_of([ports, {"counter": dice.choice(counters)}, {"accept": None}])
        for _ in range(dice.randrange(3))
        if counters
    ]


def _address(dice: random.Random) -> str:
    return f"192.0.2.{dice.randrange(30)}"


def _hosts(dice: random.Random, _: list[Chain]) -> Set:
    return Set("hosts", ("ipv4_addr",), frozenset(text_of(_address(dice)) for _ in range(20)))


def _ranges(dice: random.Random, _: list[Chain]) -> Set:
    # Ranges lie at the same places with varying ends, so that an old and a new one often overlap.
    some = frozenset(
        text_of({"range": [f"198.51.{place}.1", f"198.51.{place}.{dice.choice([9, 99])}"]})
        for place in range(40)
        if dice.random() < 0.9
    )
    many = frozenset(element for element in some if dice.random() < 0.9)
    return Set("ranges", ("ipv4_addr",), some if dice.random() < 0.5 else many, interval=True)


def _timed(dice: random.Random, _: list[Chain]) -> Set:
    elements = frozenset(
        text_of({"elem": {"val": f"203.0.113.{n}", "timeout": dice.choice([600, 900])}})
        if n % 2
        else text_of(f"203.0.113.{n}")
        for n in range(12)
        if dice.random() < 0.8
    )
    return Set("timed", ("ipv4_addr",), elements, interval=True, timeout=True)


def _verdicts(dice: random.Random, leaves: list[Chain]) -> Set:
    verdicts: list[Any] = [{"accept": None}, {"drop": None}]
    verdicts += [{"goto": {"target": leaf.name}} for leaf in leaves]
    elements = {
        text_of({"concat": [f"192.0.2.{host}", port]}): dice.choice(verdicts)
        for host in range(4)
        for port in (22, 80)
        if dice.random() < 0.8
    }
    return Set(
        "verdicts",
        ("ipv4_addr", "inet_service"),
        frozenset(text_of([json.loads(key), verdict]) for key, verdict in elements.items()),
        value=("verdict",),
    )


def _concatenated(dice: random.Random, leaves: list[Chain]) -> Set:
    plain = _verdicts(dice, leaves)
    elements = frozenset(
        text_of(
            [{"concat": [key["concat"][0], {"range": [key["concat"][1], key["concat"][1] + 50]}]}, verdict]
        )
        for key, verdict in map(json.loads, plain.elements)
    )
    return Set("concatenated", plain.key, elements, value=plain.value, interval=True)


def _limits(dice: random.Random, _: list[Chain]) -> Set:
    return Set("limits", ("ipv4_addr",), dynamic=True, timeout=True, size=dice.choice([1000, 1000, 2000]))


_SETS = (_hosts, _ranges, _timed, _verdicts, _concatenated, _limits)
_SOURCE = {"payload": {"protocol": "ip", "field": "saddr"}}


def _uses(each: Set) -> list[str]:
    """Rules that look into the set."""
    if each.dynamic:
        limit = {"limit": {"rate": 10, "per": "second", "burst": 5}}
        update = {"op": "update", "elem": {"elem": {"val": _SOURCE, "timeout": 60}}, "set": f"@{each.name}"}
        return [text_of([{"set": {**update, "stmt": [limit]}}, {"accept": None}])]
    if each.value:
        port = {"payload": {"protocol": "tcp", "field": "dport"}}
        return [text_of([{"vmap": {"key": {"concat": [_SOURCE, port]}, "data": f"@{each.name}"}}])]
    return [text_of([{"match": {"op": "==", "left": _SOURCE, "right": f"@{each.name}"}}, {"drop": None}])]
