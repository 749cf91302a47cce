# SPDX-License-Identifier: Apache-2.0
"""What libnftables lists of a table, read as plain values."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from neurowall.kernel.nftjson import FLOWTABLE, Command, Held
from neurowall.model.ruleset import Chain, Hook, Ruleset, Set, text_of

_OURS = frozenset({"metainfo", "table", "chain", "rule", "set", "map", "counter", "flowtable"})
_HOOK_KEYS = frozenset({"type", "hook", "prio", "policy"})
_CHAIN_KEYS = frozenset({"family", "table", "name", "handle"}) | _HOOK_KEYS
_SET_KEYS = frozenset({"family", "table", "name", "handle", "type", "map", "flags", "size", "elem"})
_LEFT_OUT = frozenset({"handle", "elem", "packets", "bytes"})
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode  # as text_of, made once
_FLAGS = frozenset({"interval", "timeout", "dynamic"})


def held_in(listing: Iterable[Command]) -> Held:
    """What the kernel holds, from the listing of the table."""
    things = [(kind, thing) for each in listing for kind, thing in each.items()]
    dynamic = _filled_by_packets(things)
    chains = [thing for kind, thing in things if kind == "chain"]
    sets = [thing for kind, thing in things if kind in {"set", "map"}]
    rules: dict[str, list[str]] = {chain["name"]: [] for chain in chains}
    for kind, thing in things:
        if kind == "rule":
            rules[thing["chain"]].append(_rule(thing))
    return Held(
        exists=True,
        changeable=all(kind in _OURS for kind, _ in things)
        and not any(thing.get("flags") for kind, thing in things if kind == "table")
        and all(set(chain) <= _CHAIN_KEYS for chain in chains)
        and all(_is_plain_set(each) for each in sets)
        and not any(kind == "flowtable" and thing["name"] != FLOWTABLE for kind, thing in things),
        ruleset=Ruleset(
            counters=tuple(thing["name"] for kind, thing in things if kind == "counter"),
            sets=tuple(_set(each, dynamic=each["name"] in dynamic) for each in sets),
            chains=tuple(Chain(each["name"], tuple(rules[each["name"]]), _hook(each)) for each in chains),
            flowtable=next((_parts(thing["dev"]) for kind, thing in things if kind == "flowtable"), ()),
        ),
    )


def is_torn(listing: Iterable[Command]) -> bool:
    """Whether some elements stand there twice, and so others not at all.

    A dump that meets the kernel growing the hash table of a set begins anew and leaves out as many elements
    as it had listed, in the new order. Source: nft_rhash_walk in net/netfilter/nft_set_hash.c.
    """
    for each in listing:
        for thing in each.values():
            elements = thing.get("elem", ())
            if len(elements) > len({one if isinstance(one, str) else repr(one) for one in elements}):
                return True
    return False


def digest_of(listing: Iterable[Command]) -> str:
    """A digest of everything that only a change by somebody changes.

    Left out: handles, counts, elements that packets add, and elements that end by themselves. The order of
    rules counts; that of all else does not.
    """
    things = [(kind, thing) for each in listing for kind, thing in each.items() if kind != "metainfo"]
    dynamic = _filled_by_packets(things)
    lines: list[str] = []
    position: dict[str, int] = {}
    for kind, thing in things:
        at = 0
        kept = {key: value for key, value in thing.items() if key not in _LEFT_OUT}
        if kind == "rule":
            at = position[thing["chain"]] = position.get(thing["chain"], 0) + 1
            kept["expr"] = _settled(_without_counts(thing["expr"]))
        elif kind in {"set", "map"} and thing["name"] not in dynamic:
            kept["elem"] = sorted(_lasting(thing.get("elem", ())))
        lines.append(_encode([kind, at, kept]))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _is_plain_set(each: Mapping[str, Any]) -> bool:
    return set(each) <= _SET_KEYS and set(_parts(each.get("flags", ()))) <= _FLAGS


def _rule(listed: Mapping[str, Any]) -> str:
    """The expressions as we would write them; with a comment, which ours have not, as no rule of ours."""
    text = text_of(_without_counts(listed["expr"]))
    return f"{text} {listed['comment']}" if "comment" in listed else text


def _hook(chain: Mapping[str, Any]) -> Hook | None:
    if "hook" not in chain:
        return None
    return Hook(chain["type"], chain["hook"], chain["prio"], chain["policy"])


def _set(each: Mapping[str, Any], *, dynamic: bool) -> Set:
    flags = _parts(each.get("flags", ()))
    dynamic = dynamic or "dynamic" in flags
    return Set(
        name=each["name"],
        key=_parts(each["type"]),
        value=_parts(each.get("map", ())),
        interval="interval" in flags,
        dynamic=dynamic,
        timeout="timeout" in flags,
        size=each.get("size"),
        elements=frozenset() if dynamic else frozenset(text_of(element) for element in each.get("elem", ())),
    )


def _parts(value: Any) -> tuple[str, ...]:
    """Libnftables lists one as itself, several as a list."""
    return (value,) if isinstance(value, str) else tuple(value)


def _filled_by_packets(things: Iterable[tuple[str, Any]]) -> frozenset[str]:
    """Names of sets that a rule adds to: libnftables 1.0.6 does not list the flag that says so."""
    return frozenset(
        statement["set"]["set"].removeprefix("@")
        for kind, thing in things
        if kind == "rule"
        for statement in thing["expr"]
        if isinstance(statement, dict) and "set" in statement
    )


def _without_counts(expressions: list[Any]) -> list[Any]:
    """The expressions of a rule, less what its own counters counted."""
    return [
        {"counter": None} if isinstance(each, dict) and isinstance(each.get("counter"), dict) else each
        for each in expressions
    ]


def _settled(value: Any) -> Any:
    """An expression with its anonymous sets in one order."""
    if isinstance(value, list):
        return [_settled(each) if isinstance(each, dict | list) else each for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: sorted(_encode(_settled(one)) for one in each)
        if key == "set" and isinstance(each, list)
        else _settled(each)
        for key, each in value.items()
    }


def _lasting(elements: Iterable[Any]) -> Iterator[str]:
    """Elements that stay until somebody takes them out, as text."""
    for element in elements:
        key = element[0] if isinstance(element, list) else element
        if not (isinstance(key, dict) and "timeout" in key.get("elem", {})):
            yield _encode(element)
