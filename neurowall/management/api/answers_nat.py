# SPDX-License-Identifier: Apache-2.0
"""Address translation as the API's JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

from neurowall.logic.policydiff import described
from neurowall.model.counters import Counter
from neurowall.model.rules import Masquerade, Nat, OneToOne, PortForward, SourceNat

Json = dict[str, Any]
Item = OneToOne | PortForward | SourceNat | Masquerade


def nat(policy: Nat, counters: Mapping[str, Counter]) -> Json:
    """All of it in the order in which it is asked: destinations, then sources.

    Counted are connections by port forwards; of the others packets and bytes are None.
    """
    return {"nat": list(_rows(policy, counters))}


def _rows(policy: Nat, counters: Mapping[str, Counter]) -> Iterator[Json]:
    for forward in policy.port_forwards:
        yield _row("port-forward", forward.name, forward, counters.get(f"forward-{forward.name}"))
    for pair in policy.one_to_one:
        yield _row("one-to-one", pair.name, pair, None)
    for number, source in enumerate(policy.source, 1):
        yield _row("source", f"source-{number}", source, None)
    for number, masquerade in enumerate(policy.masquerade, 1):
        yield _row("masquerade", f"masquerade-{number}", masquerade, None)


def _row(kind: str, name: str, item: Item, counter: Counter | None) -> Json:
    """One of them. what: everything that the policy says of it, by the policy's own names."""
    return {
        "kind": kind,
        "name": name,
        "text": described(item),
        "what": item.model_dump(mode="json", by_alias=True, exclude={"name"}),
        "packets": counter.packets if counter else None,
        "bytes": counter.bytes if counter else None,
    }
