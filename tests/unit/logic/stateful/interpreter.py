# SPDX-License-Identifier: Apache-2.0
"""Runs a compiled ruleset on a packet as nftables would. What it does not know raises; limits match."""

import json
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from neurowall.model.ruleset import Ruleset
from tests.net.rule_oracle import NUMBERS, Decision, Packet

_NAMES: Mapping[str, int] = {**NUMBERS, "ipv6-icmp": 58}
_WITH_PORTS = (6, 17, 132)


class Broken(Exception):
    """A comparison failed, or the packet has no such field: the next rule is asked."""


class Interpreter:
    """One table. looks: expressions evaluated for the last packet."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._chains = {chain.name: [json.loads(rule) for rule in chain.rules] for chain in ruleset.chains}
        self._policies = {chain.name: chain.hook.policy for chain in ruleset.chains if chain.hook}
        self._maps: dict[str, list[tuple[Any, Any]]] = {}
        self._exact: dict[str, dict[Any, Any]] = {}
        for each in ruleset.sets:
            pairs = [json.loads(text) for text in each.elements]
            if each.interval:
                self._maps[each.name] = [(_parts(key), value) for key, value in pairs]
            else:
                self._exact[each.name] = {_hashed(_parts(key)): value for key, value in pairs}
        self.looks = 0

    def decide(self, packet: Packet) -> Decision:
        """The verdict of the packet's filter chain, and the counters that it raised."""
        self.looks = 0
        self._packet = packet
        self._counters: list[str] = []
        verdict = self._run(packet.hook) or self._policies[packet.hook]
        return Decision(verdict, tuple(self._counters))

    def _run(self, chain: str) -> str | None:
        """A verdict, or None where the chain comes to its end or returns."""
        for rule in self._chains[chain]:
            self.looks += 1
            try:
                for expression in rule:
                    verdict = self._evaluate(expression)
                    if verdict is not None:
                        kind, target = verdict
                        if kind == "goto":
                            return self._run(target)
                        if kind == "return":
                            return None
                        if kind != "jump":
                            return kind
                        found = self._run(target)
                        if found is not None:
                            return found
                        break
            except Broken:
                continue
        return None

    def _evaluate(self, expression: Mapping[str, Any]) -> tuple[str, str] | None:
        (kind, value), *rest = expression.items()
        assert not rest
        if kind in ("accept", "drop", "return"):
            return kind, ""
        if kind == "reject":
            return "reject", ""
        if kind in ("jump", "goto"):
            return kind, value["target"]
        if kind == "counter":
            self._counters.append(value)
        elif kind == "match":
            self._compare(value)
        elif kind == "vmap":
            return self._look(value)
        elif kind not in ("limit", "log", "meter", "ct count"):
            raise AssertionError(f"unknown expression {expression}")
        return None

    def _compare(self, match: Mapping[str, Any]) -> None:
        left = self._field(match["left"])
        if match["op"] == "in":
            raise Broken  # labels: this packet has none
        right = match["right"]
        values = right["set"] if isinstance(right, dict) and "set" in right else [right]
        if any(_holds(_parts(value), left) for value in values) == (match["op"] == "!="):
            raise Broken

    def _look(self, look: Mapping[str, Any]) -> tuple[str, str]:
        key = self._field(look["key"])
        data = look["data"]
        found: Any = None
        if isinstance(data, str) and data[1:] in self._exact:
            found = self._exact[data[1:]].get(key)
        else:
            pairs = (
                self._maps[data[1:]] if isinstance(data, str) else [(_parts(k), v) for k, v in data["set"]]
            )
            hits = [value for parts, value in pairs if _holds(parts, key)]
            assert len(hits) <= 1, f"{data}: {key} is in several elements: {hits}"
            found = hits[0] if hits else None
        if found is None:
            raise Broken
        verdict = self._evaluate(found)
        assert verdict is not None
        return verdict

    def _field(self, key: Mapping[str, Any]) -> tuple[Any, ...]:
        if "concat" in key:
            return tuple(value for part in key["concat"] for value in self._field(part))
        packet = self._packet
        if "meta" in key:
            return (
                {
                    "iifname": packet.iif or "",
                    "oifname": packet.oif or "",
                    "nfproto": f"ipv{packet.family}",
                    "l4proto": packet.protocol,
                }[key["meta"]["key"]],
            )
        if "ct" in key:
            return (packet.state if key["ct"]["key"] == "state" else 0,)
        return (self._header(key["payload"]["protocol"], key["payload"]["field"]),)

    def _header(self, protocol: str, field: str) -> int:
        packet = self._packet
        if protocol in ("ip", "ip6"):
            if packet.family != (4 if protocol == "ip" else 6):
                raise Broken
            if field == "hoplimit":
                return 64
            return int(ip_address(packet.source if field == "saddr" else packet.destination))
        if protocol == "th" and packet.protocol not in _WITH_PORTS:
            raise AssertionError("a port is asked of a packet that may have no bytes there")
        if protocol != "th" and packet.protocol != _NAMES[protocol]:
            raise Broken
        if field == "type":
            return packet.icmp_type
        return packet.source_port if field == "sport" else packet.destination_port


def _parts(value: Any) -> tuple[Any, ...]:
    """An element's fields, each a name, or first and last."""
    if isinstance(value, dict) and "concat" in value:
        return tuple(part for each in value["concat"] for part in _parts(each))
    if isinstance(value, dict) and "prefix" in value:
        network = ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")
        return ((int(network[0]), int(network[-1])),)
    if isinstance(value, dict):
        low, high = value["range"]
        return ((_number(low), _number(high)),)
    number = _number(value)
    return ((number, number),) if isinstance(number, int) else (number,)


def _number(value: Any) -> Any:
    if isinstance(value, int):
        return value
    if value in _NAMES and value != "ipv6":  # a family too; protocols are compiled as numbers
        return _NAMES[value]
    try:
        return int(ip_address(value))
    except ValueError:
        return value


def _hashed(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    assert all(isinstance(part, str) or part[0] == part[1] for part in parts), "a range in a hash"
    return tuple(part if isinstance(part, str) else part[0] for part in parts)


def _holds(parts: tuple[Any, ...], key: tuple[Any, ...]) -> bool:
    return len(parts) == len(key) and all(
        part == value if isinstance(part, str) else isinstance(value, int) and part[0] <= value <= part[1]
        for part, value in zip(parts, key, strict=True)
    )
