# SPDX-License-Identifier: Apache-2.0
import random
from ipaddress import ip_address, ip_network

import pytest

from neurowall.logic.classes import Registry
from neurowall.logic.compile import Compiled, NamedList, compile_lists
from neurowall.logic.cover import match
from neurowall.logic.stricter import stricter
from neurowall.model.image import Contents, Image
from neurowall.model.listfile import parse_list
from neurowall.model.policy import Capacity

Random = random.Random
Lists = list[tuple[str, list[str], bool]]  # verdict, entries, monitor


def some_lists(chance: Random) -> Lists:
    """Up to four lists of nested entries in a small corner of both families."""
    return [
        (
            chance.choice(["block", "block", "allow"]),
            [some_entry(chance) for _ in range(chance.randrange(8))],
            chance.random() < 0.2,
        )
        for _ in range(chance.randrange(5))
    ]


def some_entry(chance: Random) -> str:
    """A host or prefix inside 10.0.0.0/28 or 2001:db8::/124."""
    length = chance.choice([4, 3, 2, 1, 0])
    base = chance.randrange(16) >> length << length
    if chance.random() < 0.7:
        return f"10.0.0.{base}/{32 - length}"
    return f"2001:db8::{base:x}/{128 - length}"


def compiled(lists: Lists, registry: Registry) -> Compiled:
    """The lists as the kernel is to have them."""
    named = [
        NamedList(f"list-{index}", verdict, parse_list("\n".join(entries)).entries, monitor)
        for index, (verdict, entries, monitor) in enumerate(lists)
    ]
    return compile_lists(named, registry, Capacity())


def drops_by_text(lists: Lists, address: str) -> bool:
    """The oracle: by linear scan over the text, allow beats block, monitor lists decide nothing."""
    holding = {
        verdict
        for verdict, entries, monitor in lists
        if not monitor and any(ip_address(address) in ip_network(entry) for entry in entries)
    }
    return holding == {"block"}


ADDRESSES = [f"10.0.0.{n}" for n in range(18)] + [f"2001:db8::{n:x}" for n in range(18)]


def dropped(image: Image) -> set[str]:
    """The addresses that an image drops, by longest match."""
    found = set()
    for address in ADDRESSES:
        parsed = parse_list(address).entries
        family = ip_address(address).version
        wanted, table = parsed.family(family), image.family(family)
        row = int(match(table.entries, wanted.address)[0])
        if row >= 0 and image.classes[int(table.class_id[row])].verdict == "drop":
            found.add(address)
    return found


@pytest.mark.parametrize("seed", range(300))
def test_passes_what_both_pass(seed: int) -> None:
    """An address is dropped between two images exactly if one of them drops it."""
    chance = Random(seed)
    old_lists, new_lists = some_lists(chance), some_lists(chance)
    old = compiled(old_lists, Registry(4096))
    new = compiled(new_lists, old.registry)
    middle = stricter(old.image, new.image, old.registry.defs)
    expected = {
        address
        for address in ADDRESSES
        if drops_by_text(old_lists, address) or drops_by_text(new_lists, address)
    }
    assert dropped(middle) == expected


def test_what_nobody_knows_drops() -> None:
    """Entries that a dead daemon left, of classes whose meaning is lost, are taken to block."""
    made = compiled([("allow", ["10.0.0.4/31"], False)], Registry(4096)).image
    found = Contents(made.v4, made.v6)
    middle = stricter(found, Image.empty(), {})
    assert len(middle.v4) == 1
    assert int(middle.v4.class_id[0]) == int(made.v4.class_id[0])
