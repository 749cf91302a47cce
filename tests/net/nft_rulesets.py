# SPDX-License-Identifier: Apache-2.0
"""Two rulesets that say the same in different ways, and packets that tell."""

import socket
from contextlib import suppress
from typing import Any

from neurowall.model.ruleset import Chain, Hook, Ruleset, Set, text_of


def rule(*expressions: Any) -> str:
    """The JSON text of a rule."""
    return text_of(list(expressions))


def port(number: int) -> Any:
    """Matches a UDP destination port."""
    left = {"payload": {"protocol": "udp", "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": number}}


ACCEPT: Any = {"accept": None}
DROP: Any = {"drop": None}
OPEN, CLOSED = 4711, 4712


def plain() -> Ruleset:
    """Drops one port, accepts another; in one chain."""
    rules = (rule(port(CLOSED), {"counter": "closed"}, DROP), rule(port(OPEN), {"counter": "open"}, ACCEPT))
    return Ruleset(("closed", "open"), (), (Chain("input", rules, Hook("filter", "input", 0, "drop")),))


def by_map() -> Ruleset:
    """Says the same by a map and two chains."""
    ports = Set(
        "ports",
        ("inet_service",),
        frozenset(
            text_of([number, {"goto": {"target": name}}]) for number, name in ((OPEN, "a"), (CLOSED, "b"))
        ),
        value=("verdict",),
    )
    look = rule({"vmap": {"key": {"payload": {"protocol": "udp", "field": "dport"}}, "data": "@ports"}})
    return Ruleset(
        ("closed", "open", "more"),
        (ports,),
        (
            Chain("a", (rule({"counter": "open"}, ACCEPT),)),
            Chain("b", (rule({"counter": "closed"}, {"counter": "more"}, DROP),)),
            Chain("input", (look,), Hook("filter", "input", 0, "drop")),
        ),
    )


class Traffic:
    """Packets to both ports over loopback, from the calling thread's namespace."""

    def __init__(self) -> None:
        self.sockets = {number: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for number in (OPEN, CLOSED)}
        for number, each in self.sockets.items():
            each.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
            each.bind(("127.0.0.1", number))
            each.setblocking(False)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self) -> None:
        """One packet to each; loopback delivers before it returns."""
        for number in self.sockets:
            self.sender.sendto(b"x", ("127.0.0.1", number))

    def arrived(self, number: int) -> int:
        """How many packets wait."""
        count = 0
        with suppress(BlockingIOError):
            while True:
                self.sockets[number].recv(16)
                count += 1
        return count

    def close(self) -> None:
        """Close the sockets."""
        for each in (self.sender, *self.sockets.values()):
            each.close()
