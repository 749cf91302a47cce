# SPDX-License-Identifier: Apache-2.0
"""What the kernel is told of sources that cannot come from an interface."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from random import Random

import pytest

from neurowall.kernel.guards import networks_of
from neurowall.kernel.origins import foreign_networks, mark, prune_marks
from neurowall.model.guards import Guard, guards_of
from neurowall.model.origins import BOGONS
from neurowall.model.policy import load_policy
from neurowall.model.reasons import Reason

OWN = {
    "lo": ("127.0.0.1", "::1"),
    "wan0": ("203.0.113.1", "fe80::1", "169.254.1.1"),
    "lan0": ("10.1.0.1", "fe80::2"),
}
POLICY = """
interfaces:
  - {name: wan0, zone: external}
  - {name: wan1, zone: external, bogons: drop}
  - {name: wan2, zone: external, spoofing: pass, networks: 192.0.2.0/24}
  - {name: lan0, zone: internal, networks: [10.0.0.0/8, "2001:db8::/32"]}
  - {name: dmz0, zone: dmz, spoofing: drop, networks: 172.20.0.0/16}
zones: [{name: dmz, kind: internal}]
"""


class Memory:
    """The map of marks, without a kernel."""

    def __init__(self) -> None:
        self.value, self.writes = bytes(64), 0

    def lookup(self, key: bytes) -> bytes:
        """What is there."""
        return self.value

    def update(self, key: bytes, value: bytes) -> None:
        """Write it."""
        self.value, self.writes = value, self.writes + 1

    def has(self, bit: int) -> bool:
        """Whether a bit is set, of the 512."""
        return bool(self.value[bit // 8] >> bit % 8 & 1)


def guard(name: str) -> Guard:
    """Of an interface of the policy."""
    found = guards_of(load_policy(POLICY, "policy.yaml")).find(name)
    assert found
    return found


def told(name: str) -> dict[str, Reason]:
    """What is dropped at an interface, as text."""
    return {str(net): reason for net, reason in foreign_networks(guard(name), OWN).items()}


def test_the_default_is_to_drop_outside_and_to_pass_inside() -> None:
    """And either can be said otherwise."""
    names = ("wan0", "wan1", "wan2", "lan0", "dmz0")
    assert [guard(name).spoofing for name in names] == [True, True, False, False, True]
    assert [guard(name).bogons for name in names] == [False, True, False, False, False]


def test_foreign_is_what_lives_behind_other_zones() -> None:
    """Not what lives behind another interface of the same zone."""
    assert guard("wan0").foreign == ("10.0.0.0/8", "2001:db8::/32", "172.20.0.0/16")
    assert guard("wan2").foreign == ()
    assert guard("dmz0").foreign == ("192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32")


def test_own_addresses_are_foreign_everywhere_but_link_local_ones() -> None:
    """Those only on their own link."""
    hosts = {"203.0.113.1/32", "10.1.0.1/32", "127.0.0.1/32", "::1/128"}
    nets = {"10.0.0.0/8", "2001:db8::/32", "172.20.0.0/16"}
    assert told("wan0") == dict.fromkeys(hosts | nets | {"fe80::1/128", "169.254.1.1/32"}, Reason.SPOOFED)
    assert not {"fe80::1/128", "fe80::2/128", "169.254.1.1/32"} & told("wan1").keys()
    assert told("wan2") == told("lan0") == {}


def test_bogons_within_what_is_spoofed_are_spoofed() -> None:
    """The longest network decides: a bogon must not be longer than what hides it."""
    found = told("wan1")
    assert found["10.0.0.0/8"] == found["2001:db8::/32"] == found["172.20.0.0/16"] == Reason.SPOOFED
    bogons = {text for text, reason in found.items() if reason == Reason.BOGON}
    assert bogons == {*BOGONS[4], *BOGONS[6]} - {"10.0.0.0/8", "2001:db8::/32"}


def bit_of(address: str) -> int:
    """As bpf/spoof.h chooses it."""
    parsed = ip_address(address)
    if parsed.version == 4:
        return parsed.packed[0]
    word = int.from_bytes(parsed.packed[:4])
    return 256 + (
        (word // 256 * 0x9E3779B1 % 2**32) // 2**24 if 0x20000000 <= word < 0x40000000 else word // 2**24
    )


PREFIXES = (
    *("10.0.0.0/8", "10.1.2.0/24", "0.0.0.0/0", "128.0.0.0/2", "203.0.113.1/32", "172.16.0.0/12"),
    *("2001:db8::/32", "2001:db8:1::1/128", "2000::/3", "2a00::/15", "2a00::/17", "3fff::/20", "fc00::/7"),
    *("::/0", "::/2", "fe80::1/128", "2001:db8:8000::/33"),
)


@pytest.mark.parametrize("text", PREFIXES)
def test_a_mark_is_set_for_every_source_that_a_network_holds(text: str) -> None:
    """A clear one promises that the trie holds nothing; and the marks are few where the network is small."""
    net = ip_network(text)
    memory = Memory()
    mark(memory, [origins_key(text)])  # type: ignore[arg-type]
    r = Random(text)
    make = IPv4Address if net.version == 4 else IPv6Address
    for _ in range(500):
        assert memory.has(bit_of(str(make(r.randint(int(net[0]), int(net[-1]))))))
    if net.prefixlen >= 24:
        assert sum(map(memory.has, range(512))) == 1


def origins_key(text: str) -> bytes:
    """The key of a foreign network at interface 7."""
    guarded = Guard(
        "x", "auto", external=True, unparsed="drop", networks=None, checks_destination=False, spoofing=True,
        foreign=(text,),
    )  # fmt: skip
    (key,) = networks_of(7, guarded, {})
    return key


def test_marks_are_added_and_then_cleared() -> None:
    """Never in between: what others need stays, and what nobody needs goes; unchanged is not written."""
    memory = Memory()
    mark(memory, [origins_key("10.0.0.0/8")])  # type: ignore[arg-type]
    mark(memory, [origins_key("11.0.0.0/8")])  # type: ignore[arg-type]
    assert memory.has(10)
    assert memory.has(11)
    prune_marks(memory, [origins_key("11.0.0.0/8")])  # type: ignore[arg-type]
    assert [bit for bit in range(512) if memory.has(bit)] == [11]
    writes = memory.writes
    prune_marks(memory, [origins_key("11.0.0.0/8")])  # type: ignore[arg-type]
    assert memory.writes == writes
