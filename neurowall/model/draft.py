# SPDX-License-Identifier: Apache-2.0
"""What of a policy is valid by itself, so that the parts can be compared although others are broken."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from neurowall.model.limits import Limit
from neurowall.model.parts import Failsafe, Interface, ListSpec
from neurowall.model.rules import (
    AddressSet,
    Defaults,
    FamilyName,
    Masquerade,
    OneToOne,
    PortForward,
    Rule,
    SourceNat,
    Zone,
    ZoneKind,
)
from neurowall.model.yamltext import Location

BUILT_IN_ZONES: dict[str, ZoneKind] = {"external": "external", "internal": "internal"}


@dataclass(frozen=True)
class Draft:
    """The valid items of each part, by their position. whole: nothing is missing.

    zone_names, set_names, interface_names: what is declared, by items that are broken too: a mistake in one
    item is not reported again by all that refer to it. filters: rules or defaults are given.
    knows_flows: XDP tells packets of known flows from others.
    """

    interfaces: Mapping[int, Interface]
    failsafe: Mapping[int, Failsafe]
    lists: Mapping[int, ListSpec]
    limits: Mapping[int, Limit]
    zones: Mapping[int, Zone]
    sets: Mapping[int, AddressSet]
    rules: Mapping[int, Rule]
    one_to_one: Mapping[int, OneToOne]
    port_forwards: Mapping[int, PortForward]
    source: Mapping[int, SourceNat]
    masquerade: Mapping[int, Masquerade]
    zone_names: tuple[str, ...]
    set_names: tuple[str, ...]
    interface_names: tuple[str, ...]
    defaults: Defaults | None = None
    forwarding: tuple[FamilyName, ...] = ()
    flowtable: bool = False
    filters: bool = False
    knows_flows: bool = False
    whole: bool = True
    zone_kinds: dict[str, ZoneKind] = field(init=False)
    set_entries: dict[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        kinds = BUILT_IN_ZONES | {zone.name: zone.kind for zone in self.zones.values()}
        object.__setattr__(self, "zone_kinds", kinds)
        entries = {each.name: each.entries for each in self.sets.values()}
        object.__setattr__(self, "set_entries", entries)

    def addresses(self, texts: Iterable[str]) -> tuple[str, ...] | None:
        """The entries of addresses and sets; None if one of the sets is not known."""
        found: list[str] = []
        for text in texts:
            if not text.startswith("@"):
                found.append(text)
            elif text[1:] in self.set_entries:
                found.extend(self.set_entries[text[1:]])
            else:
                return None
        return tuple(found)


PARTS: dict[str, type[BaseModel]] = {
    "interfaces": Interface,
    "failsafe": Failsafe,
    "lists": ListSpec,
    "limits": Limit,
    "zones": Zone,
    "sets": AddressSet,
    "rules": Rule,
}
NAT_PARTS: dict[str, type[BaseModel]] = {
    "one_to_one": OneToOne,
    "port_forwards": PortForward,
    "source": SourceNat,
    "masquerade": Masquerade,
}


def draft_of(policy: Any) -> Draft:
    """The draft of a policy whose every part is valid."""
    items: dict[str, Any] = {name: dict(enumerate(getattr(policy, name) or ())) for name in PARTS}
    items |= {name: dict(enumerate(getattr(policy.nat, name))) for name in NAT_PARTS}
    return Draft(
        **items,
        zone_names=(*BUILT_IN_ZONES, *(zone.name for zone in policy.zones)),
        set_names=tuple(each.name for each in policy.sets),
        interface_names=tuple(each.name for each in policy.interfaces),
        defaults=policy.defaults,
        forwarding=policy.forwarding,
        flowtable=policy.flowtable,
        filters=policy.filters,
        knows_flows=policy.flows.mode != "off",
    )


def broken_draft(data: Any, broken: Iterable[Location], context: Mapping[str, Any]) -> Draft:
    """The draft of plain values, of which pydantic refused something at each location of *broken*."""
    data = data if isinstance(data, dict) else {}
    nat = data["nat"] if isinstance(data.get("nat"), dict) else {}
    bad = {location[:length] for location in broken for length in range(len(location) + 1)}
    items: dict[str, Any] = {
        name: _valid(data.get(name), (name,), bad, _builder(part, context)) for name, part in PARTS.items()
    }
    items |= {
        name: _valid(nat.get(name), ("nat", name), bad, _builder(part, context))
        for name, part in NAT_PARTS.items()
    }
    defaults = data.get("defaults")
    return Draft(
        **items,
        zone_names=(*BUILT_IN_ZONES, *names_in(data.get("zones"))),
        set_names=names_in(data.get("sets")),
        interface_names=names_in(data.get("interfaces")),
        defaults=None if ("defaults",) in bad or defaults is None else Defaults.model_validate(defaults),
        filters="rules" in data or "defaults" in data,
        knows_flows="flows" in data,  # what is wrong with it is said of it alone
        whole=False,
    )


def _builder(part: type[BaseModel], context: Mapping[str, Any]) -> Callable[[Any], Any]:
    return lambda value: part.model_validate(value, context=dict(context))


def _valid(value: Any, at: Location, bad: set[Location], build: Callable[[Any], Any]) -> dict[int, Any]:
    """The items of a list that nothing is wrong with."""
    if not isinstance(value, list):
        return {}
    return {index: build(item) for index, item in enumerate(value) if (*at, index) not in bad}


def names_in(value: Any) -> tuple[str, ...]:
    """The names that the items of a list have, as far as they have any."""
    if isinstance(value, dict):  # a mapping where a list is wanted: its keys are meant to be names
        return tuple(name for name in value if isinstance(name, str))
    items = value if isinstance(value, list) else []
    names = [item.get("name") for item in items if isinstance(item, dict)]
    return tuple(name for name in names if isinstance(name, str))
