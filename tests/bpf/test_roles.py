# SPDX-License-Identifier: Apache-2.0
"""Every combination of a role's switches loads, and dry_run changes nothing."""

import itertools
import time

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import ENGINES, MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import (
    GATEWAY,
    HOST,
    HOST6,
    OTHER,
    OTHER6,
    SOURCE,
    SOURCE6,
    frame4,
    frame6,
    raw,
    tcp,
    udp,
)  # fmt: skip

BOTH = (False, True)


EXTERNAL = ((False, False),)
INTERNAL = ((True, False), (False, True), (True, True))  # networks, destinations
ROLES = [
    *itertools.product(ENGINES, (PASS, DROP), BOTH, BOTH, EXTERNAL),
    *itertools.product(ENGINES, (PASS,), BOTH, (False,), INTERNAL),
]


@pytest.mark.parametrize(("engine", "unparsed", "failsafe", "dry_run", "internal"), ROLES)
def test_every_role_loads_and_judges(
    make_firewall: MakeFirewall,
    engine: str,
    unparsed: str,
    failsafe: bool,
    dry_run: bool,
    internal: tuple[bool, bool],
) -> None:
    """A branch that the verifier prunes is never verified, so each role must be loaded."""
    networks, destinations = internal
    firewall = make_firewall(
        engine=engine,
        unparsed=unparsed,
        failsafe=failsafe,
        dry_run=dry_run,
        networks=networks,
        destinations=destinations,
    )
    fill(firewall, failsafe=failsafe)
    for text in ("0.0.0.0/0", "2001:db8::/32") if networks else ():
        firewall.put_network(text)
    assert firewall.run_uncounted(frame4(SOURCE) / udp()) == DROP
    assert firewall.run_uncounted(frame4(OTHER) / udp()) == PASS
    assert firewall.run_uncounted(frame6(SOURCE6) / udp()) == DROP
    assert firewall.run_uncounted(raw(0x8864)) == unparsed
    assert firewall.run_uncounted(frame4(SOURCE, GATEWAY) / tcp(22)) == (PASS if failsafe else DROP)
    assert firewall.run_uncounted(frame4(HOST, SOURCE) / udp()) == (DROP if destinations else PASS)
    assert firewall.run_uncounted(frame6(HOST6, SOURCE6) / udp()) == (DROP if destinations else PASS)
    assert firewall.run_uncounted(frame6("2001:db9::1", OTHER6) / udp()) == (DROP if networks else PASS)


def fill(firewall: Firewall, *, failsafe: bool) -> None:
    """One blocked host of each family, one allowed, and the operator's way in."""
    firewall.put_class(1, DROP)
    firewall.put_class(2, PASS)
    for entry, class_id in ((SOURCE, 1), (SOURCE6, 1), (OTHER, 2), ("192.0.2.0/29", 1)):
        firewall.put(entry, class_id)
    if failsafe:
        firewall.put_failsafe(GATEWAY, 22, ["198.51.100.0/24"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dry_run_changes_no_map(make_firewall: MakeFirewall, engine: str) -> None:
    """Not one byte, over packets of all kinds; the same packets change maps without it."""
    packets = [
        bytes(packet)
        for packet in (
            frame4(SOURCE) / udp(), frame4(OTHER) / tcp(), frame6(SOURCE6) / tcp(),
            frame4("192.0.2.3") / udp(), frame4(SOURCE, GATEWAY) / tcp(22), raw(0x0806), raw(0x8864),
            raw(0x0800, b"\x45"),
        )
    ]  # fmt: skip
    for dry_run in BOTH:
        firewall = make_firewall(engine=engine, failsafe=True, dry_run=dry_run)
        fill(firewall, failsafe=True)
        before = firewall.dump()
        answers = [firewall.run_uncounted(packet) for packet in packets]
        assert answers == [DROP, PASS, DROP, DROP, PASS, PASS, DROP, DROP]
        changed = {name for name, content in firewall.dump().items() if content != before[name]}
        counted = {"reason_counters", "class_counters", "last_class", "failsafe"}
        assert changed == (set() if dry_run else counted)


def test_a_dry_run_follows_the_failsafe_limit(make_firewall: MakeFirewall) -> None:
    """It answers as the next packet would be: refused in a full second, admitted when that is over."""
    firewall = make_firewall(failsafe=True, dry_run=True)
    fill(firewall, failsafe=False)
    packet = frame4(SOURCE, GATEWAY) / tcp(22)
    now = time.monotonic_ns()
    for window, expected in {(now, 5): DROP, (now, 4): PASS, (now - 1_500_000_000, 5): PASS}.items():
        firewall.put_failsafe(GATEWAY, 22, ["198.51.100.0/24"], packets_per_second=5, window=window)
        assert firewall.run_uncounted(packet) == expected, window


def test_the_filter_in_a_dump_is_the_kernels_own(make_firewall: MakeFirewall) -> None:
    """The proof above looks at what the program reads."""
    firewall = make_firewall()
    empty = firewall.dump()["filter4"]
    firewall.put(SOURCE, 1)
    assert firewall.dump()["filter4"] != empty


def test_counters_of_two_programs_are_their_own(make_firewall: MakeFirewall) -> None:
    """The fixture really is fresh: nothing of one test is seen by the next."""
    first, second = make_firewall(), make_firewall()
    assert first.run(raw(0x0806)) == (PASS, Reason.ARP)
    assert second.reason_counters()[Reason.ARP] == (0, 0)
