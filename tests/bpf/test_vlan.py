# SPDX-License-Identifier: Apache-2.0
"""VLAN tags: looked through to a depth of two, so that a tag is no way round the lists."""

import pytest

from neurowall.model.reasons import Reason
from tests.bpf.conftest import MakeFirewall
from tests.bpf.harness import DROP, PASS, Firewall
from tests.bpf.packets import SOURCE, SOURCE6, frame4, frame6, raw, tagged, tcp, udp

DOT1Q, DOT1AD, OLD_QINQ = 0x8100, 0x88A8, 0x9100
STACKS = [(), (DOT1Q,), (DOT1AD,), (DOT1AD, DOT1Q), (DOT1Q, DOT1Q), (DOT1Q, DOT1AD), (DOT1AD, DOT1AD)]


@pytest.mark.parametrize("stack", STACKS)
def test_a_listed_source_is_found_behind_up_to_two_tags(either: Firewall, stack: tuple[int, ...]) -> None:
    """Match, in either tag type and order."""
    either.put_class(1, DROP)
    either.put(SOURCE, 1)
    either.put(SOURCE6, 1)
    assert either.run(tagged(frame4() / udp(), *stack)) == (DROP, Reason.BLOCK_LIST)
    assert either.run(tagged(frame6() / udp(), *stack)) == (DROP, Reason.BLOCK_LIST)


@pytest.mark.parametrize("stack", STACKS)
def test_an_unlisted_source_passes_behind_tags(firewall: Firewall, stack: tuple[int, ...]) -> None:
    """Miss and default."""
    assert firewall.run(tagged(frame4() / tcp(), *stack)) == (PASS, Reason.DEFAULT)


@pytest.mark.parametrize(
    "stack", [(DOT1Q,) * 3, (DOT1AD, DOT1Q, DOT1Q), (DOT1Q, DOT1AD, DOT1Q), (DOT1Q,) * 6]
)
def test_three_tags_are_dropped(firewall: Firewall, stack: tuple[int, ...]) -> None:
    """Whatever is behind them, even nothing."""
    assert firewall.run(tagged(frame4() / udp(), *stack)) == (DROP, Reason.VLAN_DEPTH)
    assert firewall.run(tagged(raw(0x0806), *stack)[: 14 + 4 * 2]) == (DROP, Reason.VLAN_DEPTH)


@pytest.mark.parametrize("unparsed", [PASS, DROP])
@pytest.mark.parametrize("stack", [(OLD_QINQ,), (DOT1Q, OLD_QINQ), (OLD_QINQ, DOT1Q)])
def test_the_old_qinq_type_is_not_parsed(
    make_firewall: MakeFirewall, stack: tuple[int, ...], unparsed: str
) -> None:
    """Wrong protocol: Linux does not untag 0x9100 either, so it gets the verdict of what is not parsed."""
    reason = {PASS: Reason.UNPARSED_PASS, DROP: Reason.UNPARSED_DROP}[unparsed]
    assert make_firewall(engine="classic", unparsed=unparsed).run(tagged(frame4() / udp(), *stack)) == (
        unparsed,
        reason,
    )


@pytest.mark.parametrize("tags", [1, 2])
@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_a_tag_that_is_cut_is_truncated(firewall: Firewall, tags: int, missing: int) -> None:
    """A lenient parser would call the rest 'not IP' and let it through."""
    packet = tagged(raw(0x0806), *(DOT1Q,) * tags)
    assert firewall.run(packet[: len(packet) - missing]) == (DROP, Reason.TRUNCATED)


def test_priority_tags_and_every_id_are_looked_through(firewall: Firewall) -> None:
    """The tag's content decides nothing: Linux strips a priority tag (id 0) and goes on."""
    firewall.put_class(1, DROP)
    firewall.put(SOURCE, 1)
    packet = bytearray(tagged(frame4() / udp(), DOT1Q))
    for content in (b"\x00\x00", b"\xe0\x00", b"\xff\xff", b"\x00\x01"):
        packet[14:16] = content
        assert firewall.run(packet) == (DROP, Reason.BLOCK_LIST)


def test_tags_are_part_of_the_bytes_counted(firewall: Firewall) -> None:
    """Counter: the frame as XDP sees it. run() checks the bytes of the reason; here those of the class."""
    firewall.put_class(1, DROP)
    firewall.put(SOURCE, 1)
    packet = tagged(frame4() / udp(), DOT1AD, DOT1Q)
    firewall.run(packet)
    assert firewall.class_counter(1) == (1, len(packet))
