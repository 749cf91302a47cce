# SPDX-License-Identifier: Apache-2.0
"""Two policies that lists and rules enforce in opposite ways, so that a mixture of both would show.

source    first policy                    second policy                   may be seen
PASSED    passes                          passes                          always
SWAPPED   lists drop, rules accept        lists pass, rules drop          never
TURNED    lists pass, rules drop          lists drop, rules accept        never
FIRST     passes                          lists drop, rules accept        under the first
SECOND    lists pass, rules drop          passes                          under the second
"""

from bench.testbed.chain import CLIENT

PASSED = ("203.0.113.1", "2001:db8:1::1")
SWAPPED = ("203.0.113.2", "2001:db8:1::2")
TURNED = ("203.0.113.3", "2001:db8:1::3")
FIRST = ("203.0.113.4", "2001:db8:1::4")
SECOND = ("203.0.113.5", "2001:db8:1::5")
NEVER = (*SWAPPED, *TURNED)
EVERY = (*PASSED, *NEVER, *FIRST, *SECOND)
FENCES = (CLIENT.v4, CLIENT.v6)


def _text(name: str, listed: tuple[str, ...], accepted: tuple[str, ...]) -> str:
    return f"""\
interfaces:
  - {{name: g0, zone: external}}
  - {{name: g1, zone: internal}}
lists:
  - {{name: list-{name}, verdict: block, entries: [{_quoted(listed)}]}}
rules:
  - {{name: fences, from: external, to: internal, source: [{_quoted(FENCES)}], action: accept}}
  - {{name: rule-{name}, from: external, to: internal, source: [{_quoted(accepted)}], action: accept}}
"""


def _quoted(addresses: tuple[str, ...]) -> str:
    return ", ".join(f'"{address}"' for address in addresses)


ONE = _text("one", (*SWAPPED,), (*PASSED, *SWAPPED, *FIRST))
TWO = _text("two", (*TURNED, *FIRST), (*PASSED, *TURNED, *FIRST, *SECOND))
SEEN = {ONE: {*PASSED, *FIRST}, TWO: {*PASSED, *SECOND}}
"""What arrives under each."""
